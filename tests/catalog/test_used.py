from __future__ import annotations

import pytest

from saewidgets.catalog import Catalog


@pytest.mark.parametrize("noun", ["models", "datasets"])
def test_recently_used_first_and_facts_are_merged(catalog: Catalog, noun: str) -> None:
    store = getattr(catalog, noun)
    store.upsert("a", {"d_model": 1})
    store.upsert("b")
    store.upsert("a", {"n_layers": 2})
    assert store.names(limit=5)[0] in ("a", "b")
    assert set(store.names()) == {"a", "b"}
    assert store.facts("a") == {"d_model": 1, "n_layers": 2}
    assert store.facts("c") is None
    store.delete("a")
    store.delete("a")
    assert store.names() == ["b"]
