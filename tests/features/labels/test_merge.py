"""A person's label wins, and nothing is lost by it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from saewidgets.features.labels import Label, Score, merge, ranked, shown
from saewidgets.features.labels.label import SOURCES
from saewidgets.features.labels.merge import HEURISTIC, identity

LABELS = st.lists(
    st.builds(
        lambda index, text, source, model, created, error: Label(
            index, "" if error else text, source=source, model=model if source != "user" else "", method="m",
            created_at=created, error="failed" if error else "",
        ),
        st.integers(0, 3), st.sampled_from(["king", "queen", "ship"]), st.sampled_from(SOURCES),
        st.sampled_from(["gpt", HEURISTIC]), st.integers(0, 5).map(float), st.booleans(),
    ),
    max_size=12,
)


@given(LABELS, LABELS)
def test_merging_keeps_one_version_of_each(kept: list[Label], new: list[Label]) -> None:
    both = merge(kept, new)
    assert len({identity(label) for label in both}) == len(both)
    assert {identity(label) for label in both} == {identity(label) for label in (*kept, *new)}
    assert merge(both, []) == both
    assert merge(both, both) == both
    assert merge([], both) == both
    for label in both:
        versions = [x for x in (*kept, *new) if identity(x) == identity(label)]
        good = [x for x in versions if not x.error]
        assert label.created_at == max(x.created_at for x in good or versions)
        assert bool(label.error) == (not good)


@given(LABELS)
def test_a_person_wins(labels: list[Label]) -> None:
    for index in range(4):
        of_latent = [x for x in merge([], labels) if x.index == index]
        best = shown(of_latent)
        good = [x for x in of_latent if not x.error]
        if not good:
            assert best is None
        elif any(x.source == "user" for x in good):
            assert best is not None
            assert best.source == "user"
        elif any(x.model != HEURISTIC or x.source == "imported" for x in good):
            assert best is not None
            assert best.model != HEURISTIC or best.source == "imported"
        assert sorted(map(repr, ranked(of_latent))) == sorted(map(repr, of_latent))


def test_scores_stay_while_the_text_is_the_same() -> None:
    score, other = Score("detection", 0.9, "gpt", created_at=1.0), Score("fuzzing", 0.7, "gpt", created_at=2.0)
    old = Label(1, "king", source="auto", model="gpt", prompt_hash="h", created_at=1.0, scores=(score,))
    new = replace(old, created_at=2.0, scores=(other,))
    assert merge([old], [new])[0].scores == (score, other)
    assert merge([new], [old])[0].scores == (score, other)
    assert merge([old], [replace(new, text="queen")])[0].scores == (other,)


def test_a_failure_does_not_replace_a_label() -> None:
    label = Label(1, "king", source="auto", model="gpt", prompt_hash="h", created_at=1.0)
    failure = replace(label, text="", error="no answer", created_at=9.0)
    assert merge([label], [failure]) == [label]
    assert merge([failure], [label]) == [label]
