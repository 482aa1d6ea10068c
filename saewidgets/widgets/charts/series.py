"""The numbers behind a chart's line: read once, thinned to what a screen can show, smoothed without lag.

Thinning works in bins of 2^j consecutive points counted from the first point, so that a bin's content never changes
while a run grows; only when there are too many bins do they merge pairwise. No part of a curve jitters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[np.generic]]

MAX_BINS = 700  # two points each: at most 1,400 points per line
AXES = {"tokens": "tokens", "steps": "step", "time": "time"}
KEYS = ("step", "tokens", "time")


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: `raw_x/raw_y` keep every extreme (≤ 1,400 points), `x/y` are smoothed (≤ 700 points)."""

    raw_x: Floats
    raw_y: Floats
    x: Floats
    y: Floats


EMPTY = Curve(*(np.empty(0) for _ in range(4)))


class History:
    """The metrics of one run, fetched piece by piece.

    `read(names, min_step)` returns equally long columns "step", "tokens", "time" and one per name (NaN where a metric
    was not recorded at that step), sorted by step, only steps ≥ `min_step`.
    """

    def __init__(self, names: tuple[str, ...], read: Callable[[tuple[str, ...], int], Columns]) -> None:
        self._names = names
        self._read = read
        self._columns: dict[str, Floats] = {name: np.empty(0) for name in (*KEYS, *names)}
        self._earlier: Columns = {}

    def go_on_from(self, earlier: Columns) -> None:
        """Let the curves begin with these columns, those of the runs before it."""
        self._earlier = earlier

    def __len__(self) -> int:
        return len(self._columns["step"])

    def update(self) -> int:
        """Fetch what is new; how many points came. Only the last step is asked for again: another metric of the same
        step may have been recorded after the first was read."""
        steps = self._columns["step"]
        start = int(steps[-1]) if len(steps) else 0
        found = self._read(self._names, start)
        fresh = {name: np.asarray(found.get(name, ()), dtype=np.float64) for name in self._columns}
        count = len(fresh["step"])
        if count == 0:
            return 0
        keep = int(np.searchsorted(steps, fresh["step"][0]))
        for name, old in self._columns.items():
            new = fresh[name] if len(fresh[name]) == count else np.full(count, np.nan)
            self._columns[name] = np.concatenate([old[:keep], new])
        return len(self) - len(steps)

    def reset(self) -> None:
        """Forget everything: the run went back to a checkpoint."""
        self._columns = {name: np.empty(0) for name in self._columns}

    def column(self, name: str) -> Floats:
        """One column, NaN where there is no value."""
        own = self._columns[name]
        if name not in self._earlier:
            return own
        steps, own_steps = self._earlier["step"], self._columns["step"]
        # A run that goes on from a checkpoint begins with a point for it, which the run before it may have as well.
        twice = len(steps) > 0 and len(own_steps) > 0 and own_steps[0] == steps[-1]
        return np.concatenate([np.asarray(self._earlier[name], dtype=np.float64), own[1:] if twice else own])

    def curve(
        self, names: tuple[str, ...], x_axis: str, *, positive: bool, smoothing: int, start: float = 0.0,
        end: float = math.inf,
    ) -> Curve:
        """The line of the first of `names` that has any value.

        Args:
            names: metrics in order of preference.
            x_axis: "tokens", "steps" or "time" (seconds since `start`).
            positive: the axis is logarithmic: values ≤ 0 cannot be drawn and are left out.
            smoothing: 0 … 100, see `smooth`.
            end: what stands to the right of it on the axis is left out.
        """
        x = self.x(x_axis, start)
        for name in names:
            y = self.column(name)
            valid = np.isfinite(y) & (x <= end) & (y > (0 if positive else -np.inf))
            if valid.any():
                return make_curve(x[valid], y[valid], smoothing)
        return EMPTY

    def x(self, x_axis: str, start: float = 0.0) -> Floats:
        """Where all points stand on an x axis; see `curve`."""
        x = self.column(AXES[x_axis])
        # The point of a checkpoint is written before the clock begins.
        return np.maximum(x - start, 0.0) if x_axis == "time" else x


def make_curve(x: Floats, y: Floats, smoothing: int) -> Curve:
    """Thin and smooth finite points sorted by x."""
    raw_x, raw_y = thin(x, y)
    mean_x, mean_y, counts = means(x, y)
    return Curve(raw_x, raw_y, mean_x, smooth(mean_y, smoothing, counts))


def bin_width(n: int, max_bins: int = MAX_BINS) -> int:
    """The smallest power of two with which `n` points need at most `max_bins` bins."""
    width = 1
    while -(-n // width) > max_bins:
        width *= 2
    return width


def thin(x: Floats, y: Floats, max_bins: int = MAX_BINS) -> tuple[Floats, Floats]:
    """At most `2 · max_bins` of the points: the smallest and the largest of every bin, in their order.

    Spikes survive, unlike with averaging or with every n-th point.
    """
    n = len(x)
    if n <= 2 * max_bins:
        return x, y
    width = bin_width(n, max_bins)
    bins = -(-n // width)
    padded = np.full(bins * width, np.nan)
    padded[:n] = y
    table = padded.reshape(bins, width)
    base = np.arange(bins) * width
    picked = np.stack([base + np.nanargmin(table, axis=1), base + np.nanargmax(table, axis=1)], axis=1)
    index = np.unique(picked)
    return x[index], y[index]


def means(x: Floats, y: Floats, max_bins: int = MAX_BINS) -> tuple[Floats, Floats, Floats]:
    """`(x, y, points)` of every bin: the mean position, the mean value, how many points it holds."""
    n = len(x)
    if n == 0:
        return x, y, np.empty(0)
    edges = np.arange(0, n, bin_width(n, max_bins))
    counts = np.diff(np.append(edges, n)).astype(np.float64)
    return np.add.reduceat(x, edges) / counts, np.add.reduceat(y, edges) / counts, counts


def smooth(y: Floats, smoothing: int, weights: Floats | None = None) -> Floats:
    """Exponential smoothing that looks both ways, so that the curve neither lags nor starts biased.

    Every value becomes the average of its neighbours with weights ``decay^distance``, normalised by the weights that
    exist (near an end there are fewer), which is the sum of a forward and a backward exponential moving average with
    their bias corrected. The reach (where a weight has fallen to 1/e) is `0.15 · (smoothing/100)²` of the curve: 2.4 %
    at 40. NaN values are skipped and stay NaN.

    Args:
        y: values, evenly spaced.
        smoothing: 0 (none) … 100.
        weights: how much each value counts (a bin's number of points); 1 when absent.
    """
    n = len(y)
    reach = 0.15 * n * (smoothing / 100) ** 2
    if n < 3 or reach < 0.2:
        return y
    decay = float(np.exp(-1.0 / reach))
    present = np.isfinite(y)
    weight = np.where(present, 1.0 if weights is None else weights, 0.0)
    value = np.where(present, y, 0.0) * weight
    top = _decaying_sum(value, decay) + _decaying_sum(value[::-1], decay)[::-1] - value
    bottom = _decaying_sum(weight, decay) + _decaying_sum(weight[::-1], decay)[::-1] - weight
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(present, top / bottom, np.nan)


def _decaying_sum(values: Floats, decay: float) -> Floats:
    """``s[i] = decay · s[i-1] + values[i]``. A plain loop: at most 700 values come here."""
    out = np.empty_like(values)
    total = 0.0
    for i, value in enumerate(values.tolist()):
        total = decay * total + value
        out[i] = total
    return out
