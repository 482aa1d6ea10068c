"""Defines `Label` and `Score`, and how several labels of one latent are merged and ranked.

A person's label wins and nothing else is lost by it: it is shown, and the automatic and imported ones stay beside it.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from saewidgets.config.arguments import whole_text
from saewidgets.errors import ConfigError

LabelSource = Literal["user", "auto", "imported"]
SOURCES: tuple[LabelSource, ...] = get_args(LabelSource)

HEURISTIC = "offline heuristic"
"""What the heuristic calls itself where a label names its model."""
MAX_TEXT = 1_000
"""Characters of a label's text."""
MAX_DESCRIPTION = 20_000
MAX_INDEX = 2**31 - 1
_MAX_SCORES = 100
_LENGTHS = {
    "text": MAX_TEXT, "description": MAX_DESCRIPTION, "error": MAX_DESCRIPTION, "method": 500, "model": 500,
    "scorer": 500, "prompt_hash": 128,
}  # fmt: skip
_COUNTS = ("n_judged", "n_asked", "tp", "fp", "tn", "fn")


@dataclass(frozen=True, slots=True)
class Score:
    """One judgement of one label.

    Attributes:
        scorer: ``detection``, ``fuzzing``, or what an import calls it.
        value: of our own scorers the balanced accuracy, from 0 to 1, 0.5 being chance; None where too little was
            judged. Of an import whatever its scorer measures.
        model: who judged.
        n_judged, n_asked: windows with a readable answer, and windows that were shown; None where that is not known.
        tp, fp, tn, fn: judged windows: the latent fires and the judge says so, and so on; None for an import.
        prompt_hash: of everything that was asked, so that the same is not paid twice.
        created_at: Unix seconds.
    """

    scorer: str
    value: float | None
    model: str = ""
    n_judged: int | None = None
    n_asked: int | None = None
    tp: int | None = None
    fp: int | None = None
    tn: int | None = None
    fn: int | None = None
    prompt_hash: str = ""
    created_at: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        _check_texts(self, required="scorer")
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and (type(value) is not int or not 0 <= value <= 2**53):
                raise ConfigError(f"This is not a count (found {_quoted(value)}).", where=name)
        if self.value is not None:
            _check_number(self, "value")
        _check_number(self, "created_at")

    @property
    def precision(self) -> float | None:
        """Of the windows that the judge chose, the share in which the latent fires."""
        return _ratio(self.tp, self.fp)

    @property
    def recall(self) -> float | None:
        """Of the windows in which the latent fires, the share that the judge chose."""
        return _ratio(self.tp, self.fn)

    @property
    def f1(self) -> float | None:
        """2·tp / (2·tp + fp + fn)."""
        if self.tp is None or self.fp is None or self.fn is None:
            return None
        return _ratio(2 * self.tp, self.fp + self.fn)

    @property
    def specificity(self) -> float | None:
        """Of the windows in which the latent is silent, the share that the judge left out."""
        return _ratio(self.tn, self.fp)

    @property
    def judged(self) -> str:
        """``92 of 100 judged``; "" where that is not known."""
        return "" if self.n_judged is None or self.n_asked is None else f"{self.n_judged} of {self.n_asked} judged"

    @property
    def key(self) -> tuple[str, str, str]:
        """Scores with the same key are versions of one: scorer, judge, questions."""
        return self.scorer, self.model, self.prompt_hash

    def __str__(self) -> str:
        value = "not scored" if self.value is None else f"{self.scorer} {self.value:.2f}"
        return ", ".join(part for part in (value, self.judged) if part)


