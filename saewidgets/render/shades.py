"""`marked`, tokens shaded by their activations, and `bars` of a histogram: what several pages draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from saewidgets.render.html import Html, escape, join

STEPS = 8
LEAST = 5e-5
"""An activation below this has no shade."""

Look = Callable[[int, bool, float], str]
"""From the step of a token's shade, whether it is the strongest, and its activation to the attributes of its tag."""


def step_of(value: float, largest: float) -> int:
    """The shade of an activation, 0 (none) to 8: logarithmic, so that weak ones can be seen."""
    if not (value >= LEAST and largest > 0):
        return 0
    return min(STEPS, math.ceil(STEPS * math.log10(1 + 9 * min(1.0, value / largest)) - 1e-9))


def marked(tokens: Iterable[tuple[str, float]], largest: float, peak: int, look: Look) -> Html:
    """Tokens with their shades, plain text where they have none; leading spaces are outside of the shade.

    Args:
        tokens: text and activation.
        largest: the activation of the darkest shade.
        peak: the place of the strongest, which is marked in any case.
        look: of a shade.
    """
    parts: list[str] = []
    for place, (text, value) in enumerate(tokens):
        step = step_of(value, largest)
        if step or place == peak:
            body = text.lstrip(" ") or text
            text = Html(f"{text[: len(text) - len(body)]}<i {look(step, place == peak, value)}>{escape(body)}</i>")
        parts.append(text)
    return join(parts)


def bars(counts: Sequence[int], step: float, height: int, most: int, first: int = 0) -> str:
    """Bars as one SVG path, from the bin `first` on, each `step` wide: a rectangle each would be ten times as long."""
    thick = max(step - 0.6, 0.6)
    return "".join(
        f"M{1 + (first + i) * step:.1f} {height}v{-max(1.0, height * c / most):.1f}h{thick:.1f}V{height}z"
        for i, c in enumerate(counts) if c
    )  # fmt: skip
