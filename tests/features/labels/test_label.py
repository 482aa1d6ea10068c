"""Labels hold what any file can hold, and say who made them."""

from __future__ import annotations

import json
import math

import pytest

from saewidgets.errors import ConfigError
from saewidgets.features.labels import Label, Score


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


def test_a_failure_needs_no_text() -> None:
    assert Label(1, "", error="no answer").text == ""


def test_data_comes_back() -> None:
    label = Label(3, "‘king’", "more", "auto", "examples, mixed", "gpt", "ab", 12.5,
                  (Score("detection", 0.75, "gpt", 9, 10, 3, 1, 3, 2, "cd", 13.5),))
    assert Label.from_data(json.loads(json.dumps(label.to_data()))) == label
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
