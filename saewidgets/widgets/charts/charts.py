"""The three charts of a panel: which runs have a line, what is read from the workspace, what is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bqplot
import ipywidgets
import numpy as np

from saewidgets.records import TrainingRecord
from saewidgets.render import Html, Line, line_chart
from saewidgets.render.figure import Axis
from saewidgets.render.numbers import metric, tokens
from saewidgets.render.ticks import linear_ticks, tick_text
from saewidgets.widgets.charts.chart import Chart, Look, Newest
from saewidgets.widgets.charts.lineage import NO_PAST, Earlier, Past, past_of, started
from saewidgets.widgets.charts.pictures import Drawn, chart_picture
from saewidgets.widgets.charts.series import Columns, Curve, History
from saewidgets.widgets.charts.style import PALETTES, SLOTS, SVG_DASHES
from saewidgets.widgets.messages.training import ChartState, Picture
from saewidgets.widgets.shell import unpin


@dataclass(frozen=True, slots=True)
class Spec:
    """One chart: its title and the metrics it shows, the preferred one first."""

    title: str
    names: tuple[str, ...]
    unit: str = ""


CHARTS = (Spec("Loss", ("loss",)), Spec("L0", ("l0",), "per token"), Spec("FVU", ("fvu",)))
NAMES = tuple(name for spec in CHARTS for name in spec.names)
NO_POINTS = 1.0  # where an x axis ends on which there are no points
X_LABELS = {"tokens": "tokens", "steps": "steps"}


class Charts:
    """Owned by one panel; `update` and `close` are called from its publisher thread alone.

    Args:
        read: `(training_id, names, min_step)` → columns, as `History` wants them.
        on_zoom: called (on the kernel's handler thread) when somebody zoomed or panned.
    """

    def __init__(self, read: Callable[[str, tuple[str, ...], int], Columns], on_zoom: Callable[[], None]) -> None:
        self._read = read
        self._histories: dict[str, History] = {}
        self._seen: dict[str, Any] = {}
        self._pasts: dict[str, tuple[Any, Past]] = {}
        self._earlier: Mapping[str, Sequence[Earlier]] = {}
        self._state = ChartState()
        self._runs: list[tuple[TrainingRecord, int]] = []
        self._x = bqplot.LinearScale(min=0.0)
        self._right: float | None = None  # where the x axis ends unless somebody zoomed; None: where the points do
        unpin(self._x)
        self._on_zoom = on_zoom
        self.charts = tuple(Chart(spec.title, spec.unit, self._x) for spec in CHARTS)
        # Empty while there is nothing to draw: a figure without size makes bqplot complain in the page's console.
        self.box = ipywidgets.HBox([], layout=ipywidgets.Layout(margin="0"))
        self.box.add_class("sw-charts")
        self._x.observe(self._zoom_changed, names=["min", "max"])
        self._watch_y()

    def _watch_y(self) -> None:
        for chart in self.charts:
            chart.y.unobserve_all()
            chart.y.observe(self._zoom_changed, names=["min", "max"])

    def _zoom_changed(self, change: Any) -> None:
        self._on_zoom()

    # --------------------------------------------------------------------------------------------- drawing

    def update(
        self,
        runs: Sequence[tuple[TrainingRecord, int]],
        state: ChartState,
        earlier: Mapping[str, Sequence[Earlier]] | None = None,
    ) -> None:
        """Read what is new of these `(record, slot)` and draw it.

        Args:
            runs: those that have a line.
            state: how they are drawn.
            earlier: the runs that they go on from, by their ids, oldest first.
        """
        self._earlier = earlier or {}
        if (state.x_axis, state.x_range) != (self._state.x_axis, self._state.x_range):
            self.reset_zoom()
        self._state, self._runs = state, list(runs)
        look = Look(state.log_y, state.show_raw, state.theme)
        for chart in self.charts:
            if chart.look != look:
                chart.set_look(look)
        self._watch_y()
        for gone in self._histories.keys() - {record.id for record, _ in runs}:
            del self._histories[gone]
            self._seen.pop(gone, None)
            self._pasts.pop(gone, None)
        for record, _ in runs:
            self._fetch(record)
            self._recall(record)
        joints = {slot: places for record, slot in runs if (places := self._joints(record, state.x_axis))}
        curves = [self._curves(spec, state.x_axis) for spec in CHARTS]
        points = any(len(curve.x) for found in curves for curve in found.values())
        if not points:
            self._end_x(NO_POINTS)  # first: while it goes, the last point has no place on an axis that fits no points
        for chart, spec, found in zip(self.charts, CHARTS, curves, strict=True):
            chart.draw(found, joints)
            newest = [self._newest(record, slot, spec) for record, slot in runs]
            shown = [value for value in newest if value is not None]
            chart.write_caption(shown, keyed=len(runs) > 1, instead=self._instead())
        if points:
            self._end_x(None)
        self._draw_x_axis()

    def show(self) -> None:
        """Put the figures on the page when there is something in them, and take them off when there is not.

        To be called when the page knows which runs have a line: a figure that is still hidden draws itself badly.
        """
        if bool(self._runs) != bool(self.box.children):
            self.box.children = tuple(chart.box for chart in self.charts) if self._runs else ()

    def _fetch(self, record: TrainingRecord) -> None:
        """Read the run's new metrics; nothing when it has not moved since, everything when it went back."""
        history = self._histories.get(record.id)
        if history is None:
            history = self._histories[record.id] = History(
                NAMES, lambda names, step: self._read(record.id, names, step)
            )
        mark = (record.status, record.step, record.started_at, len(record.latest))
        before = self._seen.get(record.id)
        if before == mark:
            return
        if before is not None and record.step < before[1]:
            history.reset()
        history.update()
        self._seen[record.id] = mark

    def _recall(self, record: TrainingRecord) -> None:
        """Put the curves of the runs before it in front of those of the run; read once, they have ended there."""
        earlier = self._earlier.get(record.id, ())
        mark = (started(record), *((one.record.id, one.step, started(one.record)) for one in earlier))
        known = self._pasts.get(record.id)
        if known is not None and known[0] == mark:
            return
        past = past_of(record, earlier, NAMES, self._read) if earlier else NO_PAST
        self._histories[record.id].go_on_from(past.columns)
        self._pasts[record.id] = (mark, past)

    def _past(self, record: TrainingRecord) -> Past:
        return self._pasts[record.id][1]

    def _origin(self, record: TrainingRecord) -> float:
        """Where the time axis begins for a run (Unix seconds)."""
        return started(record) - self._past(record).seconds

    def _joints(self, record: TrainingRecord, x_axis: str) -> tuple[float, ...]:
        """Where a run, or one before it, took over from another one."""
        past = self._past(record)
        which = {"steps": 0, "tokens": 1, "time": 2}[x_axis]
        places = (joint[which] + (past.seconds if x_axis == "time" else 0.0) for joint in past.joints)
        return tuple(place for place in places if place <= self._end(x_axis))

    def _curves(self, spec: Spec, x_axis: str) -> dict[int, Curve]:
        state, end = self._state, self._end(x_axis)
        return {
            slot: self._histories[record.id].curve(
                spec.names, x_axis, positive=state.log_y, smoothing=state.smoothing, start=self._origin(record), end=end
            )
            for record, slot in self._runs
        }

    def _reach(self, x_axis: str, *, active: bool) -> float:
        """Where the newest point of all runs, or of those that are `active`, stands; NaN where there is none."""
        runs = [record for record, _ in self._runs if record.status.is_active or not active]
        ends = [self._histories[record.id].x(x_axis, self._origin(record))[-1:] for record in runs]
        return float(max(np.concatenate([*ends, np.empty(0)]), default=math.nan))

    @property
    def longer(self) -> bool:
        """Other runs reach further than those that are active."""
        axis = self._state.x_axis
        return self._reach(axis, active=True) < self._reach(axis, active=False)

    def _end(self, x_axis: str) -> float:
        """Where curves are cut: beside a run that ended long after it, one that has just begun would not be seen."""
        cut = self._state.x_range == "active" and self._x.max == self._right
        end = self._reach(x_axis, active=True) if cut else math.nan
        return math.inf if math.isnan(end) else end

    def _newest(self, record: TrainingRecord, slot: int, spec: Spec) -> Newest | None:
        value = next((record.latest[name] for name in spec.names if name in record.latest), None)
        return Newest(slot, record.name, metric(spec.names[0], value)) if value is not None else None

    def _instead(self) -> str:
        """What a chart says that has no value to show."""
        return "No values" if all(record.status.is_final for record, _ in self._runs) else "Waiting for the first step"

    def _x_scale(self) -> tuple[float, float, Sequence[float], Sequence[str], str]:
        """Both ends of the x axis (NaN at its right before there are points), its ticks, their words, its unit."""
        low, high = self._x.min or 0.0, self._x.max
        if high is None:
            high = min(self._reach(self._state.x_axis, active=False), self._end(self._state.x_axis))
        return low, high, *x_ticks(self._state.x_axis, low, high)

    def _end_x(self, right: float | None) -> None:
        """Move the end of the x axis, unless somebody zoomed."""
        if self._x.max == self._right != right:
            self._right = right  # first: whoever observes the scale asks `zoomed`
            self._x.max = right

    def _draw_x_axis(self) -> None:
        _, _, ticks, labels, label = self._x_scale()
        for chart in self.charts:
            chart.draw_x_ticks(ticks, labels, label)

    # --------------------------------------------------------------------------------------------- zoom

    @property
    def zoomed(self) -> bool:
        """Somebody zoomed or panned, so the charts no longer follow the data."""
        return self._x.max != self._right or any(chart.zoomed for chart in self.charts)

    def reset_zoom(self) -> None:
        """Follow the data again."""
        with self._x.hold_sync():
            self._right = None
            self._x.min, self._x.max = 0.0, None
        for chart in self.charts:
            chart.reset_zoom()

    # --------------------------------------------------------------------------------------------- words and copies

    def pictures(self) -> list[Picture]:
        """Each chart that has values, as it stands now."""
        low, high, ticks, labels, label = self._x_scale()
        name = f"time ({label})" if self._state.x_axis == "time" else label
        x = Axis(name, low, high, list(zip(ticks, labels, strict=True)))
        found = []
        for chart, spec in zip(self.charts, CHARTS, strict=True):
            curves = self._curves(spec, self._state.x_axis)
            drawn = [
                Drawn(record.name, slot, curves[slot], self._joints(record, self._state.x_axis))
                for record, slot in self._runs
                if len(curves[slot].x)
            ]
            if drawn:
                found.append(chart_picture(chart, self._state.x_axis, x, drawn))
        return found

    def summaries(self) -> tuple[str, ...]:
        """One sentence per chart for those who cannot see it."""
        return tuple(self._summary(spec) for spec in CHARTS) if self._runs else ()

    def _summary(self, spec: Spec) -> str:
        scale = "log" if self._state.log_y else "linear"
        parts = []
        for record, _ in self._runs:
            curve = self._histories[record.id].curve(spec.names, "tokens", positive=False, smoothing=0)
            if len(curve.y) == 0:
                parts.append(f"{record.name} has no values yet")
            else:
                verb = "fell" if curve.y[-1] < curve.y[0] else "went"
                first, last = (metric(spec.names[0], float(curve.y[i])) for i in (0, -1))
                course = f"stayed at {last}" if first == last else f"{verb} from {first} to {last}"
                parts.append(f"{record.name} {course}{self._origin_words(record)}")
        return f"{spec.title} against {self._state.x_axis}, {scale} scale. {'; '.join(parts)}."

    def _origin_words(self, record: TrainingRecord) -> str:
        earlier = self._earlier.get(record.id, ())
        return f", and went on from {earlier[-1].record.name} at step {earlier[-1].step:,}" if earlier else ""

    def static(self) -> list[Html]:
        """The charts as inline SVG, for a saved notebook."""
        palette = PALETTES["light"]
        found = []
        for spec in CHARTS:
            curves = self._curves(spec, "tokens")
            lines = [
                Line(
                    record.name,
                    curve.x.tolist(),
                    curve.y.tolist(),
                    palette.series[slot % SLOTS],
                    SVG_DASHES[slot % SLOTS],
                    self._joints(record, "tokens"),
                )
                for record, slot in self._runs
                if len((curve := curves[slot]).x)
            ]
            found.append(line_chart(spec.title, lines, log_y=self._state.log_y))
        return found

    def close(self) -> None:
        """Remove the charts from the page."""
        self._x.unobserve_all()
        for chart in self.charts:
            chart.close()
        self.box.close()
        self._x.close()


def x_ticks(axis: str, low: float, high: float) -> tuple[list[float], list[str], str]:
    """`(positions, labels, axis title)`: tokens in K and M, time in seconds, minutes or hours."""
    if not math.isfinite(high):
        return [], [], X_LABELS.get(axis, "time")
    if axis == "tokens":
        ticks = linear_ticks(low, high, 4)
        return ticks, [tokens(value) for value in ticks], "tokens"
    if axis == "steps":
        ticks = [value for value in linear_ticks(low, high, 4) if value == int(value)]
        return ticks, [tick_text(value) for value in ticks], "steps"
    unit, name = next(
        (u, n) for u, n in ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds")) if high >= 2 * u or u == 1
    )
    ticks = linear_ticks(low / unit, high / unit, 4)
    return [value * unit for value in ticks], [tick_text(value) for value in ticks], name


def slots_for(selected: Sequence[str], old: Mapping[str, int]) -> dict[str, int]:
    """Which selected run has which line: a run keeps its slot as long as it is selected; at most six have one."""
    kept = {training_id: old[training_id] for training_id in selected if training_id in old}
    free = [slot for slot in range(SLOTS) if slot not in kept.values()]
    for training_id in selected:
        if training_id not in kept and free:
            kept[training_id] = free.pop(0)
    return kept
