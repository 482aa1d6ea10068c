from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from saewidgets.activations.packed import PackedTokens
from saewidgets.errors import ConfigError
from saewidgets.features.store.feature_data import coactive, feature_data
from saewidgets.features.store.query import Noted, Notes
from saewidgets.features.store.query import find as find_in
from saewidgets.features.store.read import Store

Latents = npt.NDArray[np.float32]


@pytest.fixture
def dense(latents: Latents, packed: PackedTokens) -> Latents:
    kept = packed.kept(packed.contexts(range(packed.n_contexts))).ravel()
    return latents * kept[:, None]


def test_numbers(store: Store, dense: Latents) -> None:
    for index in range(store.d_sae):
        data, column = feature_data(store, index), dense[:, index]
        fired = column[column > 0]
        assert data.fired == len(fired)
        assert data.max == pytest.approx(fired.max(initial=0))
        assert data.mean == pytest.approx(fired.mean() if len(fired) else 0, rel=1e-6)
        assert data.counts.sum() == len(fired)
        assert data.counts.tolist() == np.histogram(fired, data.edges)[0].tolist() or len(fired) == 0
        assert sum(group.count for group in data.groups[1:]) == len(fired)


def test_examples_show_the_text_around_the_peak(store: Store, dense: Latents, packed: PackedTokens) -> None:
    data = feature_data(store, 5)
    values = np.sort(dense[:, 5][dense[:, 5] > 0])[::-1]
    assert [e.value for e in data.top] == pytest.approx(values[:4].tolist())
    for group in data.groups:
        for example in group.examples:
            assert dense[example.position, 5] == pytest.approx(example.value)
            assert group.low < example.value <= group.high or group.kind == "top"
            assert len(example.tokens) == len(example.pieces) == len(example.activations)
            ids = packed.context(example.context)
            assert int(example.tokens[example.peak]) == int(ids[example.offset])
            assert example.activations[example.peak] == pytest.approx(example.value)
            begin = example.offset - example.peak
            around = dense[example.row * 24 + begin : example.row * 24 + begin + len(example.tokens), 5]
            np.testing.assert_allclose(example.activations, around, rtol=1e-3)
            assert example.after == (begin + len(example.tokens) < 24)
            assert int(example.tokens[0]) not in store.special_ids or begin > 0


def test_coactivation_equals_the_dense_count(store: Store, dense: Latents) -> None:
    index = 4
    with_it = dense[dense[:, index] > 0] > 0
    found, sampled = coactive(store, index, n=39)
    assert sampled == len(with_it)
    shares = dict(found)
    expected = {i: s for i, s in enumerate(with_it.mean(0)) if s > 0 and i != index}
    assert shares == pytest.approx(expected)
    excess = [share - store.density[other] for other, share in found]
    assert excess == sorted(excess, reverse=True)
    assert coactive(store, 0) == ([], 0)


def find(store: Store, notes: dict[int, Noted], **wanted: Any) -> npt.NDArray[np.int64]:
    return find_in(store, Notes(notes, store.d_sae), **wanted)


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
    assert find(store, {}, sort=sort, descending=descending).tolist() == expected


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
        find(store, {}, sort="weird")
    with pytest.raises(ConfigError) as caught:
        find(store, {}, show="sleeping")
    assert caught.value.where == "show"
