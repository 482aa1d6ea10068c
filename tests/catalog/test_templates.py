from __future__ import annotations

from typing import Any

import pytest

from saewidgets.catalog import Catalog
from saewidgets.catalog.templates import NewTemplate
from saewidgets.errors import NotFoundError, StateError
from saewidgets.records import TemplateRecord


def _new(name: str, **changes: Any) -> NewTemplate:
    values: dict[str, Any] = {
        "config": {"model": "gpt2", "hook_name": "blocks.6.hook_resid_post", "sae": {"d_sae": 64}}, "model": "gpt2",
        "dataset": "texts/a.txt", "corpus": "a.txt", "architecture": "topk",
    }  # fmt: skip
    return NewTemplate(name=name, **{**values, **changes})


def _numbered(name: str, taken: Any) -> str:
    return name if name not in taken else f"{name}+"


def test_round_trip(catalog: Catalog) -> None:
    one = catalog.templates.put(_new("a", description="x", favorite=True, metadata={"file": "f"}))
    assert one.id.startswith("tmpl_")
    assert catalog.templates.get(one.id) == one
    assert (one.model, one.corpus, one.hook_name, one.architecture, one.d_sae) == (
        "gpt2", "a.txt", "blocks.6.hook_resid_post", "topk", 64,
    )  # fmt: skip
    assert (one.description, one.favorite, one.metadata) == ("x", True, {"file": "f"})
    assert catalog.templates.list().to_df()["name"].tolist() == ["a"]


def test_a_name_belongs_to_one(catalog: Catalog) -> None:
    first = catalog.templates.put(_new("a", favorite=True))
    with pytest.raises(StateError, match="There is a template 'a'"):
        catalog.templates.put(_new("a"))
    again = catalog.templates.put(_new("a", description="new"), replace=True)
    assert (again.id, again.description, again.favorite, again.created_at) == (first.id, "new", True, first.created_at)
    other = catalog.templates.put(_new("b"))
    with pytest.raises(StateError, match="There is a template 'a'"):
        catalog.templates.update(other.id, name="a")
    assert catalog.templates.get(other.id).name == "b"


def test_all_or_none(catalog: Catalog) -> None:
    catalog.templates.put(_new("a"))
    assert [one.name for one in catalog.templates.add([_new("a"), _new("b")], _numbered)] == ["a+", "b"]
    with pytest.raises(StateError):
        catalog.templates.add([_new("c"), _new("a")], lambda name, taken: name)
    assert [one.name for one in catalog.templates.list()] == ["a", "a+", "b"]


def test_models_and_datasets_of_templates_are_kept_not_suggested_and_may_go(catalog: Catalog) -> None:
    catalog.models.upsert("used")
    one = catalog.templates.put(_new("a"))
    assert catalog.models.names() == ["used"]  # it names them, nothing has used them
    assert catalog.datasets.names() == []
    catalog.models.delete("gpt2")
    catalog.datasets.delete("texts/a.txt")
    assert catalog.templates.get(one.id) == one


def test_delete_and_what_is_not_there(catalog: Catalog) -> None:
    one = catalog.templates.put(_new("a"))
    catalog.templates.delete(one.id)
    assert not catalog.templates.list()
    for call in (catalog.templates.get, catalog.templates.delete, catalog.templates.update):
        with pytest.raises(NotFoundError, match="There is no template"):
            call(one.id)


def test_what_another_version_kept_is_listed(catalog: Catalog) -> None:
    one = catalog.templates.put(_new("a", config={"sae": "?", "later": 1}))
    assert (one.model, one.hook_name, one.d_sae) == ("", "", None)
    assert isinstance(one, TemplateRecord)
