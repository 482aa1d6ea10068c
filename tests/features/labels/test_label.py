"""Labels hold what any file can hold and say who made them; a person's label wins, and nothing is lost by it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saewidgets.errors import ConfigError
from saewidgets.features.labels import Label, Score, merge, shown
from saewidgets.features.labels.label import HEURISTIC, SOURCES, ranked


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ({"index": -1, "text": "a"}, "index"),
        ({"index": True, "text": "a"}, "index"),
        ({"index": 2**40, "text": "a"}, "index"),
        ({"index": 1}, "text"),
        ({"index": 1, "text": " "}, "text"),
        ({"index": 1, "text": None}, "text"),
        ({"index": 1, "text": "a\0b"}, "text"),
        ({"index": 1, "text": "\ud800"}, "text"),
        ({"index": 1, "text": "a" * 1001}, "text"),
        ({"index": 1, "text": "a", "source": "god"}, "source"),
        ({"index": 1, "text": "a", "created_at": math.nan}, "created_at"),
        ({"index": 1, "text": "a", "created_at": "now"}, "created_at"),
        ({"index": 1, "text": "a", "scores": {}}, "scores"),
        ({"index": 1, "text": "a", "scores": [3]}, "scores"),
        ({"index": 1, "text": "a", "scores": [{"scorer": "x"}]}, "scores.value"),
        ({"index": 1, "text": "a", "scores": [{"scorer": "x", "value": 1, "tp": -1}]}, "scores.tp"),
        ({"index": 1, "text": "a", "scores": [{"scorer": "x", "value": 10**400}]}, "scores.value"),
    ],
)
def test_wrong_data_names_its_field(data: dict[str, object], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Label.from_data(data)
    assert caught.value.where == where


def test_data_comes_back() -> None:
    label = Label(3, "‘king’", "more", "auto", "examples, mixed", "gpt", "ab", 12.5,
                  (Score("detection", 0.75, "gpt", 9, 10, 3, 1, 3, 2, "cd", 13.5),))
    assert Label.from_data(json.loads(json.dumps(asdict(label)))) == label
    assert label.by == "gpt, detection 0.75, 9 of 10 judged"
    assert (label.n_judged, label.n_asked) == (9, 10)


def test_numbers_of_a_score() -> None:
    score = Score("detection", 0.675, tp=3, fp=1, tn=3, fn=2)
    assert (score.precision, score.recall, score.specificity, score.f1) == (0.75, 0.6, 0.75, 6 / 9)
    empty = Score("detection", None, tp=0, fp=0, tn=0, fn=0)
    assert (empty.precision, empty.recall, empty.specificity, empty.f1) == (None, None, None, None)
    assert Score("np", 0.3).f1 is None


def test_a_new_score_replaces_the_same_one() -> None:
    label = Label(1, "a").with_score(Score("detection", 0.5, "j", prompt_hash="h", created_at=1))
    label = label.with_score(Score("fuzzing", 0.6, "j", prompt_hash="g", created_at=2))
    label = label.with_score(Score("detection", 0.9, "j", prompt_hash="h", created_at=3))
    assert [(s.scorer, s.value) for s in label.scores] == [("fuzzing", 0.6), ("detection", 0.9)]
    assert label.score is not None
    assert label.score.value == 0.9


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
    assert len({label.identity for label in both}) == len(both)
    assert {label.identity for label in both} == {label.identity for label in (*kept, *new)}
    assert merge(both, []) == both
    assert merge(both, both) == both
    assert merge([], both) == both
    for label in both:
        versions = [x for x in (*kept, *new) if x.identity == label.identity]
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
