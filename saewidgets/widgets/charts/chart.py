"""`Plot`, a bqplot figure on the page, and `Chart`, one with a line (raw and smoothed) per charted run.

All methods are for the publisher's thread; only what is new goes to the page.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import bqplot
import ipywidgets
import numpy as np

from saewidgets.render import Html, tag
from saewidgets.render import figure as svg
from saewidgets.widgets.charts.drawing import (
    MARKERS,
    METRICS,
    NOTHING,
    PALETTES,
    SHAPES,
    SLOTS,
    SVG_DASHES,
    Drawing,
    Palette,
    RunLine,
    extent,
)  # fmt: skip
from saewidgets.widgets.charts.series import Floats
from saewidgets.widgets.messages.training import ChartState, Picture
from saewidgets.widgets.shell import unpin

DASHES = ("solid", "dashed", "dotted", "dash_dotted", "solid", "dashed")  # bqplot's names
RAW_OPACITY = 0.45
RAW_WIDTH = 1.0
SMOOTH_WIDTH = 1.75
HEIGHT, WIDE_HEIGHT = 132, 320  # of three charts side by side, and of one alone
MARKS_PER_LINE = 6


class Plot:
    """A figure of two axes, a caption above it, and its own scales; `on_zoom` is called on a handler thread."""

    scales: tuple[Any, ...] = ()  # those whose range is chosen here, unless a reader chose it

    def __init__(self, on_zoom: Callable[[], None], height: int, margin: Mapping[str, int], **options: Any) -> None:
        self._on_zoom = on_zoom
        self._owned: list[Any] = []
        self._fitted: tuple[Any, ...] = ()  # the ranges as they were set here, not by a reader
        self._zoom = self.own(bqplot.PanZoom())
        self._caption = self.own(ipywidgets.HTML(layout={"margin": "0", "height": "auto", "min_height": "18px"}))
        self._caption.add_class("sw-caption")
        self._figure = self.own(
            bqplot.Figure(
                animation_duration=0, display_toolbar=False, padding_x=0.0, fig_margin=margin, interaction=self._zoom,
                background_style={"fill": "transparent"},
                layout={"height": f"{height}px", "width": "100%", "min_width": "0", "margin": "0"}, **options,
            )
        )  # fmt: skip
        self._figure.add_class("sw-figure")
        layout = {"margin": "0", "min_width": "0", "flex": "1 1 0%"}
        self.box = self.own(ipywidgets.VBox([self._caption, self._figure], layout=layout))
        self.box.add_class("sw-chart")

    def own(self, widget: Any) -> Any:
        """A widget that is closed with the figure."""
        unpin(widget)
        self._owned.append(widget)
        return widget

    def scale(self, kind: Any) -> Any:
        scale = self.own(kind())
        scale.observe(lambda change: self._on_zoom() if self.zoomed else None, names=["min", "max"])
        return scale

    def mark(self, kind: Any, **options: Any) -> Any:
        mark = self.own(kind(x=[], y=[], visible=False, **options))
        self._figure.marks = [*self._figure.marks, mark]
        return mark

    def draw_axes(self, x: Any, y: Any) -> None:
        axes = [
            bqplot.Axis(scale=x, side="bottom", grid_lines="none", label_offset="26px"),
            bqplot.Axis(scale=y, side="left", grid_lines="solid", label_offset="36px"),
        ]
        self._figure.axes = [self.own(axis) for axis in axes]
        self._zoom.scales = {"x": [x], "y": [y]}

    def paint_axes(self, palette: Palette) -> None:
        for axis in self._figure.axes:
            axis.color, axis.label_color, axis.grid_color = palette.axis, palette.text, palette.grid
            axis.tick_style = {"fill": palette.tick, "font-size": "11px"}

    def show_axes(self, shown: bool) -> None:
        """Without data bqplot would label scales that mean nothing."""
        for axis in self._figure.axes:
            axis.visible = shown

    def write(self, *parts: Html | str) -> None:
        # Six runs take two lines; Jupyter's own line height would leave a gap between them.
        self._caption.value = tag("div", *parts, style="line-height:18px")

    def _bounds(self) -> tuple[Any, ...]:
        return tuple(end for scale in self.scales for end in (scale.min, scale.max))

    @property
    def zoomed(self) -> bool:
        return self._bounds() != self._fitted

    def reset_zoom(self) -> None:
        """Follow the data again, from the next `draw` on."""
        self._fitted = self._bounds()

    def fit(self, wanted: tuple[Any, ...]) -> None:
        """Choose the ranges, two numbers per scale, unless a reader did; None leaves an end to bqplot."""
        if wanted != self._fitted and not self.zoomed:
            self._fitted = wanted  # first: observers of the scales read `zoomed`
            for number, scale in enumerate(self.scales):
                with scale.hold_sync():
                    scale.min, scale.max = wanted[2 * number : 2 * number + 2]

    def close(self) -> None:
        for scale in self.scales:
            scale.unobserve_all()
        for widget in self._owned:
            widget.close()


class Slot(NamedTuple):
    """The marks of one run: every extreme, the smoothed line, a few markers on it, where it goes on from others."""

    raw: bqplot.Lines
    smooth: bqplot.Lines
    marker: bqplot.Scatter
    joints: bqplot.Lines


class Chart(Plot, Drawing):
    """The lines of one metric; all charts of a panel share the scale `x`."""

    def __init__(self, name: str, x: Any, on_zoom: Callable[[], None]) -> None:
        margin = {"top": 6, "bottom": 34, "left": 44, "right": 12}
        super().__init__(on_zoom, HEIGHT, margin, padding_y=0.04, scale_x=x)
        self.name, self.look, self._x = name, ChartState(), x
        self._slots: dict[int, Slot] = {}
        self._whole = self.own(bqplot.LinearScale(min=0.0, max=1.0))  # joints span the height, whatever the zoom
        self._new_scale()

    @property
    def y(self) -> Any:
        return self.scales[0]

    def set_look(self, look: ChartState, name: str, x: Any) -> None:
        """Change metric, scales, raw lines or theme. Another scale needs new marks and axes."""
        before, self.look = self.look, look
        if (look.log_y, name, x) != (before.log_y, self.name, self._x):
            self.name, self._x = name, x
            self._new_scale()
        self._figure.layout.height = f"{WIDE_HEIGHT if look.wide else HEIGHT}px"
        self.paint_axes(PALETTES[look.theme])

    def _new_scale(self) -> None:
        old = [mark for slot in self._slots.values() for mark in slot] + [*self._figure.axes, *self.scales]
        self._slots = {}
        self.title, self.unit = METRICS.get(self.name, (self.name, ""))
        self.scales = (self.scale(bqplot.LogScale if self.look.log_y else bqplot.LinearScale),)
        self._fitted = (None, None)
        with self._figure.hold_sync():
            self._figure.marks = []
            self.draw_axes(self._x, self.y)
            self._figure.scale_x, self._figure.scale_y = self._x, self.y
        for widget in old:
            self._owned.remove(widget)
            widget.close()

    def _slot(self, number: int) -> Slot:
        if number not in self._slots:
            scales = {"x": self._x, "y": self.y}
            n = number % SLOTS
            self._slots[number] = Slot(
                self.mark(bqplot.Lines, scales=scales, stroke_width=RAW_WIDTH, opacities=[RAW_OPACITY]),
                self.mark(  # the page finds it by its label, for the crosshair
                    bqplot.Lines, scales=scales, stroke_width=SMOOTH_WIDTH, line_style=DASHES[n], labels=[str(number)]
                ),
                self.mark(bqplot.Scatter, scales=scales, marker=MARKERS[n], default_size=18),
                self.mark(
                    bqplot.Lines, scales={"x": self._x, "y": self._whole}, stroke_width=1.0, line_style="dotted",
                    opacities=[0.8],
                ),
            )  # fmt: skip
        return self._slots[number]

    # --------------------------------------------------------------------------------------------- data

    def draw(self, runs: Sequence[RunLine], instead: str) -> None:
        """Show exactly these lines; `instead` is the caption if none has a value."""
        colors = PALETTES[self.look.theme].series
        low, high = self._extent(runs)
        right = extent([run.curve.x for run in runs])[1]
        if not math.isfinite(high):
            self._fit(low, high)  # first: while it goes, the last point has no place on an axis that fits no points
        for run in runs:
            slot, curve = self._slot(run.slot), run.curve
            at = marked(curve.x, run.slot, right, alone=len(runs) == 1)
            put(slot.raw, curve.raw_x if self.look.show_raw else (), curve.raw_y if self.look.show_raw else ())
            put(slot.smooth, curve.x, curve.y)
            put(slot.marker, curve.x[at], curve.y[at])
            # Up, down, and a gap to the next; bqplot labels the last point, so that one has to be a point.
            up_and_down = np.tile([0.0, 1.0, math.nan], len(run.joints))[:-1]
            put(slot.joints, np.repeat(np.asarray(run.joints, dtype=np.float64), 3)[:-1], up_and_down)
            for mark in slot:
                mark.colors = [colors[run.slot % SLOTS]]
        for number in self._slots.keys() - {run.slot for run in runs}:  # last: bqplot cannot fit an axis to no points
            for mark in self._slots[number]:
                put(mark, (), ())
        self._fit(low, high)
        self.show_axes(math.isfinite(high))
        most = (7, 6) if self.look.wide else (5, 4)
        set_ticks(self._figure.axes[1], self._ticks(*(self._chosen or (low, high)), *most))
        self._write(runs, instead)

    def _extent(self, runs: Sequence[RunLine]) -> tuple[float, float]:
        return extent([run.curve.y for run in runs] + [run.curve.raw_y for run in runs if self.look.show_raw])

    def _fit(self, low: float, high: float) -> None:
        """Keep a line that hardly moves from filling the whole height, and give an axis without points some range;
        everything else bqplot fits to the data."""
        wider = svg.widened(low, high) if math.isfinite(high) else NOTHING
        self.fit((None, None) if wider == (low, high) else wider)

    @property
    def _chosen(self) -> tuple[float, float] | None:
        return None if self.y.min is None or self.y.max is None else (self.y.min, self.y.max)

    def draw_x_axis(self, x: svg.Axis) -> None:
        axis = self._figure.axes[0]
        axis.label = x.name
        set_ticks(axis, x.ticks)

    def _write(self, runs: Sequence[RunLine], instead: str) -> None:
        known = [run for run in runs if run.newest]
        parts: list[Html | str] = []
        for run in known:
            pair = tag("span", self._key(run), " ", run.newest, style="white-space:nowrap")
            parts += [" ", pair if len(runs) > 1 else run.newest]
        if self.unit and known:
            parts += [" ", self.unit]
        if known and not any(len(run.curve.x) for run in runs):
            parts += [" (nothing above 0 to draw)"]
        self.write(tag("b", self.title), tag("span", *(parts or [" ", instead]), class_="t2"))

    def _key(self, run: RunLine) -> Html:
        number = run.slot % SLOTS
        color = PALETTES[self.look.theme].series[number]
        line = tag("path", d="M0 4H18", stroke=color, stroke_width=2, stroke_dasharray=SVG_DASHES[number])
        style = "display:inline-block;vertical-align:middle;margin-left:4px"
        label = {"role": "img", "aria_label": run.name}
        return tag("svg", tag("title", run.name), line, width=18, height=8, viewBox="0 0 18 8", style=style, **label)

    # --------------------------------------------------------------------------------------------- pictures

    def picture(self, against: str, x: svg.Axis, runs: Sequence[RunLine]) -> Picture:
        """The chart as it is, zoom included, with title, names of the axes and legend; always on white."""
        right = extent([run.curve.x for run in runs])[1]
        alone = len(runs) == 1
        marks = [mark for run in runs for mark in self._picture_marks(run, right, alone)]
        legend = [
            svg.Key(run.name, color, SVG_DASHES[n], line=True, shape=None if alone else SHAPES[MARKERS[n]])
            for run in runs
            for n, color in [(run.slot % SLOTS, PALETTES["light"].series[run.slot % SLOTS])]
        ]
        if any(run.joints for run in runs):
            legend.append(svg.Key("upright dots: goes on from an earlier run, or decoder rows get norm one"))
        drawing = svg.figure(f"{self.title} against {against}", x, self._picture_axis(runs), marks, legend)
        return Picture(name=self.name, width=drawing.width, height=drawing.height, svg=drawing.svg)

    def _picture_axis(self, runs: Sequence[RunLine]) -> svg.Axis:
        log = self.look.log_y
        if self._chosen is not None:
            low, high = self._chosen
        else:
            low, high = svg.widened(*self._extent(runs))
            room = 0.04 * (math.log(high / low) if log else high - low)
            low, high = (low / math.exp(room), high * math.exp(room)) if log else (low - room, high + room)
        name = ", ".join(part for part in (self.title, self.unit) if part)
        return svg.Axis(f"{name} (log)" if log else name, low, high, self._ticks(low, high, 7, 5), log)

    def _picture_marks(self, run: RunLine, right: float, alone: bool) -> list[svg.Mark]:
        n, curve = run.slot % SLOTS, run.curve
        color = PALETTES["light"].series[n]
        at = marked(curve.x, run.slot, right, alone=alone)
        points = svg.Points(curve.x[at].tolist(), curve.y[at].tolist(), color, SHAPES[MARKERS[n]], size=8.0)
        if not self.look.show_raw:
            return [*self._marks(run), points]
        raw = svg.Trace(curve.raw_x.tolist(), curve.raw_y.tolist(), color, width=RAW_WIDTH, opacity=RAW_OPACITY)
        return [raw, *self._marks(run), points]



def put(mark: Any, x: Any, y: Any) -> None:
    """Give a mark new points, if they are new, in one message; without points it is hidden, and the old ones go too:
    bqplot fits an axis to all points, also those not shown."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    with mark.hold_sync():
        if not (same(mark.x, x) and same(mark.y, y)):
            mark.x, mark.y = x, y
        mark.visible = len(x) > 0


