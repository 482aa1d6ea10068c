"""A label of a latent, and how well it was found to hold."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from saewidgets.config.arguments import whole_text
from saewidgets.errors import ConfigError

LabelSource = Literal["user", "auto", "imported"]
SOURCES: tuple[LabelSource, ...] = get_args(LabelSource)

MAX_TEXT = 1_000
"""Characters of a label's text."""
MAX_DESCRIPTION = 20_000
MAX_INDEX = 2**31 - 1
_MAX_NAME = 500  # of method, model, scorer
_MAX_SCORES = 100


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
        _check_text("scorer", self.scorer, _MAX_NAME, empty=False)
        _check_text("model", self.model, _MAX_NAME)
        _check_text("prompt_hash", self.prompt_hash, 128)
        for name in ("n_judged", "n_asked", "tp", "fp", "tn", "fn"):
            _check_count(name, getattr(self, name))
        for name in ("value", "created_at"):
            number = getattr(self, name)
            if not (number is None and name == "value"):
                object.__setattr__(self, name, _check_number(name, number))

    @property
    def precision(self) -> float | None:
        """Of the windows that the judge chose, the share in which the latent fires."""
        return _ratio(self.tp, None if self.tp is None or self.fp is None else self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """Of the windows in which the latent fires, the share that the judge chose."""
        return _ratio(self.tp, None if self.tp is None or self.fn is None else self.tp + self.fn)

    @property
    def f1(self) -> float | None:
        """2·tp / (2·tp + fp + fn)."""
        if self.tp is None or self.fp is None or self.fn is None:
            return None
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def specificity(self) -> float | None:
        """Of the windows in which the latent is silent, the share that the judge left out."""
        return _ratio(self.tn, None if self.tn is None or self.fp is None else self.tn + self.fp)

    @property
    def judged(self) -> str:
        """``92 of 100 judged``; "" where that is not known."""
        return "" if self.n_judged is None or self.n_asked is None else f"{self.n_judged} of {self.n_asked} judged"

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
        if isinstance(self.index, bool) or not isinstance(self.index, int) or not 0 <= self.index <= MAX_INDEX:
            raise ConfigError(f"{_quoted(self.index)} is not the number of a latent.", where="index")
        if self.source not in SOURCES:
            raise ConfigError(
                f"{_quoted(self.source)} is not a source of labels.", where="source", hint=f"Use {', '.join(SOURCES)}."
            )
        _check_text("error", self.error, MAX_DESCRIPTION)
        _check_text("text", self.text, MAX_TEXT, empty=bool(self.error))
        _check_text("description", self.description, MAX_DESCRIPTION)
        _check_text("method", self.method, _MAX_NAME)
        _check_text("model", self.model, _MAX_NAME)
        _check_text("prompt_hash", self.prompt_hash, 128)
        object.__setattr__(self, "created_at", _check_number("created_at", self.created_at))
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

    def with_score(self, score: Score) -> Label:
        """The same label with `score`; an older one of the same scorer, judge and questions is replaced."""
        key = (score.scorer, score.model, score.prompt_hash)
        kept = tuple(s for s in self.scores if (s.scorer, s.model, s.prompt_hash) != key)
        return replace(self, scores=(*kept, score))

    def to_data(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self) | {"scores": [asdict(score) for score in self.scores]}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Label:
        """What `to_data` gave. Unknown keys are ignored.

        Raises:
            ConfigError: a key is missing or wrong; `where` names it.
        """
        for name in ("index", "text"):
            if name not in data:
                raise ConfigError("The field is missing.", where=name)
        values = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        scores = values.pop("scores", ())
        if not isinstance(scores, list | tuple):
            raise ConfigError("The scores of a label are a list.", where="scores")
        return cls(**values, scores=tuple(score_from_data(score) for score in scores[: _MAX_SCORES + 1]))


def score_from_data(data: Any) -> Score:
    """A score from plain JSON data. Raises `ConfigError` naming the key that is wrong."""
    if not isinstance(data, Mapping):
        raise ConfigError("A score is an object.", where="scores")
    for name in ("scorer", "value"):
        if name not in data:
            raise ConfigError("The field is missing.", where=f"scores.{name}")
    try:
        return Score(**{f.name: data[f.name] for f in fields(Score) if f.name in data})
    except ConfigError as error:
        raise ConfigError(error.what, where=f"scores.{error.where}", hint=error.hint) from error


def _ratio(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None


def _quoted(value: object) -> str:
    return repr(value)[:80]


def _check_text(name: str, value: object, limit: int, *, empty: bool = True) -> None:
    if not isinstance(value, str):
        raise ConfigError(f"This is not text (found {_quoted(value)}).", where=name)
    if not empty and not value.strip():
        raise ConfigError("This is empty.", where=name)
    if len(value) > limit:
        raise ConfigError(f"This has {len(value):,} characters; at most {limit:,} are kept.", where=name)
    whole_text(value, name)


def _check_count(name: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 2**53):
        raise ConfigError(f"This is not a count (found {_quoted(value)}).", where=name)


def _check_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"This is not a number (found {_quoted(value)}).", where=name)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError("This is not a finite number.", where=name)
    return number
