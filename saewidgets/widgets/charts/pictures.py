"""The charts of a panel as pictures that stand alone: what is on the page, with title, names of the axes and legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from saewidgets.render.figure import Axis, Drawing, Key, Mark, Points, Trace, Upright, figure
from saewidgets.render.ticks import linear_ticks, log_ticks, metric_tick_text, widened
from saewidgets.widgets.charts.chart import Chart, extent, marked
from saewidgets.widgets.charts.series import Curve
from saewidgets.widgets.charts.style import MARKERS, PALETTES, RAW_OPACITY, RAW_WIDTH, SHAPES, SLOTS, SVG_DASHES
from saewidgets.widgets.messages.training import Picture


@dataclass(frozen=True, slots=True)
class Drawn:
    """One run's part of a chart."""

    name: str
    slot: int
    curve: Curve
    joints: Sequence[float]  # where it goes on from another run


def as_message(name: str, drawing: Drawing) -> Picture:
    """A drawing on its way to the page."""
    return Picture(name=name, width=drawing.width, height=drawing.height, svg=drawing.svg)


def chart_picture(chart: Chart, against: str, x: Axis, runs: Sequence[Drawn]) -> Picture:
    """The chart as it stands, zoom included; always on white.

    Args:
        chart: title, unit, look and the range of its y axis.
        against: "tokens", "steps" or "time".
        x: the axis that all charts share.
        runs: those that have values.
    """
    raw = [run.curve.raw_y for run in runs] if chart.look.show_raw else []
    marks: list[Mark] = []
    right = extent([run.curve.x for run in runs])[1]
    for run in runs:
        marks += _marks(run, right, raw=chart.look.show_raw, alone=len(runs) == 1)
    y = _y_axis(chart, *extent([run.curve.y for run in runs] + raw))
    legend = [_key(run, markers=len(runs) > 1) for run in runs]
    if any(run.joints for run in runs):
        legend.append(Key("upright dots: goes on from an earlier run"))
    return as_message(chart.title.lower(), figure(f"{chart.title} against {against}", x, y, marks, legend))


def _y_axis(chart: Chart, low: float, high: float) -> Axis:
    log = chart.look.log_y
    if chart.y.min is not None and chart.y.max is not None:
        low, high = chart.y.min, chart.y.max
    else:
        low, high = widened(low, high)
        room = 0.04 * (math.log(high / low) if log else high - low)
        low, high = (low / math.exp(room), high * math.exp(room)) if log else (low - room, high + room)
    ticks = log_ticks(low, high, 7) if log else linear_ticks(low, high, 5)
    name = ", ".join(part for part in (chart.title, chart.unit) if part)
    return Axis(f"{name} (log)" if log else name, low, high, [(value, metric_tick_text(value)) for value in ticks], log)


def _marks(run: Drawn, right: float, *, raw: bool, alone: bool) -> list[Mark]:
    number = run.slot % SLOTS
    color, curve = PALETTES["light"].series[number], run.curve
    marks: list[Mark] = [Upright(float(joint), color) for joint in run.joints]
    if raw:
        x, y = curve.raw_x.tolist(), curve.raw_y.tolist()
        marks.append(Trace(x, y, color, width=RAW_WIDTH, opacity=RAW_OPACITY))
    marks.append(Trace(curve.x.tolist(), curve.y.tolist(), color, SVG_DASHES[number]))
    at = marked(curve.x, run.slot, right, alone=alone)
    if len(at):
        marks.append(Points(curve.x[at].tolist(), curve.y[at].tolist(), color, SHAPES[MARKERS[number]], size=8.0))
    return marks


def _key(run: Drawn, *, markers: bool) -> Key:
    number = run.slot % SLOTS
    shape = SHAPES[MARKERS[number]] if markers else None
    return Key(run.name, PALETTES["light"].series[number], SVG_DASHES[number], line=True, shape=shape)
