"""Defines `FeatureEvidence` and `Example`: what labels are made and scored from; and how windows become text.

The holder of the examples (an extraction's store, a test) gives them through the `Examples` protocol.

In a prompt a window is one line, bounded, with nothing invisible, and unable to leave its place: line ends show as ↵,
other control and invisible characters by their number, as ``[U+202E]``. ``<<…>>`` marks the tokens on which a latent
fires; every ``<``, ``>`` and ``\\`` of the text itself gets a backslash, so that an unescaped ``<<`` is a mark.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal, Protocol, get_args

from saewidgets.errors import ConfigError

Sampling = Literal["mixed", "top", "intervals"]

SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)


@dataclass(frozen=True, slots=True)
class Example:
    """A window of text with the latent's activation on each token.

    Attributes:
        tokens: text of every token, blanks included; together they are the text.
        activations: of the latent, one per token; zero where it is silent.
        peak: index of the token that the window was chosen for.
        document: which document it is from, if that is known.
    """

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    peak: int
    document: int | str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(self.tokens))
        object.__setattr__(self, "activations", tuple(map(float, self.activations)))
        fits = len(self.activations) == len(self.tokens) > self.peak >= 0
        if not fits or not all(map(math.isfinite, self.activations)):
            hint = "Give a finite activation per token, and the peak's place."
            raise ConfigError(f"This is not an example of {len(self.tokens)} tokens.", where="example", hint=hint)

    @property
    def value(self) -> float:
        return self.activations[self.peak]

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    def around(self, before: int, after: int) -> Example:
        """At most so many tokens on either side of the peak."""
        start = max(0, self.peak - before)
        part = slice(start, self.peak + after + 1)
        return Example(self.tokens[part], self.activations[part], self.peak - start, self.document)


@dataclass(frozen=True, slots=True)
class FeatureEvidence:
    """One latent of an SAE.

    Attributes:
        index: number of the latent.
        top: windows around its largest activations, descending.
        intervals: windows from all intervals of its activations.
        negatives: windows of the same text in which it is silent; `no_negatives`: why there are none.
        max_activation: its largest activation; 0 for a dead latent.
        density: share of the tokens on which it fires, None where that is not known; so are
        firing_count: how often it fired, and
        mean_activation: over the tokens on which it fires.
        raises, lowers: tokens whose logit it raises or lowers most, with the size of the effect, if that is known.
    """

    index: int
    top: tuple[Example, ...] = ()
    intervals: tuple[Example, ...] = ()
    negatives: tuple[Example, ...] = ()
    max_activation: float = 0.0
    density: float | None = None
    firing_count: int | None = None
    mean_activation: float | None = None
    raises: tuple[tuple[str, float], ...] = ()
    lowers: tuple[tuple[str, float], ...] = ()
    no_negatives: str = ""

    @property
    def is_dead(self) -> bool:
        """It never fired on the text that was read."""
        return self.max_activation <= 0 and not self.top and not self.intervals

    def activating(self) -> tuple[Example, ...]:
        """All different windows in which it fires, the largest activations first."""
        found: dict[tuple[tuple[str, ...], int], Example] = {}
        for example in sorted((*self.top, *self.intervals), key=lambda e: -e.value):
            if example.value > 0:
                found.setdefault((example.tokens, example.peak), example)
        return tuple(found.values())


class Examples(Protocol):
    """Where evidence comes from. Called from one thread at a time."""

    def of(self, index: int) -> FeatureEvidence:
        """The evidence of latent `index`; raises `NotFoundError` if there is no such latent."""


def shown_examples(evidence: FeatureEvidence, n: int, sampling: Sampling = "mixed") -> tuple[Example, ...]:
    """The windows that a label is made from: at most `n`, the largest activations first.

    They are about half of all; the others, from other documents, are left for judging (`held_out`), so that a label is
    not tested on what it was made from. With a single document there is nothing to leave. `sampling` takes the ``top``
    activations, or evenly from all ``intervals`` of them; ``mixed``: half of each.
    """
    windows = _halves(evidence)[0]
    if sampling == "top" or len(windows) <= n:
        return tuple(windows[:n])
    if sampling == "intervals":
        return _evenly(windows, n)
    head = (n + 1) // 2
    return (*windows[:head], *_evenly(windows[head:], n - head))


def held_out(evidence: FeatureEvidence, n: int) -> tuple[Example, ...]:
    """At most `n` windows that `shown_examples` never takes, evenly over all activations; any, if there are none."""
    shown, others = _halves(evidence)
    return _evenly(others or shown, n)


def _halves(evidence: FeatureEvidence) -> tuple[list[Example], list[Example]]:
    """All different windows in two halves without a common document, in turn from the largest on.

    Windows of one document overlap, and repeat its words: in both halves they would tell a judge what the label saw.
    """
    halves: tuple[list[Example], list[Example]] = ([], [])
    side: dict[object, int] = {}
    for number, window in enumerate(evidence.activating()):
        key = (number,) if window.document is None else window.document
        half = side.setdefault(key, int(len(halves[1]) < len(halves[0])))
        halves[half].append(window)
    return halves


def _evenly(windows: Sequence[Example], n: int) -> tuple[Example, ...]:
    if len(windows) <= n:
        return tuple(windows)
    return tuple(windows[(2 * i + 1) * len(windows) // (2 * n)] for i in range(n))


# --- windows as text ------------------------------------------------------------------------------------

THRESHOLD = 0.3  # tokens above this share of the window's largest activation are marked
MAX_TOKEN = 120  # characters of one token that a prompt shows

_LINE_ENDS = re.compile(r"\r\n|[\n\r]")
_PLAIN = re.compile(r"[ -~]*")
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")  # control, format, surrogate, private, line, paragraph
_JOINERS = "\u200c\u200d"  # part of the spelling in several scripts, and of emoji


def visible(text: str) -> str:
    """`text` on one line; control, invisible and bidirectional characters are shown by number.

    The result can always be encoded as UTF-8.
    """
    if _PLAIN.fullmatch(text):
        return text
    return "".join(map(_shown, _LINE_ENDS.sub("↵", text).replace("\t", " ")))


def _shown(character: str) -> str:
    code = ord(character)
    hidden = unicodedata.category(character) in _HIDDEN and character not in _JOINERS
    is_no_character = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return f"[U+{code:04X}]" if hidden or is_no_character else character


def shortened(text: str, limit: int) -> str:
    """`text`, or its beginning and how much is missing."""
    return text if len(text) <= limit else f"{text[:limit]}…[{len(text) - limit:,} more characters]"


@lru_cache(1 << 16)  # a text has few different tokens, and each is shown many times
def _token(token: str) -> str:
    return re.sub(r"[\\<>]", r"\\\g<0>", visible(shortened(token, MAX_TOKEN)))


def active(activations: Sequence[float]) -> list[bool]:
    """Which tokens are marked: those above `THRESHOLD` of the window's largest activation."""
    limit = THRESHOLD * max(activations, default=0.0)
    return [value > limit and value > 0 for value in activations]


def marked(tokens: Sequence[str], marks: Sequence[bool]) -> str:
    """The window on one line; runs of marked tokens stand between one ``<<`` and one ``>>``."""
    runs = groupby(zip(tokens, marks, strict=True), key=lambda pair: pair[1])
    texts = ((mark, plain([token for token, _ in run])) for mark, run in runs)
    return "".join(f"<<{text}>>" if mark else text for mark, text in texts)


def plain(tokens: Sequence[str]) -> str:
    """The window on one line, without marks."""
    return "".join(map(_token, tokens))
