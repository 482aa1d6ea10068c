import time
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from saewidgets.catalog import Catalog
from saewidgets.catalog.sae_queries import SORTS
from saewidgets.errors import StateError
from saewidgets.events import JobStatus
from saewidgets.records import SAERecord
from tests.catalog.conftest import Make
from tests.postgresql import BOTH

DATABASES = BOTH


def _add(catalog: Catalog, name: str, **changes: Any) -> SAERecord:
    values: dict[str, Any] = {
        "source": "local", "architecture": "topk", "d_in": 8, "d_sae": 16, "format": "saelens",
        "path": f"saes/{name}", "size_bytes": 10, "model": "gpt2", "hook_name": "blocks.6.hook_resid_post", "layer": 6,
    }  # fmt: skip
    time.sleep(0.002)  # the database's clock counts milliseconds, and lists are in order of time
    return catalog.saes.add(name=name, **{**values, **changes})


def _download(catalog: Catalog, name: str, **changes: Any) -> SAERecord:
    place = {"source": "huggingface", "repo_id": "a/b", "revision": "0" * 40, "repo_path": "layer_6"}
    return _add(catalog, name, **{**place, **changes})


def test_search_and_tags(catalog: Catalog) -> None:
    a = _add(catalog, "100% good_one", tags=("to read", "L6"))
    b = _download(catalog, "b", repo_path="blocks.6.hook_z", model="google/gemma-2-2b")

    def ids(**filters: Any) -> list[str]:
        return [sae.id for sae in catalog.saes.list(**filters)]

    assert ids(search="gemma hook_z") == [b.id]
    assert ids(search="  GEMMA  ") == [b.id]
    assert ids(search="100%") == [a.id]
    assert ids(search="gemma gpt2") == []
    assert ids(tag="to read") == ids(tag="l6") == ids(search="read") == [a.id]
    assert ids(tag="read") == ids(tag="%") == ids(tag='"') == []
    catalog.saes.update(b.id, notes="Grüße: the *clearest* so far")
    assert ids(search="CLEAREST gemma") == ids(search="grüße") == [b.id]
    assert catalog.saes.count(search="gemma") == (1, 10)
    assert catalog.saes.count(tag="nothing") == (0, 0)
    assert catalog.saes.names() == {"100% good_one", "b"}


def test_a_training_and_a_place_on_the_hub_have_one(catalog: Catalog, make_training: Make) -> None:
    """Two processes that add it at once: the second gets the row of the first."""
    trained = {"source": "trained", "training_id": make_training().id}
    first, place = _add(catalog, "a", **trained), _download(catalog, "c")
    assert _add(catalog, "b", **trained) == first
    assert _download(catalog, "d") == place
    assert _download(catalog, "e", repo_path="") != place
    assert catalog.saes.names() == {"a", "c", "e"}
    with pytest.raises(IntegrityError):
        _add(catalog, "f", d_sae=0)


def test_an_sae_being_downloaded_again_cannot_be_deleted(catalog: Catalog) -> None:
    sae, other = _download(catalog, "a"), _download(catalog, "b", repo_path="")
    place = {"repo_id": "a/b", "revision": "0" * 40, "path": "layer_6"}
    catalog.jobs.add("job_1", kind="download", lane="box/download", payload=place, owner="me")
    with pytest.raises(StateError, match=r"fetches its files again, job_1.*ws\.jobs\.get\('job_1'\)\.cancel"):
        catalog.saes.delete(sae.id)
    catalog.saes.delete(other.id)
    catalog.jobs.change("job_1", {"status": JobStatus.FAILED}, when={JobStatus.QUEUED})
    catalog.saes.delete(sae.id)


@pytest.mark.parametrize("noun", ["models", "datasets"])
def test_recently_used_first(catalog: Catalog, noun: str) -> None:
    store = getattr(catalog, noun)
    store.upsert("a")
    store.upsert("b")
    store.upsert("a")
    assert store.names(limit=5)[0] in ("a", "b")
    assert set(store.names()) == {"a", "b"}
    store.delete("a")
    store.delete("a")
    assert store.names() == ["b"]


def test_orders(catalog: Catalog) -> None:
    for i, (name, layer, model) in enumerate([("b", 2, "x"), ("A", None, None), ("c", 1, "Y")]):
        _add(catalog, name, layer=layer, model=model, d_sae=16 * (i + 1), size_bytes=100 - i)
    assert {sort: "".join(sae.name for sae in catalog.saes.list(sort=sort)) for sort in SORTS} == {
        "newest": "cAb", "oldest": "bAc", "name": "Abc", "model": "bcA", "layer": "cbA", "d_sae": "cAb", "size": "bAc",
    }  # fmt: skip
    assert [sae.name for sae in catalog.saes.list(sort="name", limit=1, offset=1)] == ["b"]
