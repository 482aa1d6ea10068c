"""Defines `Label` and `Score`, and how several labels of one latent are merged and ranked.

A person's label is shown, and the automatic and imported ones stay beside it. What comes from people and files is
checked by `from_data`; inside, labels are trusted.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from saewidgets.config.arguments import shown as repeated
from saewidgets.config.arguments import whole_text
from saewidgets.errors import ConfigError
from saewidgets.feature_records import LabelSource

HEURISTIC = "offline heuristic"  # the model of its labels
HEURISTIC_RANK = 2  # a label of a lower rank is by a person, a model or an import
MAX_TEXT = 1_000  # characters
MAX_DESCRIPTION = 20_000

_whole = AfterValidator(lambda text: whole_text(text, ""))
Phrase = Annotated[str, Field(max_length=MAX_TEXT), _whole]
Prose = Annotated[str, Field(max_length=MAX_DESCRIPTION), _whole]
Name = Annotated[str, Field(max_length=500), _whole]
Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


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
            `precision`, `recall`, `specificity` and `f1` are of these.
        prompt_hash: of everything that was asked, so that the same is not paid twice.
        created_at: Unix seconds.
        verdicts: what the judge said of each window in turn: ``1``, ``0``, ``?`` for none; "" where it is not known.
        settings: those of `score_labels` from which `judged_windows` finds the windows again.
    """

    scorer: Annotated[Name, Field(pattern=r"\S")]
    value: Number | None
    model: Name = ""
    n_judged: Count | None = None
    n_asked: Count | None = None
    tp: Count | None = None
    fp: Count | None = None
    tn: Count | None = None
    fn: Count | None = None
    prompt_hash: Name = ""
    created_at: Number = field(default_factory=time.time)
    verdicts: Prose = ""
    settings: Name = ""

    @property
    def precision(self) -> float | None:
        return _ratio(self.tp, self.fp)

    @property
    def recall(self) -> float | None:
        return _ratio(self.tp, self.fn)

    @property
    def f1(self) -> float | None:
        if self.tp is None or self.fp is None or self.fn is None:
            return None
        return _ratio(2 * self.tp, self.fp + self.fn)

    @property
    def specificity(self) -> float | None:
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
    """A label of a latent, by a person, a model or an import; the fields are those of a `LabelRecord`."""

    index: Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)]
    text: Phrase
    description: Prose = ""
    source: LabelSource = "user"
    method: Name = ""
    model: Name = ""
    prompt_hash: Name = ""
    created_at: Number = field(default_factory=time.time)
    scores: Annotated[tuple[Score, ...], Field(max_length=100)] = ()
    error: Prose = ""

    @property
    def score(self) -> Score | None:
        return max((s for s in self.scores if s.value is not None), key=lambda s: s.created_at, default=None)

    @property
    def n_judged(self) -> int | None:
        return self.score.n_judged if self.score else None

    @property
    def n_asked(self) -> int | None:
        return self.score.n_asked if self.score else None

    @property
    def by(self) -> str:
        """Its author and how well it holds: ``gpt-4o-mini, detection 0.86, 92 of 100 judged``; "" for a person."""
        return ", ".join(part for part in (self.model, str(self.score) if self.score else "") if part)

    @property
    def identity(self) -> Hashable:
        """The same for versions of one: a person has one per latent, a model per question, an import per text."""
        if self.source == "user":
            return (self.index, "user")
        told = self.prompt_hash if self.source == "auto" else self.text
        return (self.index, self.source, self.method, self.model, told)

    @property
    def rank(self) -> int:
        """The lowest is shown: a person's, a model's or import's, the heuristic's; failures come last."""
        if self.error:
            return 3
        if self.source == "user":
            return 0
        return HEURISTIC_RANK if self.source == "auto" and self.model == HEURISTIC else 1

    def with_score(self, score: Score) -> Label:
        """The same label with `score`; an older version of it is replaced."""
        return replace(self, scores=(*(s for s in self.scores if s.key != score.key), score))

    @classmethod
    def from_data(cls, data: Any) -> Label:
        """From its fields as JSON; unknown keys are ignored. Raises `ConfigError`; `where` names a wrong one."""
        try:
            label: Label = _reader().validate_python(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(part for part in first["loc"] if isinstance(part, str))
            cause = first.get("ctx", {}).get("error")
            found = "" if first["type"] == "missing" else f" (found {repeated(first['input'])})"
            what = cause.what if isinstance(cause, ConfigError) else f"{first['msg']}{found}."
            raise ConfigError(what, where=where) from error
        if not label.text.strip() and not label.error:
            raise ConfigError("This is empty.", where="text")
        return label


@cache
def _reader() -> TypeAdapter[Label]:
    return TypeAdapter(Label)


def merge(kept: Iterable[Label], new: Iterable[Label]) -> list[Label]:
    """Both, by latent and in the order of `ranked`; of two versions the newer, `new` where they are of one age.

    A failure never replaces a label. Scores of both versions stay while the text is the same.
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
    """The one to show first, newer ones before older ones."""
    return sorted(labels, key=lambda label: (label.rank, -label.created_at, repr(label.identity)))


def shown(labels: Iterable[Label]) -> Label | None:
    """The label of one latent that counts; None if there is none but failures."""
    return next((label for label in ranked(labels) if not label.error), None)


def by_feature(labels: Iterable[Label]) -> dict[int, list[Label]]:
    """Labels by the number of their latent, in the order they came."""
    grouped: defaultdict[int, list[Label]] = defaultdict(list)
    for label in labels:
        grouped[label.index].append(label)
    return dict(grouped)


def _ratio(hits: int | None, others: int | None) -> float | None:
    return hits / (hits + others) if hits is not None and others is not None and hits + others else None
