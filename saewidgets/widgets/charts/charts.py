"""`Charts`, the three charts of a panel: which runs have a line, how far the x axis goes, and their captions."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import ipywidgets

from saewidgets.render import Html, tag
from saewidgets.render.figure import Axis, linear_ticks, log_ticks, tick_text
from saewidgets.render.numbers import metric, tokens
from saewidgets.widgets.charts.drawing import METRICS, NOTHING, SLOTS, Drawing, RunLine, legend_key
from saewidgets.widgets.charts.series import ChartedRun, Read, Series
from saewidgets.widgets.messages.training import ChartState, Picture
from saewidgets.widgets.shell import unpin

ROOM = "154px"  # what a chart takes
_LEAST_WIDTH = 150  # pixels between the ends of an x axis, three charts in a panel of 700
_CHARACTER, _GAP = 6.5, 8.0  # pixels of a character of a label, and between two labels

if TYPE_CHECKING:
    from saewidgets.widgets.charts.chart import Chart


class Charts:
    """Owned by one panel; `update` and `close` are called from its publisher thread alone. The figures are made by the
    first `update`; `read` does without."""

    def __init__(self, read: Read, on_zoom: Callable[[], None]) -> None:
        self._read, self._on_zoom = read, on_zoom
        self._series: dict[str, Series] = {}  # by id, in the order of the lines
        self._state = self._drawn_as = ChartState()
        self._x: Any = None
        self._right: float | None = None  # where the x axis ends unless zoomed; None: where the points do
        self.charts: tuple[Chart, ...] = ()
        # Empty while there is nothing to draw: a figure without size makes bqplot complain in the page's console.
        self.box = ipywidgets.HBox([], layout=ipywidgets.Layout(margin="0"))
        self.box.add_class("sw-charts")

    def _make(self) -> None:
        from saewidgets.widgets.charts.chart import Chart  # bqplot and pandas: a third of a second

        self._new_x(log=False, low=0.0)
        self.charts = tuple(Chart(name, self._x, self._on_zoom) for name in ChartState().metrics)

    def _new_x(self, *, log: bool, low: float) -> None:
        from bqplot import LinearScale, LogScale  # as above

        self._x, self._right = (LogScale if log else LinearScale)(min=low), None
        unpin(self._x)
        self._x.observe(lambda change: self._on_zoom() if self.zoomed else None, names=["min", "max"])

    def read(self, runs: Sequence[ChartedRun], state: ChartState) -> None:
        """Take these runs and their numbers."""
        before, self._state = self._state, state
        known = self._series if set(state.metrics) == set(before.metrics) else {}
        self._series = {
            run.record.id: known.get(run.record.id) or Series(state.metrics, self._read, run) for run in runs
        }
        try:
            for run in runs:
                self._series[run.record.id].update(run)
        except BaseException:
            self._series = {}  # events were lost: read all again
            raise

    def update(self, runs: Sequence[ChartedRun], state: ChartState) -> None:
        """Draw these runs."""
        if not self.charts:
            self._make()
        drawn = self._drawn_as
        if (state.x_axis, state.x_range) != (drawn.x_axis, drawn.x_range):
            self.reset_zoom()
        self.read(runs, state)
        self._drawn_as = state
        old, low = self._x, self._low
        if state.log_x != drawn.log_x:
            self._new_x(log=state.log_x, low=low)
        lines = [self._lines(name, state.x_axis) for name in state.metrics]
        points = any(len(line.curve.x) for found in lines for line in found)
        if not points:
            self._fit_x(low, NOTHING[1])  # first: the last point that goes has no place on an axis that fits none
        ended = all(run.record.status.is_final for run in runs)
        words = "No values" if ended else "No values yet" if points else "Waiting for the first step"
        for chart, name, found in zip(self.charts, state.metrics, lines, strict=True):
            chart.set_look(state, name, self._x)
            chart.draw(found, words)
        if points:
            self._fit_x(low, None)
        if old is not self._x:
            _close(old)
        for chart in self.charts:
            chart.draw_x_axis(self._x_axis())

    def keep_room(self) -> None:
        """Where figures will be: what is below them is not to move when they come."""
        self.box.layout.min_height = ROOM if self._series else None

    def show(self) -> None:
        """Put the figures on the page when there is something in them, and take them off when there is not.

        To be called when the page knows which runs have a line: a figure that is still hidden draws itself badly.
        """
        shown = tuple(chart.box for chart in self._on_page) if self._series else ()
        if shown != self.box.children:
            self.box.layout.min_height = None
            self.box.children = shown

    @property
    def _on_page(self) -> "tuple[Chart, ...]":
        return self.charts[self._state.wide - 1 : self._state.wide] or self.charts

    def _lines(self, name: str, x_axis: str) -> list[RunLine]:
        state, end = self._state, self._end(x_axis)
        found = []
        for series in self._series.values():
            record = series.run.record
            curve = series.curve(
                name, x_axis, log_x=state.log_x, log_y=state.log_y, smoothing=state.smoothing, end=end
            )
            newest = metric(name, record.latest[name]) if name in record.latest else ""
            found.append(RunLine(record.name, series.run.slot, curve, series.joints(x_axis, end), newest))
        return found

    def _reach(self, x_axis: str, *, active: bool) -> float:
        """The x of the newest point of all runs, or of those that are `active`; NaN if there is none."""
        series = [each for each in self._series.values() if each.run.record.status.is_active or not active]
        return float(max((x[-1] for each in series if len(x := each.x(x_axis))), default=math.nan))

    @property
    def longer(self) -> bool:
        """Other runs reach further than those that are active."""
        axis = self._state.x_axis
        return self._reach(axis, active=True) < self._reach(axis, active=False)

    def _end(self, x_axis: str) -> float:
        """Where curves are cut: beside a run that ended long after it, one that has just begun would not be seen."""
        cut = self._state.x_range == "active" and (self._x is None or self._x.max == self._right)
        end = self._reach(x_axis, active=True) if cut else math.nan
        return math.inf if math.isnan(end) else end

    def _x_axis(self) -> Axis:
        """The x axis of all charts; its right end is NaN before there are points."""
        low, high = self._x.min or 0.0, self._x.max
        if high is None:
            high = min(self._reach(self._state.x_axis, active=False), self._end(self._state.x_axis))
        ticks, unit = x_ticks(self._state.x_axis, low, high, log=self._state.log_x, wide=self._state.wide > 0)
        return Axis(unit, low, high, ticks, self._state.log_x)

    @property
    def _low(self) -> float:
        """Where the x axis begins: at 0, a logarithmic one at the first point."""
        found = [series.x(self._state.x_axis) for series in self._series.values()] if self._state.log_x else []
        firsts = [float(x[x > 0][0]) for x in found if (x > 0).any()]
        return min(firsts, default=NOTHING[0] if self._state.log_x else 0.0)

    def _fit_x(self, low: float, right: float | None) -> None:
        """Move the ends of the x axis, unless zoomed."""
        if self._x.max == self._right:
            self._right = right  # first: observers of the scale read `zoomed`
            with self._x.hold_sync():
                self._x.min, self._x.max = low, right

    @property
    def zoomed(self) -> bool:
        return bool(self.charts) and (self._x.max != self._right or any(chart.zoomed for chart in self.charts))

    def reset_zoom(self) -> None:
        """Follow the data again, from the next `update` on."""
        if self._x is not None:
            with self._x.hold_sync():
                self._right = self._x.max = None
        for chart in self.charts:
            chart.reset_zoom()

    def _with_points(self, name: str, x_axis: str) -> list[RunLine]:
        return [line for line in self._lines(name, x_axis) if len(line.curve.x)]

    def pictures(self) -> list[Picture]:
        if not self.charts:
            return []
        axis = self._state.x_axis
        x = self._x_axis()
        x = replace(x, name=f"time ({x.name})") if axis == "time" else x
        drawn = ((chart, self._with_points(chart.name, axis)) for chart in self._on_page)
        return [chart.picture(axis, x, lines) for chart, lines in drawn if lines]

    def static(self) -> list[Html]:
        charts: list[Html] = []
        drawn: dict[int, str] = {}
        for drawing in self._drawings:
            lines = self._with_points(drawing.name, "tokens")
            right = max((float(line.curve.x[-1]) for line in lines), default=math.nan)
            charts.append(drawing.static(Axis("", 0.0, right, x_ticks("tokens", 0.0, right)[0]), lines))
            drawn |= {line.slot: line.name for line in lines}
        if drawn:  # one legend for all: the charts of a page have none of their own
            keys = (legend_key(name, slot) for slot, name in drawn.items())
            style = "flex:1 0 100%;display:flex;flex-wrap:wrap;gap:2px 16px;font-size:12px"
            charts.append(tag("div", *keys, style=style))
        return charts

    @property
    def _drawings(self) -> list[Drawing]:
        return [Drawing(name, self._state) for name in self._state.metrics]

    def choices(self) -> dict[str, str]:
        """The metrics that a chart can show, and their titles: those of the charted runs."""
        known = {name for series in self._series.values() for name in series.run.record.latest}
        known |= {*self._state.metrics}
        names = [name for name in METRICS if name in known] + sorted(known - METRICS.keys())
        return {name: METRICS.get(name, (name,))[0] for name in names}

    def summaries(self) -> tuple[str, ...]:
        scale = "log" if self._state.log_y else "linear"
        return tuple(
            f"{drawing.title} against {self._state.x_axis}, {scale} scale. "
            f"{'; '.join(_course(series, drawing.name) for series in self._series.values())}."
            for drawing in (self._drawings if self._series else ())
        )

    def close(self) -> None:
        for chart in self.charts:
            chart.close()
        self.box.close()
        if self._x is not None:
            _close(self._x)


def _close(scale: Any) -> None:
    scale.unobserve_all()
    scale.close()


def _course(series: Series, name: str) -> str:
    """The course of a run's values, as text."""
    curve, run = series.curve(name, "tokens", log_y=False, smoothing=0), series.run
    if len(curve.y) == 0:
        return f"{run.record.name} has no values yet"
    first, last = metric(name, float(curve.y[0])), metric(name, float(curve.y[-1]))
    verb = "fell" if curve.y[-1] < curve.y[0] else "went"
    course = f"stayed at {last}" if first == last else f"{verb} from {first} to {last}"
    if run.earlier:
        course += f", and went on from {run.earlier[-1].record.name} at step {run.earlier[-1].step:,}"
    return f"{run.record.name} {course}"