def same(old: Any, new: Floats) -> bool:
    """The numbers are equal, gaps (NaN) too; what bqplot holds may be a list or nothing."""
    return old is not None and np.array_equal(np.asarray(old, dtype=np.float64), new, equal_nan=True)


def set_ticks(axis: bqplot.Axis, ticks: Sequence[tuple[float, str]]) -> None:
    """Replace an axis' ticks, if they changed."""
    values = np.array([value for value, _ in ticks], dtype=np.float64)
    names = {repr(float(value)).removesuffix(".0"): label for value, label in ticks}
    if same(axis.tick_values, values) and axis.tick_labels == names:
        return
    axis.tick_labels = names  # first, and in a message of its own: bqplot looks labels up only when values change
    axis.tick_values = values


def marked(x: Floats, slot: int, right: float, *, alone: bool) -> Any:
    """Indices of the points of a line that have a marker: six of one that goes from 0 to `right`, fewer of a shorter
    one, which they would cover; moved a little per slot so that those of two lines do not coincide.

    A line that is `alone` needs none to be distinguished, but a single point does to be visible.
    """
    n = len(x)
    if n == 0 or (alone and n > 1):
        return np.empty(0, dtype=np.intp)
    count = max(1, round(MARKS_PER_LINE * (x[-1] - x[0]) / right)) if right > 0 else 1
    positions = (np.arange(count) + 0.15 + 0.7 * slot / SLOTS) / count * n
    return np.unique(np.minimum(positions.astype(np.intp), n - 1))
