from __future__ import annotations

import numpy as np
import pytest

from saewidgets.errors import ConfigError
from saewidgets.features.store.query import Noted, find
from saewidgets.features.store.read import Store

NOTES = {
    3: Noted("Ships and Whales", 0.9), 7: Noted("the king", 0.5, starred=True), 9: Noted("", None, starred=True),
    5: Noted("ships at sea", None), 10**6: Noted("of another SAE", 1.0, starred=True),
}


def test_everything_by_index(store: Store) -> None:
    assert find(store, {}).tolist() == list(range(store.d_sae))
    assert find(store, {}, descending=True).tolist() == list(range(store.d_sae))[::-1]


@pytest.mark.parametrize(("sort", "column"), [("density", "fired"), ("max", "max")])
@pytest.mark.parametrize("descending", [True, False])
def test_sorted_by_numbers(store: Store, sort: str, column: str, descending: bool) -> None:
    values = getattr(store, column)
    expected = sorted(range(store.d_sae), key=lambda i: (-values[i] if descending else values[i], i))
    assert find(store, {}, sort=sort, descending=descending).tolist() == expected  # type: ignore[arg-type]


def test_sorted_by_notes_with_the_others_last(store: Store) -> None:
    assert find(store, NOTES, sort="label")[:3].tolist() == [3, 5, 7]
    assert find(store, NOTES, sort="label", descending=True)[:4].tolist() == [7, 5, 3, 0]
    assert find(store, NOTES, sort="score")[:3].tolist() == [7, 3, 0]
    assert find(store, NOTES, sort="score", descending=True)[:2].tolist() == [3, 7]
    assert len(find(store, NOTES, sort="score")) == store.d_sae


def test_filters(store: Store) -> None:
    assert find(store, NOTES, show="labelled").tolist() == [3, 5, 7]
    assert find(store, NOTES, show="starred").tolist() == [7, 9]
    assert set(find(store, NOTES, show="unlabelled").tolist()) == set(range(store.d_sae)) - {3, 5, 7}
    assert find(store, {}, show="dead").tolist() == np.flatnonzero(store.fired == 0).tolist()
    assert 0 in find(store, {}, show="dead")
    assert 0 not in find(store, {}, show="live")
    assert 1 in find(store, {}, show="dense")


def test_search_in_labels_tokens_and_indices(store: Store) -> None:
    assert {3, 5} <= set(find(store, NOTES, search="ships").tolist())
    assert 3 in find(store, NOTES, search="WHALES ships")
    assert 3 not in find(store, NOTES, search="ships nothing")
    found = find(store, {}, search="king")
    expected = [
        i for i in range(store.d_sae)
        if any("king" in store.text_of(int(t)).casefold() for t in store.peak_tokens[i] if t >= 0)
    ]
    assert found.tolist() == expected
    assert 12 in find(store, {}, search="12")
    assert len(find(store, NOTES, search="no such thing at all")) == 0


def test_unknown_values(store: Store) -> None:
    with pytest.raises(ConfigError, match="'weird'"):
        find(store, {}, sort="weird")  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as caught:
        find(store, {}, show="sleeping")  # type: ignore[arg-type]
    assert caught.value.where == "show"
