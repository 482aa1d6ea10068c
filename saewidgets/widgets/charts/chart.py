"""One bqplot figure with a line (raw and smoothed) per charted run. All methods are for the publisher thread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import bqplot
import ipywidgets
import numpy as np

from saewidgets.render import Html, tag
from saewidgets.render.ticks import linear_ticks, log_ticks, metric_tick_text, widened
from saewidgets.widgets.charts.marks import Joints, clear, put, set_ticks
from saewidgets.widgets.charts.series import Curve, Floats
from saewidgets.widgets.charts.style import (
    DASHES,
    MARKERS,
    PALETTES,
    RAW_OPACITY,
    RAW_WIDTH,
    SLOTS,
    SMOOTH_WIDTH,
    SVG_DASHES,
    Palette,
)
from saewidgets.widgets.shell import unpin

HEIGHT = 132
MARKS_PER_LINE = 6
NOTHING = (0.1, 1.0)  # the range of a y axis, linear or logarithmic, on which there are no points


@dataclass(slots=True)
class Slot:
    """The three marks of one run: every extreme, the smoothed line, a few markers on it."""

    raw: bqplot.Lines
    smooth: bqplot.Lines
    marker: bqplot.Scatter

    def all(self) -> tuple[Any, ...]:
        return (self.raw, self.smooth, self.marker)


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest value of one run, as text."""

    slot: int
    name: str
    text: str


@dataclass(slots=True)
class Look:
    """How all charts of a panel are drawn."""

    log_y: bool = True
    show_raw: bool = True
    theme: Literal["light", "dark"] = "light"