@dataclass(frozen=True, slots=True)
class Label:
    """What somebody, or something, says that a latent stands for.

    Attributes:
        index: number of the latent.
        text: one short phrase; "" only together with `error`.
        description: more of it, if there is more to say.
        source: ``user`` (a person wrote it here), ``auto`` (made here), ``imported``.
        method: how an automatic label was made (``examples, mixed``), or what an import calls it.
        model: who made it.
        prompt_hash: of the exact messages that it answers.
        created_at: Unix seconds.
        scores: how well it was found to hold.
        error: why there is no label, where asking failed.

    Raises:
        ConfigError: a field has the wrong type, is too long, or holds characters that no file can hold.
    """

    index: int
    text: str
    description: str = ""
    source: LabelSource = "user"
    method: str = ""
    model: str = ""
    prompt_hash: str = ""
    created_at: float = field(default_factory=time.time)
    scores: tuple[Score, ...] = ()
    error: str = ""

    def __post_init__(self) -> None:
        if type(self.index) is not int or not 0 <= self.index <= MAX_INDEX:
            raise ConfigError(f"{_quoted(self.index)} is not the number of a latent.", where="index")
        if self.source not in SOURCES:
            raise ConfigError(
                f"{_quoted(self.source)} is not a source of labels.", where="source", hint=f"Use {', '.join(SOURCES)}."
            )
        _check_texts(self, required="" if self.error else "text")
        _check_number(self, "created_at")
        object.__setattr__(self, "scores", tuple(self.scores))
        if len(self.scores) > _MAX_SCORES or not all(isinstance(score, Score) for score in self.scores):
            raise ConfigError("The scores of a label are a list of scores.", where="scores")

    @property
    def score(self) -> Score | None:
        """The newest score with a value."""
        return max((s for s in self.scores if s.value is not None), key=lambda s: s.created_at, default=None)

    @property
    def n_judged(self) -> int | None:
        """Windows with a readable answer, of `score`."""
        return self.score.n_judged if self.score else None

    @property
    def n_asked(self) -> int | None:
        """Windows that the judge was shown, of `score`."""
        return self.score.n_asked if self.score else None

    @property
    def by(self) -> str:
        """Who says so and how well it holds: ``gpt-4o-mini, detection 0.86, 92 of 100 judged``; "" for a person."""
        return ", ".join(part for part in (self.model, str(self.score) if self.score else "") if part)

    @property
    def identity(self) -> Hashable:
        """Labels with the same identity are versions of one.

        A person has one label per latent; a model has one per question; an import has one per text.
        """
        if self.source == "user":
            return (self.index, "user")
        told = self.prompt_hash if self.source == "auto" else self.text
        return (self.index, self.source, self.method, self.model, told)

    @property
    def rank(self) -> int:
        """Which label of a latent is shown, the lowest first: a person's, a model's or import's, the heuristic's.

        Failures come last.
        """
        if self.error:
            return 3
        if self.source == "user":
            return 0
        return 2 if self.source == "auto" and self.model == HEURISTIC else 1

    def with_score(self, score: Score) -> Label:
        """The same label with `score`; an older version of it is replaced."""
        return replace(self, scores=(*(s for s in self.scores if s.key != score.key), score))

    def to_data(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self) | {"scores": [asdict(score) for score in self.scores]}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Label:
        """What `to_data` gave. Unknown keys are ignored.

        Raises:
            ConfigError: a key is missing or wrong; `where` names it.
        """
        values = _values(cls, data, ("index", "text"))
        scores = values.pop("scores", ())
        if not isinstance(scores, list | tuple):
            raise ConfigError("The scores of a label are a list.", where="scores")
        return cls(**values, scores=tuple(score_from_data(score) for score in scores[: _MAX_SCORES + 1]))


def score_from_data(data: Any) -> Score:
    """A score from plain JSON data. Raises `ConfigError` naming the key that is wrong."""
    if not isinstance(data, Mapping):
        raise ConfigError("A score is an object.", where="scores")
    try:
        return Score(**_values(Score, data, ("scorer", "value")))
    except ConfigError as error:
        raise ConfigError(error.what, where=f"scores.{error.where}", hint=error.hint) from error


def merge(kept: Iterable[Label], new: Iterable[Label]) -> list[Label]:
    """Both, every label once: of two versions the newer, `new` where they are of one age.

    A failure never replaces a label. Scores of both versions stay while the text is the same. Sorted by latent, and
    within it in the order of `ranked`.
    """
    found: dict[Hashable, Label] = {}
    for label in (*kept, *new):
        there = found.get(label.identity)
        found[label.identity] = label if there is None else _newer(there, label)
    grouped = by_feature(found.values())
    return [label for index in sorted(grouped) for label in ranked(grouped[index])]


def _newer(old: Label, new: Label) -> Label:
    if bool(old.error) != bool(new.error):
        return old if new.error else new
    first, last = (new, old) if new.created_at < old.created_at else (old, new)
    if first.text != last.text:
        return last
    both = last
    for score in first.scores:
        if not any(s.key == score.key and s.created_at >= score.created_at for s in last.scores):
            both = both.with_score(score)
    return replace(both, scores=tuple(sorted(both.scores, key=lambda s: (s.created_at, s.scorer, s.model))))


def ranked(labels: Iterable[Label]) -> list[Label]:
    """The one to show first (see `Label.rank`), newer ones before older ones."""
    return sorted(labels, key=lambda label: (label.rank, -label.created_at, repr(label.identity)))


def shown(labels: Iterable[Label]) -> Label | None:
    """The label that stands for one latent; None if there is none but failures."""
    return next((label for label in ranked(labels) if not label.error), None)


def by_feature(labels: Iterable[Label]) -> dict[int, list[Label]]:
    """Labels by the number of their latent, in the order they came."""
    grouped: defaultdict[int, list[Label]] = defaultdict(list)
    for label in labels:
        grouped[label.index].append(label)
    return dict(grouped)


def _ratio(hits: int | None, others: int | None) -> float | None:
    return hits / (hits + others) if hits is not None and others is not None and hits + others else None


def _quoted(value: object) -> str:
    return repr(value)[:80]


def _values(cls: type[Label | Score], data: Mapping[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    for name in required:
        if name not in data:
            raise ConfigError("The field is missing.", where=name)
    return {f.name: data[f.name] for f in fields(cls) if f.name in data}


def _check_texts(value: Label | Score, required: str) -> None:
    for name in [f.name for f in fields(value) if f.name in _LENGTHS]:
        text = getattr(value, name)
        if not isinstance(text, str):
            raise ConfigError(f"This is not text (found {_quoted(text)}).", where=name)
        if name == required and not text.strip():
            raise ConfigError("This is empty.", where=name)
        if len(text) > _LENGTHS[name]:
            raise ConfigError(f"This has {len(text):,} characters; at most {_LENGTHS[name]:,} are kept.", where=name)
        whole_text(text, name)


def _check_number(value: Label | Score, name: str) -> None:
    given = getattr(value, name)
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ConfigError(f"This is not a number (found {_quoted(given)}).", where=name)
    try:
        number = float(given)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError("This is not a finite number.", where=name)
    object.__setattr__(value, name, number)
