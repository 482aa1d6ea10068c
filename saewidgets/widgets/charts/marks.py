"""Changing bqplot's marks and axes: only what is new goes to the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import bqplot
import numpy as np

from saewidgets.widgets.charts.series import Floats
from saewidgets.widgets.charts.style import SLOTS, Palette
from saewidgets.widgets.shell import unpin


def put(mark: Any, x: Floats, y: Floats, *, visible: bool = True) -> None:
    """Give a mark new points, if they are new; both arrays travel in one message."""
    if not visible or len(x) == 0:
        clear(mark)
        return
    with mark.hold_sync():
        if not (same(mark.x, x) and same(mark.y, y)):
            mark.x, mark.y = x, y
        if not mark.visible:
            mark.visible = True


def clear(mark: Any) -> None:
    """Take a mark off the figure. Its points go too: bqplot fits an axis to all points, also those not shown."""
    with mark.hold_sync():
        if mark.x is not None and len(mark.x) > 0:
            mark.x, mark.y = np.empty(0), np.empty(0)
        if mark.visible:
            mark.visible = False


def same(old: Any, new: Floats) -> bool:
    """The arrays are equal, gaps (NaN) too; what bqplot holds may be a list or nothing."""
    if old is None or np.shape(old) != np.shape(new):
        return False
    return bool(np.array_equal(old, new, equal_nan=np.asarray(new).dtype.kind == "f"))


def set_ticks(axis: bqplot.Axis, ticks: Sequence[float], labels: Sequence[str]) -> None:
    """Replace an axis' ticks, if they changed."""
    values = np.asarray(ticks, dtype=np.float64)
    names = {repr(value).removesuffix(".0"): label for value, label in zip(values.tolist(), labels, strict=True)}
    if same(axis.tick_values, values) and axis.tick_labels == names:
        return
    axis.tick_labels = names  # first, and in a message of its own: bqplot looks labels up only when values change
    axis.tick_values = values


class Joints:
    """Those of one figure. Their y scale is their own: they span its height, however the data are zoomed."""

    def __init__(self, figure: bqplot.Figure, x: bqplot.Scale) -> None:
        self._figure, self._x = figure, x
        self._y = bqplot.LinearScale(min=0.0, max=1.0)
        unpin(self._y)
        self._marks: dict[int, Any] = {}

    def draw(self, places: Mapping[int, Sequence[float]], palette: Palette) -> None:
        """Show exactly these (slot number → places on the x axis)."""
        for number in self._marks.keys() - places.keys():
            clear(self._marks[number])
        for number, at in places.items():
            mark = self._mark(number)
            # Up, down, and a gap to the next; bqplot labels the last point, so that one has to be a point.
            x = np.repeat(np.asarray(at, dtype=np.float64), 3)[:-1]
            colors = [palette.series[number % SLOTS]]
            put(mark, x, np.tile([0.0, 1.0, np.nan], len(at))[:-1])
            if mark.colors != colors:
                mark.colors = colors
        shown = [mark for mark in self._marks.values() if mark not in self._figure.marks]
        if shown:  # a figure that changed its scale type has lost them
            self._figure.marks = [*self._figure.marks, *shown]

    def _mark(self, number: int) -> Any:
        if number not in self._marks:
            mark = bqplot.Lines(
                scales={"x": self._x, "y": self._y}, stroke_width=1.0, line_style="dotted", opacities=[0.8], x=[], y=[]
            )
            unpin(mark)
            self._marks[number] = mark
        return self._marks[number]

    def close(self) -> None:
        """Remove them from the page."""
        for widget in (*self._marks.values(), self._y):
            widget.close()
