"""`ParetoChart`, the view of a comparison that sets L0 against quality. All methods are for the publisher's thread."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import bqplot
import numpy as np

from saewidgets.render import Html, tag
from saewidgets.render import figure as svg
from saewidgets.render.numbers import MINUS
from saewidgets.widgets.charts.chart import Plot, put, set_ticks
from saewidgets.widgets.charts.drawing import HIGHER_IS_BETTER, PALETTES, SHAPES, Y_NAMES, Palette, symbol_of
from saewidgets.widgets.messages.training import CompareState, ParetoPoint, Picture, YAxis

# Beyond these a run has collapsed or diverged. FVU is 1 for the mean of the activations, CE recovered 0 for none.
L0_FLOOR, FVU_CEILING, CE_FLOOR = 0.5, 2.0, -1.0

X_NAME = "L0, active latents per token"
HEIGHT = 240
MARGIN = {"top": 8, "bottom": 36, "left": 48, "right": 16}
NARROW = 250.0  # inner width in pixels of the figure in a narrow panel: labels that have room there have it anywhere
CHARACTER, LINE = 6.2, 12.0  # pixels that a character and a line of a label (11 px) take
MARKER = 7.5  # half the size of the largest marker, and of the ring around a compared run
BESIDE, ABOVE = 6, 14  # where a label is from its point; whole pixels, for traitlets before 5.15
Side = tuple[int, int]  # pixels right of a point and below


class ParetoChart(Plot):
    """L0 (logarithmic) against a measure of quality; a line joins the runs that no other beats."""

    def __init__(self, on_zoom: Callable[[], None]) -> None:
        super().__init__(on_zoom, HEIGHT, MARGIN, padding_y=0.0)
        self._shown: CompareState | None = None
        self._drawn: object = None
        self._x, self._y = self.scale(bqplot.LogScale), self.scale(bqplot.LinearScale)
        self.scales = (self._x, self._y)
        self._fitted = self._bounds()
        self.draw_axes(self._x, self._y)
        self._both = {"x": self._x, "y": self._y}
        self._front = self.mark(bqplot.Lines, scales=self._both, stroke_width=1.25)
        self._rings = self.mark(bqplot.Scatter, scales=self._both, default_size=150, fill=False)
        self._names = {
            (dx, dy): self.mark(
                bqplot.Label, scales=self._both, text=[], default_size=11, font_weight="normal", x_offset=dx,
                y_offset=dy, align="end" if dx < 0 else "start",
            )
            for dx, dy in _sides(above=True)
        }  # fmt: skip
        self._kinds: dict[tuple[str, bool], Any] = {}  # architecture, hollow → its mark

    def draw(self, state: CompareState, theme: Literal["light", "dark"]) -> None:
        if self._drawn == (state, theme, self._bounds()):
            return
        self._shown = state
        palette, points = PALETTES[theme], state.points
        self.paint_axes(palette)
        self._fit(state)
        front = sorted({(point.l0, point.y) for point in points if point.front})
        put(self._front, *_columns(front if len(front) > 1 else []))
        put(self._rings, *_columns([(point.l0, point.y) for point in points if point.id in state.training_ids]))
        wanted = {(point.architecture, bool(point.preliminary)) for point in points}
        for gone in self._kinds.keys() - wanted:
            put(self._kinds[gone], (), ())
        for architecture, hollow in sorted(wanted):
            symbol = symbol_of(architecture)
            mark = self._kinds.get((architecture, hollow)) or self.mark(
                bqplot.Scatter, scales=self._both, marker=symbol.marker, default_size=48, fill=not hollow,
                stroke_width=1.5, default_skew=0.5,
            )  # fmt: skip
            self._kinds[architecture, hollow] = mark
            mark.colors = [symbol.color_in(palette)]
            mine = [p for p in points if (p.architecture, bool(p.preliminary)) == (architecture, hollow)]
            put(mark, *_columns([(p.l0, p.y) for p in mine]))
        named = self._labelled(state, NARROW, HEIGHT - MARGIN["top"] - MARGIN["bottom"])
        for side, mark in self._names.items():
            mine = [point for point, at in named if at == side]
            with mark.hold_sync():
                mark.text, mark.colors = np.array([point.label for point in mine]), [palette.text]
                put(mark, *_columns([(point.l0, point.y) for point in mine]))
        self._front.colors, self._rings.colors = [palette.axis], [palette.text]
        self.show_axes(bool(points))
        self._write(state, palette)
        self._drawn = (state, theme, self._bounds())

    def reset_zoom(self) -> None:
        """Show all points again, at the next `draw`."""
        super().reset_zoom()
        self._drawn = None

    @property
    def _has_ranges(self) -> bool:
        low, high, *others = self._bounds()
        return bool(low and high) and None not in others

    def _fit(self, state: CompareState) -> None:
        """Room around the points for their labels; a reader's zoom stays."""
        if state.points:
            fitted = in_view(state.points, state.y_axis)
            l0, y = [p.l0 for p in fitted], [p.y for p in fitted]
            low, high = svg.widened(min(y), max(y))
            room = (high - low) * 0.15
            floor = low - room if min(y) < 0 else max(0.0, low - room)
            self.fit((min(l0) / 1.25, max(l0) * 1.6, floor, high + room))
        axes = self._figure.axes
        if self._has_ranges:
            for axis, each in zip(axes, self._axes(state, NARROW, 4), strict=True):
                set_ticks(axis, each.ticks)
        axes[0].label, axes[1].label = X_NAME, Y_NAMES[state.y_axis]

    def _labelled(self, state: CompareState, width: float, height: float) -> list[tuple[ParetoPoint, Side]]:
        """The points whose label lies on no marker and no other label, and where it is; those compared choose first."""
        if not self._has_ranges:
            return []
        low, high, bottom, top = self._bounds()
        per_log, tall = width / math.log(high / low), height / (top - bottom)
        at = {p.id: (math.log(p.l0 / low) * per_log, (top - p.y) * tall) for p in state.points}
        taken = {i: [(x - MARKER, y - MARKER, x + MARKER, y + MARKER)] for i, (x, y) in at.items()}
        found: list[tuple[ParetoPoint, Side]] = []
        for point in sorted(state.points, key=lambda p: (p.id not in state.training_ids, not p.front)):
            x, y = at[point.id]
            others = [other for i, boxes in taken.items() for other in boxes if i != point.id]
            wide = CHARACTER * len(point.label)
            for dx, dy in _sides(above=not HIGHER_IS_BETTER[state.y_axis]) if point.label else ():
                left, middle = x + dx - wide * (dx < 0), y + dy
                box = (left, middle - LINE / 2, left + wide, middle + LINE / 2)
                inside = box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height
                if inside and all(
                    box[0] >= o[2] or o[0] >= box[2] or box[1] >= o[3] or o[1] >= box[3] for o in others
                ):
                    taken[point.id].append(box)
                    found.append((point, (dx, dy)))
                    break
        return found

    def _write(self, state: CompareState, palette: Palette) -> None:
        parts: list[Html | str] = []
        for architecture, kind in _kinds(state).items():
            symbol = symbol_of(architecture)
            shape = tag("path", d=SHAPES[symbol.marker], fill=symbol.color_in(palette))
            style = "display:inline-block;vertical-align:-1px;margin-right:4px"
            icon = tag("svg", shape, width=10, height=10, viewBox="0 0 10 10", style=style, aria_hidden="true")
            parts.append(tag("span", icon, kind, style="white-space:nowrap;margin-right:12px"))
        words = "; ".join(self._remarks(state)) if parts else state.summary
        self.write(tag("span", *parts, words, class_="t2"))

    def _remarks(self, state: CompareState) -> list[str]:
        best = "highest" if HIGHER_IS_BETTER[state.y_axis] else "lowest"
        parts = [f"line: {best} {Y_NAMES[state.y_axis]} at each L0", "ring: compared here"]
        if any(point.preliminary for point in state.points):
            parts.append("hollow: not finished, or of training batches only; not on the line")
        return parts + ([] if self.zoomed else outside_words(state.points, state.y_axis))

    def pictures(self) -> tuple[Picture, ...]:
        """The view as it is, always on white; none while it is empty."""
        state = self._shown
        if state is None or not state.points or not self._has_ranges:
            return ()
        palette = PALETTES["light"]
        front = sorted((point.l0, point.y) for point in state.points if point.front)
        marks: list[svg.Mark] = [svg.Trace([p[0] for p in front], [p[1] for p in front], palette.axis, width=1.25)]
        for point in sorted(state.points, key=lambda one: one.kind):
            symbol = symbol_of(point.architecture)
            color, shape = symbol.color_in(palette), SHAPES[symbol.marker]
            marks.append(svg.Points([point.l0], [point.y], color, shape, hollow=bool(point.preliminary)))
            if point.id in state.training_ids:
                ring = SHAPES["circle"]
                marks.append(svg.Points([point.l0], [point.y], palette.text, ring, hollow=True, size=17.5))
        for point, side in self._labelled(state, svg.PAPER.end - svg.PAPER.left, svg.PAPER.height):
            marks.append(svg.Word(point.l0, point.y, point.label, *side))
        legend = [
            svg.Key(kind, symbol_of(architecture).color_in(palette), shape=SHAPES[symbol_of(architecture).marker])
            for architecture, kind in _kinds(state).items()
        ]
        legend += [svg.Key(words) for words in self._remarks(state)]
        scope = next((one.label for one in state.scopes if one.value == state.scope), "")
        title = f"L0 against {Y_NAMES[state.y_axis]}" + (f": {scope}" if scope else "")
        drawing = svg.figure(title, *self._axes(state, svg.PAPER.end - svg.PAPER.left, 5), marks, legend)
        return (Picture(name="pareto", width=drawing.width, height=drawing.height, svg=drawing.svg),)

    def _axes(self, state: CompareState, width: float, wanted: int) -> tuple[svg.Axis, svg.Axis]:
        low, high, bottom, top = self._bounds()
        x, y = svg.doubling_ticks(low, high, width), svg.linear_ticks(bottom, top, wanted)
        return (
            svg.Axis(f"{X_NAME} (log)", low, high, [(value, svg.tick_text(value)) for value in x], log=True),
            svg.Axis(Y_NAMES[state.y_axis], bottom, top, [(value, svg.tick_text(value)) for value in y]),
        )


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]


