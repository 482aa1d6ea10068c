from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from saewidgets.activations.packing import PackedTokens
from saewidgets.features.relations import coactive
from saewidgets.features.store.page import feature_data, peak_tokens
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


def test_peak_tokens_of_examples(store: Store) -> None:
    top = feature_data(store, 6).top
    counted = peak_tokens(store, top)
    assert sum(c.count for c in counted) == len(top)
    assert sum(c.share for c in counted) == pytest.approx(1)
    assert [c.count for c in counted] == sorted((c.count for c in counted), reverse=True)


def test_coactivation_equals_the_dense_count(store: Store, dense: Latents) -> None:
    index = 4
    with_it = dense[dense[:, index] > 0] > 0
    found = coactive(store, index, n=39)
    assert found.sampled == len(with_it)
    shares = {r.index: r.value for r in found.found}
    expected = {i: s for i, s in enumerate(with_it.mean(0)) if s > 0 and i != index}
    assert shares == pytest.approx(expected)
    excess = [r.value - store.density[r.index] for r in found.found]
    assert excess == sorted(excess, reverse=True)
    assert coactive(store, 0).found == []
