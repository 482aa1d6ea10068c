"""Changing bqplot's marks and axes: only what is new goes to the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bqplot
import numpy as np

from saewidgets.widgets.charts.series import Floats


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
