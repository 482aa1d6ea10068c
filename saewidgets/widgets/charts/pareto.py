"""The Pareto view of a comparison: one bqplot figure. All methods are for the publisher thread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import bqplot
import ipywidgets
import numpy as np

from saewidgets.render import Html, tag
from saewidgets.render.figure import (
    LEFT,
    PLOT_HEIGHT,
    RIGHT,
    WIDTH,
    Axis,
    Drawing,
    Key,
    Mark,
    Points,
    Trace,
    Word,
    figure,
)
from saewidgets.render.ticks import doubling_ticks, linear_ticks, tick_text, widened
from saewidgets.widgets.charts.marks import clear, put, set_ticks
from saewidgets.widgets.charts.pareto_labels import PLACES, Place, place
from saewidgets.widgets.charts.pareto_points import HIGHER_IS_BETTER, Y_NAMES, in_view, outside_words
from saewidgets.widgets.charts.pictures import as_message
from saewidgets.widgets.charts.style import PALETTES, SHAPES, Palette, symbol_of
from saewidgets.widgets.messages.training import CompareState, ParetoPoint, Picture
from saewidgets.widgets.shell import unpin

_RING = 14.0  # pixels


def pareto_picture(
    state: CompareState, x: Axis, y: Axis, places: Sequence[Place | None], remarks: Sequence[str]
) -> Drawing:
    """Draw the points of `state`, always on white.

    Args:
        state: what the view shows.
        x: the axis of L0.
        y: the axis of the quality.
        places: where the label of each point stands; None: nowhere.
        remarks: what line, ring and hollow symbols mean.
    """
    palette = PALETTES["light"]
    front = sorted((point.l0, point.y) for point in state.points if point.front)
    marks: list[Mark] = [Trace([p[0] for p in front], [p[1] for p in front], palette.axis, width=1.25)]
    legend = {}
    for point in sorted(state.points, key=lambda one: one.kind):
        symbol = symbol_of(point.architecture)
        color, shape = symbol.color_in(palette), SHAPES[symbol.marker]
        marks.append(Points([point.l0], [point.y], color, shape, hollow=bool(point.preliminary)))
        legend[point.kind] = Key(point.kind, color, shape=shape)
    compared = [point for point in state.points if point.id in state.training_ids]
    ring_x, ring_y = [point.l0 for point in compared], [point.y for point in compared]
    marks.append(Points(ring_x, ring_y, palette.text, SHAPES["circle"], hollow=True, size=_RING / 0.8))
    for point, at in zip(state.points, places, strict=True):
        if at is not None:
            marks.append(Word(point.l0, point.y, point.label, at.dx, at.dy, at.align))
    scope = next((one.label for one in state.scopes if one.value == state.scope), "")
    title = f"L0 against {Y_NAMES[state.y_axis]}" + (f": {scope}" if scope else "")
    return figure(title, x, y, marks, [*legend.values(), *(Key(words) for words in remarks)])


X_NAME = "L0, active latents per token"
HEIGHT = 240
MARGIN = {"top": 8, "bottom": 36, "left": 48, "right": 16}
# Labels have to fit in a narrow panel and in a wide one; in between they then do as well.
WIDTHS = (250.0, 1200.0)


@dataclass(slots=True)
class _Kind:
    """The marks of one architecture: runs whose numbers stand, and (hollow) those that are preliminary."""

    firm: bqplot.Scatter
    hollow: bqplot.Scatter


class ParetoChart:
    """L0 (logarithmic) against a measure of quality; a line joins the runs that no other beats."""

    def __init__(self, on_zoom: Any) -> None:
        self._on_zoom = on_zoom
        self._kinds: dict[str, _Kind] = {}
        self._fitted: tuple[Any, ...] = (None, None, None, None)
        self._shown: CompareState | None = None
        self._x, self._y = bqplot.LogScale(), bqplot.LinearScale()
        axes = [
            bqplot.Axis(scale=self._x, grid_lines="none", label=X_NAME, label_offset="26px"),
            bqplot.Axis(scale=self._y, side="left", grid_lines="solid"),
        ]
        self._front = bqplot.Lines(scales={"x": self._x, "y": self._y}, stroke_width=1.25, visible=False)
        self._rings = bqplot.Scatter(
            scales={"x": self._x, "y": self._y}, x=[], y=[], default_size=150, fill=False, visible=False
        )
        self._zoom = bqplot.PanZoom(scales={"x": [self._x], "y": [self._y]})
        self._figure = bqplot.Figure(
            axes=axes, interaction=self._zoom, animation_duration=0,
            display_toolbar=False, padding_x=0.0, padding_y=0.0,
            fig_margin=MARGIN,
            layout=ipywidgets.Layout(height=f"{HEIGHT}px", width="100%", min_width="0", margin="0"),
        )  # fmt: skip
        self._figure.add_class("sw-figure")
        self._legend = ipywidgets.HTML(layout=ipywidgets.Layout(margin="0", height="auto", min_height="18px"))
        self._legend.add_class("sw-caption")
        self.box = ipywidgets.VBox(
            [self._legend, self._figure], layout=ipywidgets.Layout(margin="0", min_width="0", flex="1 1 0%")
        )
        self.box.add_class("sw-chart")
        self._names = {
            where: bqplot.Label(
                scales={"x": self._x, "y": self._y}, x=[], y=[], text=[], default_size=11, font_weight="normal",
                align=where.align, x_offset=where.dx, y_offset=where.dy, visible=False,
            )
            for where in PLACES
        }  # fmt: skip
        self._placed: Any = None  # what the labels were placed for last
        marks = (self._front, self._rings, *self._names.values())
        self._figure.marks = list(marks)
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
        self._shown = state
        for axis in self._figure.axes:
            axis.color, axis.label_color, axis.grid_color = palette.axis, palette.text, palette.grid
            axis.tick_style = {"fill": palette.tick, "font-size": "11px"}
        self._figure.background_style = {"fill": "transparent"}
        self._fit(state)
        self._draw_front(state, palette.axis)
        self._draw_rings(state, palette.text)
        kinds = {point.architecture: point.kind for point in sorted(state.points, key=lambda p: p.kind)}
        for gone in self._kinds.keys() - kinds.keys():
            clear(self._kinds[gone].firm)
            clear(self._kinds[gone].hollow)
        for architecture in kinds:
            self._draw_kind(architecture, [p for p in state.points if p.architecture == architecture], palette)
        self._draw_names(state, palette.text)
        for axis in self._figure.axes:
            axis.visible = bool(state.points)
        self._write_legend(kinds, state, palette)

    def _draw_front(self, state: CompareState, color: str) -> None:
        front = sorted({(point.l0, point.y) for point in state.points if point.front})
        self._front.colors = [color]
        shown = front if len(front) > 1 else []
        put(self._front, np.array([p[0] for p in shown]), np.array([p[1] for p in shown]))

    def _draw_rings(self, state: CompareState, color: str) -> None:
        """A ring around every run that is compared."""
        found = [point for point in state.points if point.id in state.training_ids]
        self._rings.colors = [color]
        put(self._rings, np.array([p.l0 for p in found]), np.array([p.y for p in found]))

    def _draw_kind(self, architecture: str, points: Sequence[ParetoPoint], palette: Palette) -> None:
        marks = self._kind(architecture)
        symbol = symbol_of(architecture)
        for mark, chosen in (
            (marks.firm, [p for p in points if not p.preliminary]),
            (marks.hollow, [p for p in points if p.preliminary]),
        ):
            if mark.marker != symbol.marker:
                mark.marker = symbol.marker
            if mark.colors != [symbol.color_in(palette)]:
                mark.colors = [symbol.color_in(palette)]
            put(mark, np.array([p.l0 for p in chosen]), np.array([p.y for p in chosen]))

    def _kind(self, architecture: str) -> _Kind:
        if architecture not in self._kinds:
            scales = {"x": self._x, "y": self._y}
            firm, hollow = (
                bqplot.Scatter(
                    scales=scales, default_size=48, x=[], y=[], fill=fill, stroke_width=1.5, default_skew=0.5
                )
                for fill in (True, False)
            )
            for mark in (firm, hollow):
                unpin(mark)
            self._kinds[architecture] = _Kind(firm, hollow)
            self._figure.marks = [*self._figure.marks, firm, hollow]
        return self._kinds[architecture]

    def _draw_names(self, state: CompareState, color: str) -> None:
        bounds = (self._x.min, self._x.max, self._y.min, self._y.max)
        wanted = (state.points, state.training_ids, bounds)
        if self._placed != wanted and state.points:
            self._placed = wanted
            chosen = self.places(state, WIDTHS, HEIGHT - MARGIN["top"] - MARGIN["bottom"])
            for where, mark in self._names.items():
                points = [point for point, at in zip(state.points, chosen, strict=True) if at == where]
                with mark.hold_sync():
                    mark.text = np.array([point.label for point in points])
                    put(mark, np.array([p.l0 for p in points]), np.array([p.y for p in points]))
        for mark in self._names.values():
            if not state.points:
                clear(mark)
            if mark.colors != [color]:
                mark.colors = [color]

    def places(self, state: CompareState, widths: Sequence[float], height: float) -> list[Place | None]:
        """Where the label of each point stands in a figure of these inner sizes; None: it has no room for it.

        Those compared choose first, then those on the line.
        """
        low, high, bottom, top = self._x.min, self._x.max, self._y.min, self._y.max
        if not low or not high or bottom is None or top is None:
            return [None] * len(state.points)
        wide, tall = math.log(high / low), top - bottom
        at = [(math.log(p.l0 / low) / wide, (p.y - bottom) / tall) for p in state.points]
        numbers = range(len(at))
        order = sorted(numbers, key=lambda i: (state.points[i].id not in state.training_ids, not state.points[i].front))
        line = sorted(at[i] for i in numbers if state.points[i].front)
        labels = [p.label for p in state.points]
        found = place(at, labels, order, line, [(width, height) for width in widths])
        return [found.get(i) for i in numbers]

    def _fit(self, state: CompareState) -> None:
        """Room around the points for their labels; a reader's zoom stays."""
        if not self.zoomed and state.points:
            fitted = in_view(state.points, state.y_axis)
            l0, y = [p.l0 for p in fitted], [p.y for p in fitted]
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
            ticks = doubling_ticks(self._x.min, self._x.max, WIDTHS[0])
            set_ticks(x_axis, ticks, [tick_text(value) for value in ticks])
        if self._y.min is not None and self._y.max is not None:
            ticks = linear_ticks(self._y.min, self._y.max, 4)
            set_ticks(y_axis, ticks, [tick_text(value) for value in ticks])
        if y_axis.label != Y_NAMES[state.y_axis]:
            y_axis.label, y_axis.label_offset = Y_NAMES[state.y_axis], "36px"

    def _write_legend(self, kinds: Mapping[str, str], state: CompareState, palette: Palette) -> None:
        parts: list[Html | str] = []
        for architecture, kind in kinds.items():
            symbol = symbol_of(architecture)
            shape = tag("path", d=SHAPES[symbol.marker], fill=symbol.color_in(palette))
            style = "display:inline-block;vertical-align:-1px;margin-right:4px"
            icon = tag("svg", shape, width=10, height=10, viewBox="0 0 10 10", style=style, aria_hidden="true")
            parts.append(tag("span", icon, kind, style="white-space:nowrap;margin-right:12px"))
        words = "; ".join(self._remarks(state)) if kinds else state.summary
        text = tag("div", *parts, words, style="line-height:18px", class_="t2")
        if self._legend.value != text:
            self._legend.value = text

    def _remarks(self, state: CompareState) -> list[str]:
        outside = [] if self.zoomed else outside_words(state.points, state.y_axis)
        return [*legend_words(state), *outside]

    # --------------------------------------------------------------------------------------------- zoom and copies

    def picture(self) -> Picture | None:
        """The view as it stands; None while there is nothing in it."""
        state = self._shown
        if state is None or not state.points or not self._x.min or not self._x.max:
            return None
        x_ticks = doubling_ticks(self._x.min, self._x.max, WIDTH - LEFT - RIGHT)
        y_ticks = linear_ticks(self._y.min, self._y.max, 5)
        x = Axis(f"{X_NAME} (log)", self._x.min, self._x.max, [(v, tick_text(v)) for v in x_ticks], log=True)
        y = Axis(Y_NAMES[state.y_axis], self._y.min, self._y.max, [(v, tick_text(v)) for v in y_ticks])
        places = self.places(state, [WIDTH - LEFT - RIGHT], PLOT_HEIGHT)
        return as_message("pareto", pareto_picture(state, x, y, places, self._remarks(state)))

    @property
    def zoomed(self) -> bool:
        """A reader zoomed or panned."""
        return (self._x.min, self._x.max, self._y.min, self._y.max) != self._fitted

    def reset_zoom(self) -> None:
        """Show all points again, at the next `draw`."""
        self._fitted = (self._x.min, self._x.max, self._y.min, self._y.max)

    def close(self) -> None:
        """Remove all widgets of this figure from the page."""
        for scale in (self._x, self._y):
            scale.unobserve_all()
        marks = [mark for kind in self._kinds.values() for mark in (kind.firm, kind.hollow)]
        for widget in (*self._own, *marks):
            widget.close()


def legend_words(state: CompareState) -> list[str]:
    """What the line, the rings and the hollow symbols mean."""
    best = "highest" if HIGHER_IS_BETTER[state.y_axis] else "lowest"
    parts = [f"line: {best} {Y_NAMES[state.y_axis]} at each L0", "ring: compared here"]
    if any(point.preliminary for point in state.points):
        parts.append("hollow: not finished, or of training batches only; not on the line")
    return parts
