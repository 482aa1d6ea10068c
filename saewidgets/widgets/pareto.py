"""The Pareto view of a comparison: one bqplot figure. All methods are for the publisher thread."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import bqplot
import ipywidgets
import numpy as np

from saewidgets.render import Html, tag
from saewidgets.render.ticks import linear_ticks, tick_text, widened
from saewidgets.widgets.chart_style import MARKERS, PALETTES, SLOTS
from saewidgets.widgets.marks import same, set_ticks
from saewidgets.widgets.messages import CompareState, ParetoPoint
from saewidgets.widgets.panel_compare import HIGHER_IS_BETTER, Y_NAMES
from saewidgets.widgets.subshells import unpin

HEIGHT = 240
# The outlines of the markers above, as SVG in a box of 10 by 10: what the legend shows.
_SHAPES = ("M5 1a4 4 0 1 0 0 8a4 4 0 1 0 0-8Z", "M1.5 1.5H8.5V8.5H1.5Z", "M5 1 9 8.5H1Z", "M5 .5 9.5 5 5 9.5 .5 5Z",
           "M3.5 1H6.5V3.5H9V6.5H6.5V9H3.5V6.5H1V3.5H3.5Z", "M5 9 1 1.5H9Z")  # fmt: skip


@dataclass(slots=True)
class _Kind:
    """The marks of one architecture."""

    points: bqplot.Scatter
    names: bqplot.Label

    def all(self) -> tuple[Any, ...]:
        return (self.points, self.names)


class ParetoChart:
    """L0 (logarithmic) against a measure of quality; a line joins the runs that no other beats."""

    def __init__(self, on_zoom: Any) -> None:
        self._on_zoom = on_zoom
        self._kinds: dict[str, _Kind] = {}
        self._fitted: tuple[Any, ...] = (None, None, None, None)
        self._x, self._y = bqplot.LogScale(), bqplot.LinearScale()
        axes = [
            bqplot.Axis(scale=self._x, grid_lines="none", label="L0, active latents per token", label_offset="26px"),
            bqplot.Axis(scale=self._y, side="left", grid_lines="solid"),
        ]
        self._front = bqplot.Lines(scales={"x": self._x, "y": self._y}, stroke_width=1.25, visible=False)
        self._rings = bqplot.Scatter(
            scales={"x": self._x, "y": self._y}, x=[], y=[], default_size=150, fill=False, visible=False
        )
        self._zoom = bqplot.PanZoom(scales={"x": [self._x], "y": [self._y]})
        self._figure = bqplot.Figure(
            marks=[self._front, self._rings], axes=axes, interaction=self._zoom, animation_duration=0,
            display_toolbar=False, padding_x=0.0, padding_y=0.0,
            fig_margin={"top": 8, "bottom": 36, "left": 48, "right": 16},
            layout=ipywidgets.Layout(height=f"{HEIGHT}px", width="100%", min_width="0", margin="0"),
        )  # fmt: skip
        self._figure.add_class("sw-figure")
        self._legend = ipywidgets.HTML(layout=ipywidgets.Layout(margin="0", height="auto", min_height="18px"))
        self._legend.add_class("sw-caption")
        self.box = ipywidgets.VBox(
            [self._legend, self._figure], layout=ipywidgets.Layout(margin="0", min_width="0", flex="1 1 0%")
        )
        self.box.add_class("sw-chart")
        marks = (self._front, self._rings)
        self._own = (self.box, self._legend, self._figure, *axes, *marks, self._zoom, self._x, self._y)
        for widget in self._own:
            unpin(widget)
        for scale in (self._x, self._y):
            scale.observe(self._moved, names=["min", "max"])

    def _moved(self, change: Any) -> None:
        if self.zoomed:
            self._on_zoom()

    # --------------------------------------------------------------------------------------------- drawing

    def draw(self, state: CompareState, theme: Literal["light", "dark"]) -> None:
        """Show exactly these points."""
        palette = PALETTES[theme]
        for axis in self._figure.axes:
            axis.color, axis.label_color, axis.grid_color = palette.axis, palette.text, palette.grid
            axis.tick_style = {"fill": palette.tick, "font-size": "11px"}
        self._figure.background_style = {"fill": "transparent"}
        self._fit(state)
        self._draw_front(state, palette.axis)
        self._draw_rings(state, palette.text)
        labelled = readable(state)
        kinds = list(dict.fromkeys(point.architecture for point in sorted(state.points, key=lambda p: p.architecture)))
        for gone in self._kinds.keys() - set(kinds):
            for mark in self._kinds[gone].all():
                mark.visible = False
        for number, kind in enumerate(kinds):
            points = [point for point in state.points if point.architecture == kind]
            self._draw_kind(kind, number, points, labelled, palette.series[number % SLOTS], palette.text)
        for axis in self._figure.axes:
            axis.visible = bool(state.points)
        self._write_legend(kinds, state, theme)

    def _draw_front(self, state: CompareState, color: str) -> None:
        front = sorted({(point.l0, point.y) for point in state.points if point.front})
        self._front.colors = [color]
        with self._front.hold_sync():
            x, y = np.array([p[0] for p in front]), np.array([p[1] for p in front])
            if not (same(self._front.x, x) and same(self._front.y, y)):
                self._front.x, self._front.y = x, y
            self._front.visible = len(front) > 1

    def _draw_rings(self, state: CompareState, color: str) -> None:
        """A ring around every run that is compared."""
        found = [point for point in state.points if point.id in state.training_ids]
        self._rings.colors = [color]
        with self._rings.hold_sync():
            x, y = np.array([p.l0 for p in found]), np.array([p.y for p in found])
            if not (same(self._rings.x, x) and same(self._rings.y, y)):
                self._rings.x, self._rings.y = x, y
            self._rings.visible = bool(found)

    def _draw_kind(
        self, kind: str, number: int, points: Sequence[ParetoPoint], labelled: Collection[str], color: str, text: str
    ) -> None:
        marks = self._kind(kind, number)
        x, y = np.array([p.l0 for p in points]), np.array([p.y for p in points])
        labels = np.array([p.label if p.id in labelled else "" for p in points])
        with marks.points.hold_sync():
            marks.points.colors = [color]
            if not (same(marks.points.x, x) and same(marks.points.y, y)):
                marks.points.x, marks.points.y = x, y
            marks.points.visible = True
        with marks.names.hold_sync():
            marks.names.colors = [text]
            if not (same(marks.names.x, x) and same(marks.names.y, y) and same(marks.names.text, labels)):
                marks.names.x, marks.names.y, marks.names.text = x, y, labels
            marks.names.visible = True

    def _kind(self, kind: str, number: int) -> _Kind:
        if kind not in self._kinds:
            scales = {"x": self._x, "y": self._y}
            points = bqplot.Scatter(scales=scales, marker=MARKERS[number % SLOTS], default_size=48, x=[], y=[])
            names = bqplot.Label(
                scales=scales, x=[], y=[], text=[], default_size=11, font_weight="normal", align="start",
                x_offset=7, y_offset=-3,
            )  # fmt: skip
            for mark in (points, names):
                unpin(mark)
            self._kinds[kind] = _Kind(points, names)
            self._figure.marks = [*self._figure.marks, points, names]
        return self._kinds[kind]

    def _fit(self, state: CompareState) -> None:
        """Room around the points for their labels; a reader's zoom stays."""
        if not self.zoomed and state.points:
            l0, y = [p.l0 for p in state.points], [p.y for p in state.points]
            low, high = widened(min(y), max(y))
            room = (high - low) * 0.12
            floor = low - room if min(y) < 0 else max(0.0, low - room)
            wanted = (min(l0) / 1.25, max(l0) * 1.6, floor, high + room)
            if wanted != self._fitted:
                self._fitted = wanted
                with self._x.hold_sync():
                    self._x.min, self._x.max = wanted[:2]
                with self._y.hold_sync():
                    self._y.min, self._y.max = wanted[2:]
        x_axis, y_axis = self._figure.axes
        if self._x.min and self._x.max:
            ticks = doubling_ticks(self._x.min, self._x.max)
            set_ticks(x_axis, ticks, [tick_text(value) for value in ticks])
        if self._y.min is not None and self._y.max is not None:
            ticks = linear_ticks(self._y.min, self._y.max, 4)
            set_ticks(y_axis, ticks, [tick_text(value) for value in ticks])
        if y_axis.label != Y_NAMES[state.y_axis]:
            y_axis.label, y_axis.label_offset = Y_NAMES[state.y_axis], "36px"

    def _write_legend(self, kinds: Sequence[str], state: CompareState, theme: Literal["light", "dark"]) -> None:
        parts: list[Html | str] = []
        for number, kind in enumerate(kinds):
            shape = tag("path", d=_SHAPES[number % SLOTS], fill=PALETTES[theme].series[number % SLOTS])
            style = "display:inline-block;vertical-align:-1px;margin-right:4px"
            icon = tag("svg", shape, width=10, height=10, viewBox="0 0 10 10", style=style, aria_hidden="true")
            parts.append(tag("span", icon, kind, style="white-space:nowrap;margin-right:12px"))
        best = "highest" if HIGHER_IS_BETTER[state.y_axis] else "lowest"
        words = f"line: {best} {Y_NAMES[state.y_axis]} at each L0; ring: compared here"
        text = tag("div", *parts, words if kinds else state.summary, style="line-height:18px", class_="t2")
        if self._legend.value != text:
            self._legend.value = text

    # --------------------------------------------------------------------------------------------- zoom and copies

    @property
    def zoomed(self) -> bool:
        """A reader zoomed or panned."""
        return (self._x.min, self._x.max, self._y.min, self._y.max) != self._fitted

    def reset_zoom(self) -> None:
        """Show all points again, at the next `draw`."""
        self._fitted = (self._x.min, self._x.max, self._y.min, self._y.max)

    def save_png(self) -> None:
        """Let the page download the figure. Any thread may call it: it only sends a message."""
        self._figure.save_png("pareto.png")

    def close(self) -> None:
        """Remove all widgets of this figure from the page."""
        for scale in (self._x, self._y):
            scale.unobserve_all()
        marks = [mark for kind in self._kinds.values() for mark in kind.all()]
        for widget in (*self._own, *marks):
            widget.close()


def readable(state: CompareState) -> set[str]:
    """Ids of the points whose labels fit beside each other: those compared first, then those on the line."""
    points = state.points
    if not points:
        return set()
    wide = max(math.log(max(p.l0 for p in points) / min(p.l0 for p in points)), 1e-9)
    high = max(max(p.y for p in points) - min(p.y for p in points), 1e-9)
    shown: list[tuple[float, float]] = []
    found = set()
    for point in sorted(points, key=lambda p: (p.id not in state.training_ids, not p.front)):
        at = (math.log(point.l0) / wide, point.y / high)
        if all(abs(at[0] - x) > 0.07 or abs(at[1] - y) > 0.08 for x, y in shown):
            shown.append(at)
            found.add(point.id)
    return found


def doubling_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Powers of two between `low` and `high`, every second or third where there would be too many."""
    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    step = max(1, math.ceil((last - first + 1) / most))
    return [2.0**exponent for exponent in range(first, last + 1, step)]
