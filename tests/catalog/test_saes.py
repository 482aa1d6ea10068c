from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from saewidgets.catalog import Catalog
from saewidgets.errors import NotFoundError
from saewidgets.records import SAERecord


def _add(catalog: Catalog, name: str, **changes: Any) -> SAERecord:
    values: dict[str, Any] = {
        "source": "local", "architecture": "topk", "d_in": 8, "d_sae": 16, "format": "saelens",
        "path": f"saes/{name}", "size_bytes": 10, "model": "gpt2", "hook_name": "blocks.6.hook_resid_post", "layer": 6,
    }  # fmt: skip
    return catalog.saes.add(name=name, **{**values, **changes})


def test_round_trip(catalog: Catalog) -> None:
    sae = _add(catalog, "a", metadata={"neuronpedia": "x"})
    assert catalog.saes.get(sae.id) == sae
    assert sae.id.startswith("sae_")
    assert sae.path == str(catalog.files.folder / "saes" / "a")
    assert (sae.host, sae.metadata) == ("box", {"neuronpedia": "x"})


def test_a_file_outside_keeps_its_absolute_path(catalog: Catalog, tmp_path: object) -> None:
    assert _add(catalog, "a", path=f"{tmp_path}/elsewhere").path == f"{tmp_path}/elsewhere"


def test_filters(catalog: Catalog) -> None:
    a, b = _add(catalog, "a"), _add(catalog, "b", source="huggingface", layer=7, architecture="jumprelu", model="Qwen")

    def ids(**filters: Any) -> list[str]:
        return [s.id for s in catalog.saes.list(**filters)]

    assert set(ids()) == {a.id, b.id}
    assert ids(source="local") == ids(model="gpt2") == ids(layer=6) == ids(architecture="topk") == [a.id]
    assert ids(search="qwen") == [b.id]
    assert ids(search="nothing") == []
    assert len(ids(limit=1)) == 1


def test_by_training(catalog: Catalog, make_training: Any) -> None:
    run = make_training()
    assert catalog.saes.by_training(run.id) is None
    sae = _add(catalog, "a", source="trained", training_id=run.id)
    assert catalog.saes.by_training(run.id) == sae


def test_a_training_has_one(catalog: Catalog, make_training: Any) -> None:
    run = make_training()
    first = _add(catalog, "a", source="trained", training_id=run.id)
    assert _add(catalog, "b", source="trained", training_id=run.id) == first
    assert [sae.id for sae in catalog.saes.list()] == [first.id]
    for name in ("c", "d"):  # those of no training are as many as there are
        assert _add(catalog, name).name == name


def test_replace(catalog: Catalog) -> None:
    sae = _add(catalog, "a", metadata={"tokens": 1})
    other, before = catalog.saes.replace(sae.id, path="saes/b", size_bytes=20, metadata={"tokens": 2})
    assert before == sae.path
    assert (other.id, other.name, other.size_bytes, other.metadata) == (sae.id, "a", 20, {"tokens": 2})
    assert other.path == str(catalog.files.folder / "saes" / "b")
    assert catalog.saes.get(sae.id) == other
    with pytest.raises(NotFoundError):
        catalog.saes.replace("sae_none", path="x", size_bytes=0, metadata={})


def test_rename_and_delete(catalog: Catalog) -> None:
    sae = _add(catalog, "a")
    assert catalog.saes.rename(sae.id, "b").name == "b"
    assert catalog.saes.delete(sae.id).path == sae.path
    for action in (catalog.saes.get, catalog.saes.delete):
        with pytest.raises(NotFoundError, match=sae.id):
            action(sae.id)


def test_nonsense_is_refused(catalog: Catalog, make_training: Any) -> None:
    with pytest.raises(ValueError, match="trained, huggingface, gemma_scope, local"):
        _add(catalog, "a", source="somewhere")
    with pytest.raises(IntegrityError):
        _add(catalog, "a", d_in=0)
    with pytest.raises(IntegrityError):
        _add(catalog, "a", source="local", training_id=make_training().id)
