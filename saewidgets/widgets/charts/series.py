"""`Series`: the numbers behind a run's lines; `make_curve` thins them to what a screen can show and smooths them.

Thinning works in bins of 2^j consecutive points counted from the first point, so that a bin's content never changes
while a run grows; only when there are too many bins do they merge pairwise. No part of a curve jitters.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from saewidgets.events import UNIT_ROWS, Metrics
from saewidgets.records import TrainingRecord

Floats = npt.NDArray[np.float64]
Columns = Mapping[str, npt.NDArray[np.generic]]
Read = Callable[[str, tuple[str, ...], int], Columns]
"""``(training_id, names, min_step)`` → equally long columns "step", "tokens", "time" and one per name, from `min_step`
on, sorted by step; NaN where a metric was not recorded at a step."""

MAX_BINS = 700  # two points each: at most 1,400 points per line
KEYS = {"steps": "step", "tokens": "tokens", "time": "time"}  # x axis → column


@dataclass(frozen=True, slots=True)
class Curve:
    """One line: `raw_x/raw_y` keep every extreme (≤ 1,400 points), `x/y` are smoothed (≤ 700 points)."""

    raw_x: Floats
    raw_y: Floats
    x: Floats
    y: Floats


EMPTY = Curve(*(np.empty(0) for _ in range(4)))


@dataclass(frozen=True, slots=True)
class ParentRun:
    """A run that another one goes on from, and the checkpoint where that takes over."""

    record: TrainingRecord
    step: int
    tokens: int


@dataclass(frozen=True, slots=True)
class ChartedRun:
    """A run that has a line.

    Attributes:
        record: the run.
        slot: number of its line.
        earlier: the runs that it goes on from, oldest first.
        measured: metrics since the last time.
        missed: the catalog holds more than its events brought.
    """

    record: TrainingRecord
    slot: int
    earlier: Sequence[ParentRun] = ()
    measured: Sequence[Metrics] = ()
    missed: bool = False


class Series:
    """The metrics of one run: read once, then updated by its events; first come those of the runs it continues."""

    def __init__(self, names: tuple[str, ...], read: Read, run: ChartedRun) -> None:
        self._names, self._read, self.run = names, read, run
        self._columns: dict[str, Floats] = {name: np.empty(0) for name in (*KEYS.values(), *names)}
        self._known = False  # what the catalog holds was read
        self._past_known: object = None
        self._past: dict[str, Floats] = {}
        self._joints: tuple[tuple[float, float, float], ...] = ()
        self._seconds = 0.0  # what the earlier runs took in all, up to their checkpoints

    def update(self, run: ChartedRun) -> None:
        before, self.run = self.run.record, run
        last = max(self._columns["step"][-1:], default=-1.0)
        if run.record.step < before.step or any(event.step < last for event in run.measured):
            self._columns = {name: np.empty(0) for name in self._columns}  # it went back to a checkpoint
            self._known = False
        if not self._known or run.missed:
            # The last step is read again: another metric of it may have been recorded after the first was read.
            self._join(self._read(run.record.id, self._names, max(0, int(last)) if self._known else 0))
            self._known = True
        elif run.measured:
            self._append(run.measured)
        known = [(one.record.id, one.step, started(one.record)) for one in run.earlier]
        if self._past_known != (started(run.record), known):
            self._past_known = (started(run.record), known)
            self._recall()

    def __len__(self) -> int:
        return len(self._columns["step"])

    def _append(self, events: Sequence[Metrics]) -> None:
        """They are in the catalog as well, and may have been read there: of one step there is one row."""
        rows: dict[float, dict[str, float]] = {}
        if len(self):
            rows[self._columns["step"][-1]] = {name: column[-1] for name, column in self._columns.items()}
        for event in events:
            if not event.values.keys().isdisjoint(self._names):
                row = rows.setdefault(event.step, {"step": event.step, "tokens": event.tokens, "time": event.time})
                row.update(event.values)
        self._join({name: np.array([row.get(name, math.nan) for row in rows.values()]) for name in self._columns})

    def _join(self, found: Columns) -> None:
        if len(found["step"]):
            keep = np.searchsorted(self._columns["step"], found["step"][0])
            self._columns = {
                name: np.concatenate([column[:keep], np.asarray(found[name], dtype=np.float64)])
                for name, column in self._columns.items()
            }

    def _recall(self) -> None:
        """The curves of the earlier runs, each cut at the step where the next one took over.

        Their time runs on without the pauses between the runs, and ends where the clock of the run itself begins. A
        joint is step, tokens and seconds (before the run's own clock, so ≤ 0) of a place where a run took over.
        """
        begin = end = started(self.run.record)
        begins = [-1, *(one.step for one in self.run.earlier)]
        pieces: list[dict[str, Floats]] = []
        joints: list[tuple[float, float, float]] = []
        for first, one in reversed(list(zip(begins, self.run.earlier, strict=False))):
            found = self._read(one.record.id, self._names, 0)
            columns = {name: np.asarray(found[name], dtype=np.float64) for name in self._columns}
            # Its own first point is that of the checkpoint it began with, which the run before it has as well.
            kept = (columns["step"] > first) & (columns["step"] <= one.step)
            columns = {name: column[kept] for name, column in columns.items()}
            joints.append((float(one.step), float(one.tokens), end - begin))
            since = started(one.record)
            last = max(since, float(columns["time"][-1])) if len(columns["time"]) else since
            columns["time"] = np.maximum(columns["time"], since) + (end - last)
            end -= last - since
            pieces.insert(0, columns)
        self._past = {name: np.concatenate([piece[name] for piece in pieces]) for name in (pieces[0] if pieces else ())}
        self._joints, self._seconds = tuple(reversed(joints)), begin - end

    def column(self, name: str) -> Floats:
        """One column, NaN where there is no value."""
        own = self._columns[name]
        if not self._past:
            return own
        # A run that goes on from a checkpoint begins with a point for it, which the run before it may have as well.
        twice = len(self) > 0 and self._columns["step"][0] in self._past["step"][-1:]
        return np.concatenate([self._past[name], own[1:] if twice else own])

    def x(self, x_axis: str) -> Floats:
        """The position of all points on an axis: "tokens", "steps" or "time" (seconds since the first run began)."""
        x = self.column(KEYS[x_axis])
        # The point of a checkpoint is written before the clock begins.
        return np.maximum(x - started(self.run.record) + self._seconds, 0.0) if x_axis == "time" else x

    def curve(
        self, name: str, x_axis: str, *, log_x: bool = False, log_y: bool, smoothing: int, end: float = math.inf
    ) -> Curve:
        """The line of a metric up to `end`; a logarithmic axis has no values ≤ 0."""
        x, y = self.x(x_axis), self.column(name)
        valid = np.isfinite(y) & (x <= end) & (x > (0 if log_x else -np.inf)) & (y > (0 if log_y else -np.inf))
        return make_curve(x[valid], y[valid], smoothing, log=log_y) if valid.any() else EMPTY

    def joints(self, x_axis: str, end: float = math.inf) -> tuple[float, ...]:
        """Where a run, or one before it, took over from another one, and where its decoder rows got norm one, since a
        curve may jump there."""
        which, moved = list(KEYS).index(x_axis), self._seconds if x_axis == "time" else 0.0
        found = [joint[which] + moved for joint in self._joints]
        if (step := self.run.record.facts.get(UNIT_ROWS)) is not None:
            found += self.x(x_axis)[self.column("step") >= step][:1].tolist()
        return tuple(x for x in found if x <= end)


def started(record: TrainingRecord) -> float:
    """When the run's clock began (Unix seconds)."""
    return record.started_at if record.started_at is not None else record.created_at


def earlier_runs(record: TrainingRecord, known: Mapping[str, TrainingRecord]) -> tuple[ParentRun, ...]:
    """The runs that `record` goes on from, oldest first; those before one that was deleted are not known any more."""
    chain: list[ParentRun] = []
    seen = {record.id}
    while (source := record.facts.get("continued_from")) is not None:
        parent = known.get(str(source["training_id"]))
        if parent is None or parent.id in seen:
            break
        chain.append(ParentRun(parent, int(source["step"]), int(source["tokens"])))
        seen.add(parent.id)
        record = parent
    return tuple(reversed(chain))


def make_curve(x: Floats, y: Floats, smoothing: int, *, log: bool = False) -> Curve:
    """Thin and smooth finite points sorted by x. `log`: the y axis is logarithmic, and the mean of positive values the
    geometric one, which is the middle of what the eye sees there."""
    mean_x, mean_y, counts = means(x, np.log(y) if log else y)
    smoothed = smooth(mean_y, smoothing, counts)
    return Curve(*thin(x, y), mean_x, np.exp(smoothed) if log else smoothed)


def bin_width(n: int, max_bins: int = MAX_BINS) -> int:
    """The smallest power of two with which `n` points need at most `max_bins` bins."""
    return 1 << max(0, math.ceil(n / max_bins) - 1).bit_length()


def thin(x: Floats, y: Floats, max_bins: int = MAX_BINS) -> tuple[Floats, Floats]:
    """At most `2 · max_bins` of the points: the smallest and the largest of every bin, so that spikes survive."""
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
    edges = np.arange(0, n, bin_width(n, max_bins))
    counts = np.diff(np.append(edges, n)).astype(np.float64)
    return np.add.reduceat(x, edges) / counts, np.add.reduceat(y, edges) / counts, counts


def smooth(y: Floats, smoothing: int, weights: Floats | None = None) -> Floats:
    """Exponential smoothing that looks both ways, so that the curve neither lags nor starts biased.

    Every value becomes the average of its neighbours with weights ``decay^distance``, normalised by the weights that
    exist (near an end there are fewer), which is the sum of a forward and a backward exponential moving average with
    their bias corrected. The reach (where a weight has fallen to 1/e) is `0.15 · (smoothing/100)²` of the curve: 2.4 %
    at 40.

    Args:
        y: finite values, evenly spaced.
        smoothing: 0 (none) … 100.
        weights: how much each value counts (a bin's number of points); 1 when absent.
    """
    n = len(y)
    reach = 0.15 * n * (smoothing / 100) ** 2
    if n < 3 or reach < 0.2:
        return y
    decay = math.exp(-1.0 / reach)
    weight = np.ones(n) if weights is None else weights
    kernel = decay ** np.abs(np.arange(1 - n, n))

    def both_ways(values: Floats) -> Floats:
        return np.convolve(values, kernel, "valid")

    found: Floats = both_ways(y * weight) / both_ways(weight)
    return found