def x_ticks(
    axis: str, low: float, high: float, *, log: bool = False, wide: bool = False
) -> tuple[list[tuple[float, str]], str]:
    """Positions with labels, and the unit: tokens in K and M, time in seconds, minutes or hours."""
    if not math.isfinite(high):
        return [], axis
    ticks = log_ticks if log else linear_ticks

    def fitting(low: float, high: float, text: Callable[[float], str]) -> list[tuple[float, str]]:
        """As many as fit beside each other in a chart of the least width, or twice that."""
        for wanted in (7, 5, 4, 3, 2, 1)[0 if wide else 2 :]:
            found = [(value, text(value)) for value in ticks(low, high, wanted)]
            if sum(_CHARACTER * len(text) + _GAP for _, text in found[1:]) <= _LEAST_WIDTH * (1 + wide):
                break
        return found

    if axis == "tokens":
        return fitting(low, high, tokens), "tokens"
    if axis == "steps":
        return [(value, text) for value, text in fitting(low, high, tick_text) if value == int(value)], "steps"
    unit, name = next(
        (u, n) for u, n in ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds")) if high >= 2 * u or u == 1
    )
    return [(value * unit, text) for value, text in fitting(low / unit, high / unit, tick_text)], name


def slots_for(
    selected: Sequence[str], old: Mapping[str, int], last: Mapping[str, int] = MappingProxyType({})
) -> dict[str, int]:
    """Which selected run has which line: a run keeps its slot as long as it is selected; at most six have one.

    A run that had a line before (`last`) gets the same slot again unless another run has it now. A run that never had
    one gets a slot that no run had before, if one is left.
    """
    slots = {training_id: old[training_id] for training_id in selected if training_id in old}
    fresh = [training_id for training_id in selected if training_id not in slots][: SLOTS - len(slots)]
    for training_id in sorted(fresh, key=lambda each: each not in last):
        free = [slot for slot in range(SLOTS) if slot not in slots.values()]
        before = last.get(training_id)
        slots[training_id] = before if before in free else min(free, key=[*last.values()].count)
    return slots
