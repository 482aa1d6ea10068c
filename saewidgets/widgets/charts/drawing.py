"""What charts show, and how it looks: `RunLine`, colours and symbols, and `Drawing`, the lines of one metric as SVG.

No bqplot: its import takes a third of a second, and the list of runs is to be on the page before.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from saewidgets.render import Html, tag
from saewidgets.render import figure as svg
from saewidgets.widgets.charts.series import Curve, Floats
from saewidgets.widgets.messages.training import ChartState, YAxis

SLOTS = 6
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
    """The symbol of an architecture; those that this version does not know share a grey circle."""
    return SYMBOLS.get(architecture, Symbol("circle", None))


METRICS = {  # name → title, unit of newest values; runs may record others
    "loss": ("Loss", ""),
    "l0": ("L0", "per token"),
    "fvu": ("FVU", ""),
    "ce_loss_score": ("CE recovered", ""),
    "dead": ("Dead latents", ""),
    "lr": ("Learning rate", ""),
    "val_fvu": ("FVU, held-out", ""),
    "val_l0": ("L0, held-out", "per token"),
    "val_mse": ("MSE, held-out", ""),
    "val_dead": ("Dead at evaluations", ""),
    "val_tokens": ("Held-out tokens", ""),
    "ce_tokens": ("Held-out tokens, CE recovered", ""),
    "mse": ("MSE", ""),
    "aux": ("Auxiliary loss", ""),
    "l1": ("L1 penalty", ""),
    "l0_penalty": ("L0 penalty", ""),
    "sparsity_coefficient": ("Sparsity coefficient", ""),
    "penalty_p": ("p of the penalty", ""),
    "grad_norm": ("Gradient norm", ""),
    "tokens_per_second": ("Tokens per second", ""),
}
# The y axes of the Pareto view.
Y_NAMES: dict[YAxis, str] = {"fvu": "FVU", "ce_loss_score": "CE recovered"}
HIGHER_IS_BETTER: dict[YAxis, bool] = {"fvu": False, "ce_loss_score": True}
NOTHING = (0.1, 1.0)  # the range of a y axis, linear or logarithmic, on which there are no points


@dataclass(frozen=True, slots=True)
class RunLine:
    """What a chart shows of one run: its line, where it goes on from others, and its newest value as text."""

    name: str
    slot: int
    curve: Curve
    joints: Sequence[float] = ()
    newest: str = ""


class Drawing:
    """The lines of one metric."""

    def __init__(self, name: str, look: ChartState) -> None:
        self.name, self.look = name, look
        self.title, self.unit = METRICS.get(name, (name, ""))

    def _ticks(self, low: float, high: float, log: int, linear: int) -> list[tuple[float, str]]:
        ticks = svg.log_ticks(low, high, log) if self.look.log_y else svg.linear_ticks(low, high, linear)
        return [(value, svg.metric_tick_text(value)) for value in ticks]

    def _marks(self, run: RunLine) -> list[svg.Mark]:
        """The smoothed line, and where it goes on from another run."""
        color, dark, dash = _line_look(run.slot)
        name, points = f"{run.name} goes on from another run", (run.curve.x.tolist(), run.curve.y.tolist())
        joints = svg.Trace(run.joints, (), color, "2 2", width=1.0, opacity=0.8, name=name, dark=dark)
        return [*([joints] if run.joints else []), svg.Trace(*points, color, dash, name=run.name, dark=dark)]

    def static(self, x: svg.Axis, runs: Sequence[RunLine]) -> Html:
        """The smoothed lines of runs that have values, whatever the zoom, for a page in light or dark."""
        low, high = svg.widened(*extent([run.curve.y for run in runs]))
        marks = [mark for run in runs for mark in self._marks(run)]
        y = svg.Axis("", low, high, self._ticks(low, high, 6, 4), self.look.log_y)
        says = f"{self.title} against tokens, {len(runs)} lines" if runs else f"{self.title}: no data yet"
        return svg.figure(self.title, x, y, marks, frame=svg.PAGE, says=says).svg


def _line_look(slot: int) -> tuple[str, str, str | None]:
    """The colours of a line on a light and a dark page, and its dashes."""
    n = slot % SLOTS
    return PALETTES["light"].series[n], PALETTES["dark"].series[n], SVG_DASHES[n]


def legend_key(name: str, slot: int) -> Html:
    """A piece of a run's line and the run's name, for a page in light or dark."""
    color, dark, dash = _line_look(slot)
    paint = {"stroke": color, "style": f"stroke:light-dark({color},{dark})", "stroke_width": 2}
    line = tag("path", d="M0 4h22", fill="none", stroke_dasharray=dash, **paint)
    return tag("span", tag("svg", line, width=22, height=8, aria_hidden="true"), " ", name)


def extent(parts: Sequence[Floats]) -> tuple[float, float]:
    """Smallest and largest finite value of several arrays; (nan, nan) when there is none."""
    whole = np.concatenate([*parts, np.empty(0)])
    whole = whole[np.isfinite(whole)]
    return (float(whole.min()), float(whole.max())) if len(whole) else (math.nan, math.nan)