@dataclass(slots=True)
class Chart:
    """A figure, its caption and the scales it owns (`x` is shared by the charts of a panel)."""

    title: str
    unit: str
    x: bqplot.LinearScale
    look: Look = field(default_factory=Look)
    y: Any = None
    box: ipywidgets.VBox = None
    _figure: bqplot.Figure = None
    _caption: ipywidgets.HTML = None
    _slots: dict[int, Slot] = field(default_factory=dict)
    _zoom: bqplot.PanZoom = None
    _joints: Joints = None  # type: ignore[assignment]  # made with the figure
    _fitted: tuple[float | None, float | None] = (None, None)  # the y range as it was set here, not by a reader

    def __post_init__(self) -> None:
        self._caption = ipywidgets.HTML(layout=ipywidgets.Layout(margin="0", height="auto", min_height="18px"))
        self._caption.add_class("sw-caption")
        self._figure = bqplot.Figure(
            animation_duration=0,
            display_toolbar=False,
            padding_x=0.0,
            padding_y=0.04,
            scale_x=self.x,
            fig_margin={"top": 6, "bottom": 34, "left": 44, "right": 12},
            layout=ipywidgets.Layout(height=f"{HEIGHT}px", width="100%", min_width="0", margin="0"),
        )
        self._figure.add_class("sw-figure")
        self._joints = Joints(self._figure, self.x)
        self.box = ipywidgets.VBox(
            [self._caption, self._figure], layout=ipywidgets.Layout(min_width="0", flex="1 1 0%")
        )
        self.box.add_class("sw-chart")
        self._zoom = bqplot.PanZoom()
        self.set_look(self.look)
        self.write_caption(())
        for widget in (self._caption, self._figure, self._zoom):
            unpin(widget)

    # --------------------------------------------------------------------------------------------- look

    def set_look(self, look: Look) -> None:
        """Change scale type, raw traces or theme. A new scale type needs new marks and axes."""
        if self.y is None or look.log_y != self.look.log_y:
            self._rebuild(look)
        self.look = Look(look.log_y, look.show_raw, look.theme)
        palette = PALETTES[look.theme]
        for axis in self._figure.axes:
            axis.color, axis.label_color, axis.grid_color = palette.axis, palette.text, palette.grid
            axis.tick_style = {"fill": palette.tick, "font-size": "11px"}
        self._figure.background_style = {"fill": "transparent"}
        for number, slot in self._slots.items():
            self._paint(slot, number, palette)

    def _rebuild(self, look: Look) -> None:
        old = [mark for slot in self._slots.values() for mark in slot.all()] + list(self._figure.axes)
        old_y = self.y
        self._slots = {}
        self.y = bqplot.LogScale() if look.log_y else bqplot.LinearScale()
        self._fitted = (None, None)
        unpin(self.y)
        axes = [
            bqplot.Axis(scale=self.x, side="bottom", grid_lines="none", label_offset="26px"),
            bqplot.Axis(scale=self.y, side="left", grid_lines="solid"),
        ]
        for axis in axes:
            unpin(axis)
        with self._figure.hold_sync():
            self._figure.marks = []
            self._figure.axes = axes
            self._figure.scale_y = self.y
        self._zoom.scales = {"x": [self.x], "y": [self.y]}
        self._figure.interaction = self._zoom
        for widget in old:
            widget.close()
        if old_y is not None:
            old_y.close()

    def _paint(self, slot: Slot, number: int, palette: Palette) -> None:
        color = palette.series[number % SLOTS]
        for line in (slot.raw, slot.smooth):
            line.colors = [color]
        slot.marker.colors = [color]

    def _slot(self, number: int) -> Slot:
        if number not in self._slots:
            scales = {"x": self.x, "y": self.y}
            slot = Slot(
                raw=bqplot.Lines(scales=scales, stroke_width=RAW_WIDTH, opacities=[RAW_OPACITY]),
                smooth=bqplot.Lines(scales=scales, stroke_width=SMOOTH_WIDTH, line_style=DASHES[number % SLOTS]),
                marker=bqplot.Scatter(scales=scales, marker=MARKERS[number % SLOTS], default_size=18, x=[], y=[]),
            )
            for mark in slot.all():
                unpin(mark)
                mark.visible = False
            self._paint(slot, number, PALETTES[self.look.theme])
            self._slots[number] = slot
            self._figure.marks = [*self._figure.marks, *slot.all()]
        return self._slots[number]

    # --------------------------------------------------------------------------------------------- data

    def draw(self, curves: Mapping[int, Curve], joints: Mapping[int, Sequence[float]] | None = None) -> None:
        """Show exactly these lines (slot number → curve), and where they go on from others."""
        self._joints.draw(joints or {}, PALETTES[self.look.theme])
        parts = [curve.y for curve in curves.values()]
        if self.look.show_raw:
            parts += [curve.raw_y for curve in curves.values()]
        low, high = extent(parts)
        right = extent([curve.x for curve in curves.values()])[1]
        if not math.isfinite(high):
            self._fit(low, high)  # first: while it goes, the last point has no place on an axis that fits no points
        for number in self._slots.keys() - curves.keys():
            for mark in self._slots[number].all():
                clear(mark)
        for number, curve in curves.items():
            slot = self._slot(number)
            put(slot.raw, curve.raw_x, curve.raw_y, visible=self.look.show_raw)
            put(slot.smooth, curve.x, curve.y)
            at = marked(curve.x, number, right, alone=len(curves) == 1)
            put(slot.marker, curve.x[at], curve.y[at])
        self._fit(low, high)
        for axis in self._figure.axes:  # without data bqplot would label a scale that means nothing
            if axis.visible != math.isfinite(high):
                axis.visible = math.isfinite(high)
        self._draw_y_ticks(low, high)

    def _fit(self, low: float, high: float) -> None:
        """Keep a line that hardly moves from filling the whole height, and give an axis without points some range;
        everything else bqplot fits to the data."""
        if self.zoomed:
            return
        wider = widened(low, high) if math.isfinite(high) else NOTHING
        wanted = (None, None) if wider == (low, high) else wider
        if wanted != self._fitted:
            self._fitted = wanted  # first: whoever observes the scale asks `zoomed`
            with self.y.hold_sync():
                self.y.min, self.y.max = wanted

    def _draw_y_ticks(self, low: float, high: float) -> None:
        if self.y.min is not None and self.y.max is not None:
            low, high = self.y.min, self.y.max
        ticks = log_ticks(low, high, 5) if self.look.log_y else linear_ticks(low, high, 4)
        set_ticks(self._figure.axes[1], ticks, [metric_tick_text(value) for value in ticks])

    def draw_x_ticks(self, ticks: Sequence[float], labels: Sequence[str], label: str) -> None:
        """Label the x axis (all charts of a panel alike)."""
        axis = self._figure.axes[0]
        if axis.label != label:
            axis.label = label
        set_ticks(axis, ticks, labels)

    def write_caption(self, values: Sequence[Newest], *, keyed: bool = False, instead: str = "") -> None:
        """The title and the newest values; `keyed`: each behind a piece of its line."""
        parts: list[Html | str] = []
        for value in values:
            pair = tag("span", self._key(value), " ", value.text, style="white-space:nowrap") if keyed else value.text
            parts += [" ", pair]
        if self.unit and values:
            parts += [" ", self.unit]
        words = tag("span", *(parts or [" ", instead]), class_="t2")
        # Six runs take two lines; Jupyter's own line height would leave a gap between them.
        text = tag("div", tag("b", self.title), words, style="line-height:18px")
        if self._caption.value != text:
            self._caption.value = text

    def _key(self, value: Newest) -> Html:
        """The piece of line that stands for a run in the legend and on its card."""
        number = value.slot % SLOTS
        color = PALETTES[self.look.theme].series[number]
        line = tag("path", d="M0 4H18", stroke=color, stroke_width=2, stroke_dasharray=SVG_DASHES[number])
        style = "display:inline-block;vertical-align:middle;margin-left:4px"
        label = {"role": "img", "aria_label": value.name}
        return tag("svg", tag("title", value.name), line, width=18, height=8, viewBox="0 0 18 8", style=style, **label)

    @property
    def zoomed(self) -> bool:
        """A reader chose the range of the y axis."""
        return (self.y.min, self.y.max) != self._fitted

    def reset_zoom(self) -> None:
        """Follow the data again."""
        self._fitted = (None, None)
        with self.y.hold_sync():
            self.y.min = self.y.max = None

    def close(self) -> None:
        """Remove all widgets of this chart from the page."""
        self._joints.close()
        marks = [mark for slot in self._slots.values() for mark in slot.all()]
        for widget in (self.box, self._caption, *marks, *self._figure.axes, self._zoom, self._figure, self.y):
            widget.close()


def extent(parts: Sequence[Floats]) -> tuple[float, float]:
    """Smallest and largest finite value of several arrays; (nan, nan) when there is none."""
    finite = [part[np.isfinite(part)] for part in parts]
    whole = np.concatenate(finite) if finite else np.empty(0)
    return (float(whole.min()), float(whole.max())) if len(whole) else (math.nan, math.nan)


def marked(x: Floats, slot: int, right: float, *, alone: bool) -> Any:
    """Indices of the points of a line that have a marker: six of one that goes from 0 to `right`, fewer of a shorter
    one, which they would cover; moved a little per slot so that those of two lines do not coincide.

    A line that is `alone` needs none to be told apart, but a single point does to be seen.
    """
    n = len(x)
    if n == 0 or (alone and n > 1):
        return np.empty(0, dtype=np.intp)
    count = max(1, round(MARKS_PER_LINE * (x[-1] - x[0]) / right)) if right > 0 else 1
    positions = (np.arange(count) + 0.15 + 0.7 * slot / SLOTS) / count * n
    return np.unique(np.minimum(positions.astype(np.intp), n - 1))
