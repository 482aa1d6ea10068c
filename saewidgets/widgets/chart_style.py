"""What a chart's line looks like: colour and dash and marker, keyed by the run's slot, in both themes.

The colours are the series tokens of `js/src/styles/tokens.css` (a test compares them): at least 3 : 1 against the
ground and far enough apart also with deuteranopia and protanopia.
"""

from __future__ import annotations

from dataclasses import dataclass

SLOTS = 6
DASHES = ("solid", "dashed", "dotted", "dash_dotted", "solid", "dashed")  # bqplot's names
SVG_DASHES = (None, "6 3", "2 2", "8 2 2 2", None, "6 3")
MARKERS = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
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
