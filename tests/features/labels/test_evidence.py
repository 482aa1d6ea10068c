"""Examples are what they say, and a label is never tested on what it was made from."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saewidgets.errors import ConfigError
from saewidgets.features.labels import Example, FeatureEvidence, held_out, shown_examples
from saewidgets.features.labels.evidence import SAMPLINGS, Sampling

WINDOWS = st.lists(
    st.builds(lambda n, v: Example((f" w{n}", " x"), (v, 0.0), 0), st.integers(0, 40), st.floats(0.1, 100)), max_size=40
)


@given(WINDOWS, WINDOWS, st.integers(1, 30), st.sampled_from(SAMPLINGS))
def test_labels_and_judges_see_different_windows(
    top: list[Example], intervals: list[Example], n: int, sampling: Sampling
) -> None:
    known = FeatureEvidence(0, tuple(top), tuple(intervals), max_activation=100)
    different = {(e.tokens, e.peak) for e in (*top, *intervals)}
    shown = shown_examples(known, n, sampling)
    kept = held_out(known, n)
    assert len(shown) == min(n, (len(different) + 1) // 2)
    assert [e.value for e in shown] == sorted((e.value for e in shown), reverse=True)
    if len(different) > 1:
        assert not {e.tokens for e in shown} & {e.tokens for e in kept}
        assert len(kept) == min(n, len(different) // 2)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0.1, 100)), max_size=30))
def test_no_document_is_in_both(pairs: list[tuple[int, float]]) -> None:
    windows = tuple(Example((f" w{i}",), (value,), 0, "top", document) for i, (document, value) in enumerate(pairs))
    known = FeatureEvidence(0, windows, max_activation=100)
    shown, kept = shown_examples(known, 1000), held_out(known, 1000)
    if len({document for document, _ in pairs}) > 1:
        assert not {e.document for e in shown} & {e.document for e in kept}
        assert len(shown) + len(kept) == len(windows)
    else:
        assert len(shown) == len(kept) == len(windows)


def test_the_largest_activation_is_shown_unless_all_are_asked_evenly() -> None:
    windows = tuple(Example((f" {i}",), (float(i),), 0) for i in range(1, 101))
    known = FeatureEvidence(0, windows, max_activation=100)
    assert [e.value for e in shown_examples(known, 3, "top")] == [100, 98, 96]
    assert [e.value for e in shown_examples(known, 4, "mixed")][:2] == [100, 98]
    spread = [e.value for e in shown_examples(known, 5, "intervals")]
    assert max(spread) > 85
    assert min(spread) < 15


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (((" a",), (1.0, 2.0), 0), "activations"),
        (((" a",), (math.nan,), 0), "activations"),
        (((" a",), (1.0,), 1), "peak"),
        (((" a",), (1.0,), 0, "best"), "kind"),
    ],
)
def test_a_broken_example_is_refused(arguments: tuple[object, ...], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Example(*arguments)  # type: ignore[arg-type] # on purpose
    assert caught.value.where == where


def test_windows_are_cut_around_their_peak() -> None:
    example = Example(tuple("abcdefg"), tuple(map(float, range(7))), 5)
    cut = example.around(2, 1)
    assert (cut.tokens, cut.peak, cut.value) == (("d", "e", "f", "g"), 2, 5.0)
    assert example.around(100, 100) == example