def _kinds(state: CompareState) -> dict[str, str]:
    """Architecture → what it is called, in the order of the legend."""
    return {point.architecture: point.kind for point in sorted(state.points, key=lambda p: p.kind)}


def _sides(*, above: bool) -> list[Side]:
    """Where a label can be, the best first: beside the line there is more room above it if it falls."""
    dy = -ABOVE if above else ABOVE
    return [(BESIDE, dy), (-BESIDE, -dy), (BESIDE, -dy), (-BESIDE, dy)]


def _outside(point: ParetoPoint, y_axis: YAxis) -> bool:
    return point.l0 < L0_FLOOR or (point.y < CE_FLOOR if HIGHER_IS_BETTER[y_axis] else point.y > FVU_CEILING)


def in_view(points: Sequence[ParetoPoint], y_axis: YAxis) -> Sequence[ParetoPoint]:
    """The points that the axes are fitted to: no run that collapsed or diverged, which would squeeze all others."""
    return [point for point in points if not _outside(point, y_axis)] or points


def outside_words(points: Sequence[ParetoPoint], y_axis: YAxis) -> list[str]:
    """The caption about the runs that `in_view` leaves out."""
    count = len(points) - len(in_view(points, y_axis))
    if not count:
        return []
    limit = f"below {MINUS}{-CE_FLOOR:g}" if HIGHER_IS_BETTER[y_axis] else f"above {FVU_CEILING:g}"
    runs = f"{count} run{'s' * (count != 1)}"
    return [f"outside the axes: {runs} with L0 below {L0_FLOOR:g} or {Y_NAMES[y_axis]} {limit}"]
