from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from saewidgets.activations.packed import PackedTokens
from saewidgets.errors import ConfigError
from saewidgets.features.store.feature_data import coactive, feature_data
from saewidgets.features.store.query import LatentNote, LatentNotes, find
from saewidgets.features.store.read import FeatureStore

Latents = npt.NDArray[np.float32]


@pytest.fixture
def dense(latents: Latents, packed: PackedTokens) -> Latents:
    kept = packed.kept(packed.contexts(range(packed.n_contexts))).ravel()
    return latents * kept[:, None]


def test_numbers(store: FeatureStore, dense: Latents) -> None:
    for index in range(store.d_sae):
        data, column = feature_data(store, index), dense[:, index]
        fired = column[column > 0]
        assert data.fired == len(fired)
        assert data.max == pytest.approx(fired.max(initial=0))
        assert data.mean == pytest.approx(fired.mean() if len(fired) else 0, rel=1e-6)
        assert data.counts.sum() == len(fired)
        assert data.counts.tolist() == np.histogram(fired, data.edges)[0].tolist() or len(fired) == 0
        assert sum(group.count for group in data.groups[1:]) == len(fired)


def test_examples_show_the_text_around_the_peak(store: FeatureStore, dense: Latents, packed: PackedTokens) -> None:
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


def test_coactivation_equals_the_dense_count(store: FeatureStore, dense: Latents) -> None:
    index = 4
    with_it = dense[dense[:, index] > 0] > 0
    together, sampled = coactive(store, index, n=39)
    assert sampled == len(with_it)
    expected = {i: s for i, s in enumerate(with_it.mean(0)) if s > 0 and i != index}
    assert dict(together) == pytest.approx(expected)
    excess = [share - store.density[other] for other, share in together]
    assert excess == sorted(excess, reverse=True)
    assert coactive(store, 0) == ([], 0)


NOTES = {
    3: LatentNote("Ships and Whales", 0.9), 7: LatentNote("the king", 0.5, starred=True),
    9: LatentNote("", None, starred=True), 5: LatentNote("ships at sea", None),
    10**6: LatentNote("of another SAE", 1.0, starred=True),
}


def found(store: FeatureStore, **wanted: Any) -> list[int]:
    indices: list[int] = find(store, LatentNotes(NOTES, store.d_sae), **wanted).tolist()
    return indices


@pytest.mark.parametrize(
    ("wanted", "first"),
    [
        ({}, [0, 1, 2]), ({"descending": True}, [39, 38, 37]),
        ({"sort": "label"}, [3, 5, 7, 0]), ({"sort": "label", "descending": True}, [7, 5, 3, 0]),
        ({"sort": "score"}, [7, 3, 0]), ({"sort": "score", "descending": True}, [3, 7, 0]),
    ],
)
def test_features_without_a_value_are_sorted_last(
    store: FeatureStore, wanted: dict[str, Any], first: list[int]
) -> None:
    indices = found(store, **wanted)
    assert indices[: len(first)] == first
    assert sorted(indices) == list(range(store.d_sae))


@pytest.mark.parametrize(("sort", "column"), [("density", "fired"), ("max", "max")])
@pytest.mark.parametrize("descending", [True, False])
def test_sorted_by_numbers(store: FeatureStore, sort: str, column: str, descending: bool) -> None:
    values = getattr(store, column)
    expected = sorted(range(store.d_sae), key=lambda i: (-values[i] if descending else values[i], i))
    assert found(store, sort=sort, descending=descending) == expected


def test_filters_and_searches(store: FeatureStore) -> None:
    assert found(store, show="labelled") == [3, 5, 7]
    assert found(store, show="starred") == [7, 9]
    assert set(found(store, show="unlabelled")) == set(range(store.d_sae)) - {3, 5, 7}
    dead = np.flatnonzero(store.fired == 0).tolist()
    assert found(store, show="dead") == dead
    assert found(store, show="live") == sorted(set(range(store.d_sae)) - set(dead))
    assert (0 in dead, 1 in found(store, show="dense")) == (True, True)
    peaks = [[store.text_of(int(t)) for t in row if t >= 0] for row in store.peak_tokens]
    kings = {i for i, texts in enumerate(peaks) if any("king" in text for text in texts)}
    assert set(found(store, search="king")) == kings | {7}
    assert {3, 5} <= set(found(store, search="ships"))
    assert 3 in found(store, search="WHALES ships")
    assert 3 not in found(store, search="ships nothing")
    assert 12 in found(store, search="12")
    assert found(store, search="no such thing at all") == []
    for name, value in (("sort", "weird"), ("show", "sleeping")):
        with pytest.raises(ConfigError, match=f"'{value}'") as caught:
            found(store, **{name: value})
        assert caught.value.where == name
