"""What is known of one latent, as plain values: what labels are made from and judged by.

Whoever holds the examples (an extraction's store, a published dashboard, a test) gives them as `FeatureEvidence`
through the `Examples` protocol; nothing here knows where they lie.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from saewidgets.errors import ConfigError

ExampleKind = Literal["top", "interval", "random"]
Sampling = Literal["mixed", "top", "intervals"]

KINDS: tuple[ExampleKind, ...] = get_args(ExampleKind)
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)


@dataclass(frozen=True, slots=True)
class Example:
    """A window of text with the latent's activation on each token.

    Attributes:
        tokens: text of every token, blanks included; together they are the text.
        activations: of the latent, one per token; zero where it is silent.
        peak: index of the token that the window was chosen for.
        kind: ``top`` (largest activations), ``interval`` (from an interval of activations), ``random``.
        document: which document it is from, if that is known.

    Raises:
        ConfigError: the lists differ in length, an activation is not finite, or `peak` is outside.
    """

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    peak: int
    kind: ExampleKind = "top"
    document: int | str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(self.tokens))
        object.__setattr__(self, "activations", tuple(map(float, self.activations)))
        if len(self.tokens) != len(self.activations):
            raise ConfigError(
                f"The example has {len(self.tokens)} tokens and {len(self.activations)} activations.",
                where="activations", hint="Give one activation per token.",
            )
        if not 0 <= self.peak < len(self.tokens):
            raise ConfigError(f"The peak {self.peak} is outside {len(self.tokens)} tokens.", where="peak")
        if not all(map(math.isfinite, self.activations)):
            raise ConfigError("An activation of the example is not a finite number.", where="activations")
        if self.kind not in KINDS:
            raise ConfigError(f"{self.kind!r} is not a kind of example.", where="kind", hint=f"Use {', '.join(KINDS)}.")

    @property
    def value(self) -> float:
        return self.activations[self.peak]

    @property
    def text(self) -> str:
        """The window as it stands in the document."""
        return "".join(self.tokens)

    def around(self, before: int, after: int) -> Example:
        """At most so many tokens on either side of the peak."""
        start = max(0, self.peak - before)
        part = slice(start, self.peak + after + 1)
        return Example(self.tokens[part], self.activations[part], self.peak - start, self.kind, self.document)


@dataclass(frozen=True, slots=True)
class FeatureEvidence:
    """One latent of an SAE.

    Attributes:
        index: number of the latent.
        top: windows around its largest activations, descending.
        intervals: windows from all intervals of its activations.
        negatives: windows of the same text in which it is silent.
        no_negatives: why there are none, where that is known.
        max_activation: its largest activation; 0 for a dead latent.
        density: share of the tokens on which it fires, if that is known.
        firing_count: how often it fired, if that is known.
        mean_activation: over the tokens on which it fires, if that is known.
        raises, lowers: tokens whose logit it raises or lowers most, with the size of the effect; may be empty.
        token_counts: how often it fired on which token; may be empty, then it is counted from the examples.
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
    token_counts: Mapping[str, int] = field(default_factory=dict)
    no_negatives: str = ""

    def __post_init__(self) -> None:
        for name in ("top", "intervals", "negatives", "raises", "lowers"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def is_dead(self) -> bool:
        """It never fired on the text that was read."""
        return self.max_activation <= 0 and not self.top and not self.intervals

    def activating(self) -> tuple[Example, ...]:
        """All different windows in which it fires, the largest activations first."""
        seen: set[tuple[tuple[str, ...], int]] = set()
        found = []
        for example in sorted((*self.top, *self.intervals), key=lambda e: -e.value):
            key = (example.tokens, example.peak)
            if example.value > 0 and key not in seen:
                seen.add(key)
                found.append(example)
        return tuple(found)


class Examples(Protocol):
    """Where evidence comes from. Called from one thread at a time."""

    def of(self, index: int) -> FeatureEvidence:
        """The evidence of latent `index`; raises `NotFoundError` if there is no such latent."""


def shown_examples(evidence: FeatureEvidence, n: int, sampling: Sampling = "mixed") -> tuple[Example, ...]:
    """The windows that a label is made from: at most `n`, the largest activations first.

    They are about half of all; the others, from other documents, are left for judging (`held_out`), so that a label is
    not tested on what it was made from. With a single document there is nothing to leave.

    Args:
        evidence: of the latent.
        n: how many at most.
        sampling: ``top``: the largest activations; ``intervals``: evenly over all activations; ``mixed``: half of each.
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
