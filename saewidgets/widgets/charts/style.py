"""What a chart's line looks like: colour and dash and marker, keyed by the run's slot, in both themes.

The colours are the series tokens of `js/src/styles/tokens.css` (a test compares them): at least 3 : 1 against the
ground and far enough apart also with deuteranopia and protanopia.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SLOTS = 6
DASHES = ("solid", "dashed", "dotted", "dash_dotted", "solid", "dashed")  # bqplot's names
SVG_DASHES = (None, "6 3", "2 2", "8 2 2 2", None, "6 3")
MARKERS = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
# The outlines of bqplot's markers as SVG, in a box of 10 by 10.
SHAPES = {
    "circle": "M5 1a4 4 0 1 0 0 8a4 4 0 1 0 0-8Z",
    "square": "M1.5 1.5H8.5V8.5H1.5Z",
    "triangle-up": "M5 1 9 8.5H1Z",
    "diamond": "M5 .5 8.3 5 5 9.5 1.7 5Z",
    "cross": "M3.5 1H6.5V3.5H9V6.5H6.5V9H3.5V6.5H1V3.5H3.5Z",
    "triangle-down": "M5 9 1 1.5H9Z",
    "rectangle": "M3.5 .2H6.5V9.8H3.5Z",
    "ellipse": "M5 .2a1.8 4.8 0 1 0 0 9.6a1.8 4.8 0 1 0 0-9.6Z",
    "arrow": "M5 .2 7.8 9.8H2.2Z",
}
RAW_OPACITY = 0.45
RAW_WIDTH = 1.0
SMOOTH_WIDTH = 1.75


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of one theme."""

    series: tuple[str, ...]
    text: str
    tick: str
    grid: str
    axis: str


PALETTES = {
    "light": Palette(
        series=("#4a87d9", "#8d3a12", "#269888", "#70164e", "#a97a04", "#524db1"),
        text="#545c66",
        tick="#5f6772",
        grid="#e6e9ee",
        axis="#868f9b",
    ),
    "dark": Palette(
        series=("#6186ce", "#bb6b0e", "#73b694", "#ffd4e5", "#f5d657", "#a7affe"),
        text="#a8b0ba",
        tick="#939ba6",
        grid="#26282c",
        axis="#6c747f",
    ),
}


class Symbol(NamedTuple):
    """How the runs of one architecture are drawn in the Pareto view."""

    marker: str  # a key of `SHAPES`
    color: int | None  # index into `Palette.series`; None is the colour of the axes

    def color_in(self, palette: Palette) -> str:
        return palette.axis if self.color is None else palette.series[self.color]


# Each architecture keeps its pair of shape and colour, whatever else is in the view. No two share a shape; of those
# that share a colour the shapes are far apart.
SYMBOLS = {
    "topk": Symbol("circle", 0),
    "batchtopk": Symbol("square", 1),
    "jumprelu": Symbol("triangle-up", 2),
    "standard": Symbol("diamond", 3),
    "gated": Symbol("cross", 4),
    "matryoshka": Symbol("triangle-down", 5),
    "skip": Symbol("rectangle", 0),
    "transcoder": Symbol("ellipse", 1),
    "skip_transcoder": Symbol("arrow", 4),
}


def symbol_of(architecture: str) -> Symbol:
    """That of an architecture; runs of one that this version does not know share a grey circle."""
    return SYMBOLS.get(architecture, Symbol("circle", None))
