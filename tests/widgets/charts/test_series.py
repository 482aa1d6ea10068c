"""Thinning keeps extremes and never jitters; smoothing has no lag; a series takes over what a run tells."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from saewidgets.config import TrainingConfig
from saewidgets.events import UNIT_ROWS, Metrics
from saewidgets.records import TrainingRecord
from saewidgets.widgets.charts.series import (
    MAX_BINS,
    ChartedRun,
    ParentRun,
    Series,
    bin_width,
    earlier_runs,
    make_curve,
    means,
    smooth,
    thin,
)
from tests.widgets.seeded_runs import make_record


@given(hnp.arrays(np.float64, st.integers(1, 6000), elements=st.floats(-1e6, 1e6, allow_nan=False)))
def test_thinning_keeps_bounds_order_and_extremes(y: np.ndarray) -> None:
    x = np.arange(len(y), dtype=np.float64)
    thin_x, thin_y = thin(x, y)
    assert len(thin_x) == len(thin_y) <= 2 * MAX_BINS
    assert np.all(np.diff(thin_x) > 0)
    assert np.array_equal(y[thin_x.astype(int)], thin_y)
    assert (thin_y.min(), thin_y.max()) == (y.min(), y.max())


@pytest.mark.parametrize("n", [1500, 44_000])
def test_appending_points_does_not_move_older_ones(n: int) -> None:
    y = np.random.default_rng(0).standard_normal(n + 50)
    x = np.arange(n + 50, dtype=np.float64)
    width = bin_width(n)
    assert bin_width(n + 50) == width
    settled = (n // width) * width
    before, after = thin(x[:n], y[:n])[0], thin(x, y)[0]
    assert np.array_equal(before[before < settled], after[after < settled])


def test_bins_only_merge_in_pairs_and_weigh_every_point_once() -> None:
    widths = [bin_width(n) for n in range(1, 200_000, 97)]
    assert widths == sorted(widths)
    assert all(width & (width - 1) == 0 for width in widths)
    assert max(n / bin_width(n) for n in range(1, 200_000, 97)) <= MAX_BINS
    y = np.random.default_rng(1).standard_normal(3001)
    x, mean, counts = means(np.arange(3001.0), y)
    assert counts.sum() == 3001
    assert np.isclose((mean * counts).sum(), y.sum())
    assert np.all(np.diff(x) > 0)


def test_smoothing_agrees_with_the_sum_it_stands_for_and_reduces_noise() -> None:
    y = np.random.default_rng(2).standard_normal(60)
    reach = 0.15 * 60 * 0.5**2
    distance = np.abs(np.subtract.outer(np.arange(60), np.arange(60)))
    kernel = np.exp(-distance / reach)
    assert np.allclose(smooth(y, 50), kernel @ y / kernel.sum(axis=1))
    spreads = [smooth(np.random.default_rng(3).standard_normal(700), s).std() for s in (0, 20, 40, 60, 80, 100)]
    assert spreads == sorted(spreads, reverse=True)


@pytest.mark.parametrize("n", [60, 3001])  # a point a bin, and several
def test_on_a_log_axis_the_smoothed_line_is_the_geometric_mean(n: int) -> None:
    x, y = np.arange(n, dtype=np.float64), np.exp(np.random.default_rng(4).standard_normal(n))
    width = bin_width(n)
    edges = np.arange(0, n, width)
    logs = np.array([np.log(y[i : i + width]).mean() for i in edges])
    counts = np.array([len(y[i : i + width]) for i in edges])
    distance = np.abs(np.subtract.outer(np.arange(len(edges)), np.arange(len(edges))))
    kernel = np.exp(-distance / (0.15 * len(edges) * 0.5**2)) * counts
    curve = make_curve(x, y, 50, log=True)
    assert np.allclose(curve.y, np.exp(kernel @ logs / kernel.sum(axis=1)))
    assert np.array_equal(curve.raw_y, thin(x, y)[1])  # what was measured stays as it is
    assert np.all(make_curve(x, y, 50).y > curve.y)  # the arithmetic mean lies above
    up_and_down = make_curve(x, np.tile([0.01, 1.0], n)[:n], 100, log=True)
    assert up_and_down.y[len(edges) // 2] == pytest.approx(0.1, rel=0.1)


class Source:
    """The catalog's metrics of a run that grows by ten steps at a time; remembers what was asked."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.asked: list[int] = []

    def read(self, training_id: str, names: tuple[str, ...], min_step: int) -> dict[str, np.ndarray]:
        self.asked.append(min_step)
        step = np.arange(1, self.rows + 1, dtype=np.float64) * 10
        step = step[step >= min_step]
        values = {"loss": 1 / step, "fvu": np.full(len(step), np.nan)}
        return {"step": step, "tokens": step * 100, "time": step / 10 + 1000, **{name: values[name] for name in names}}


def charted(step: int, *measured: Metrics, **changes: Any) -> ChartedRun:
    return ChartedRun(make_record("a", TrainingConfig(), step=step, started_at=1000.0), 0, (), measured, **changes)


def loss_at(step: int) -> Metrics:
    return Metrics(step, step * 100, {"loss": 1 / step, "grad_norm": 2.0}, step / 10 + 1000)


def test_events_are_appended_without_another_read() -> None:
    source = Source(100)
    told = Series(("loss", "fvu"), source.read, charted(1000))
    told.update(charted(1000))
    told.update(charted(1005))  # further, with nothing measured
    told.update(charted(1020, loss_at(1000), loss_at(1010), loss_at(1020)))  # one of them was read already
    told.update(charted(1020, Metrics(1020, 102_000, {"fvu": 0.5}), Metrics(1025, 102_500, {"grad_norm": 1.0})))
    assert source.asked == [0]
    empty = Series(("loss", "fvu"), Source(0).read, charted(0))
    for step in (0, 3, 10):  # before its first metrics there is nothing to read either
        empty.update(charted(step, *[loss_at(10)] * (step == 10)))
    assert empty.column("loss").tolist() == [0.1]
    source.rows = 102
    read = Series(("loss", "fvu"), source.read, charted(1020))
    read.update(charted(1020))
    for name in ("step", "tokens", "time", "loss"):
        assert told.column(name).tolist() == read.column(name).tolist()
    assert told.column("fvu")[-1] == 0.5


def test_what_was_missed_is_read_and_a_run_that_went_back_is_read_anew() -> None:
    source = Source(100)
    series = Series(("loss",), source.read, charted(1000))
    series.update(charted(1000))
    source.rows = 130
    series.update(charted(1300, missed=True))
    assert (len(series), source.asked) == (130, [0, 1000])
    source.rows = 40  # resumed from its checkpoint: the rest was deleted
    series.update(charted(400, missed=True))
    assert (len(series), source.asked[-1]) == (40, 0)
    source.rows = 31
    series.update(charted(400, loss_at(310)))
    assert (len(series), source.asked[-1]) == (31, 0)


def test_curves_leave_out_points_that_cannot_be_drawn() -> None:
    source = Source(50)
    series = Series(("loss", "fvu"), source.read, charted(500))
    series.update(charted(500))
    assert len(series.curve("fvu", "steps", log_y=True, smoothing=0).x) == 0
    series._columns["loss"][:10] = -1.0
    assert len(series.curve("loss", "steps", log_y=True, smoothing=0).x) == 40
    assert len(series.curve("loss", "steps", log_y=False, smoothing=0, end=200.0).x) == 20
    assert series.curve("loss", "time", log_y=True, smoothing=0).x[-1] == pytest.approx(50.0)
    series._columns["tokens"][0] = 0.0
    assert len(series.curve("loss", "tokens", log_x=True, log_y=False, smoothing=0).x) == 49
    assert np.isfinite(series.curve("loss", "tokens", log_y=True, smoothing=80).y).all()


STEPS = {"a": range(10, 101, 10), "b": range(50, 151, 10), "c": range(100, 201, 10)}
BEGAN = {"a": 1000.0, "b": 5000.0, "c": 9000.0}


def continued(training_id: str, of: str | None = None, step: int = 0) -> TrainingRecord:
    facts = {} if of is None else {"continued_from": {"training_id": of, "step": step, "tokens": step * 100}}
    return make_record(training_id, TrainingConfig(), started_at=BEGAN.get(training_id, 1.0), facts=facts)


def read_chain(training_id: str, names: tuple[str, ...], min_step: int) -> dict[str, np.ndarray]:
    """A point every ten steps, a second each; a run that goes on has one for its checkpoint, before its clock began."""
    steps = np.array([step for step in STEPS[training_id] if step >= min_step], dtype=np.float64)
    seconds = steps - STEPS[training_id][0] - (0 if training_id == "a" else 5)
    values = {name: steps + {"a": 0.1, "b": 0.2, "c": 0.3}[training_id] for name in names}
    return {"step": steps, "tokens": steps * 100, "time": BEGAN[training_id] + seconds / 10, **values}


CHAIN = {one.id: one for one in (continued("a"), continued("b", "a", 50), continued("c", "b", 100))}


def test_the_chain_ends_at_a_run_that_is_gone_and_never_turns_in_a_circle() -> None:
    assert earlier_runs(CHAIN["c"], CHAIN) == (ParentRun(CHAIN["a"], 50, 5000), ParentRun(CHAIN["b"], 100, 10_000))
    assert [one.record.id for one in earlier_runs(CHAIN["c"], {"b": CHAIN["b"]})] == ["b"]
    assert earlier_runs(CHAIN["c"], {}) == earlier_runs(CHAIN["a"], CHAIN) == ()
    turned = {"a": continued("a", "b", 10), "b": continued("b", "a", 50)}
    assert [one.record.id for one in earlier_runs(turned["b"], turned)] == ["a"]


def test_the_curves_before_are_cut_at_the_joints_and_run_on_in_time() -> None:
    asked: list[str] = []

    def read(training_id: str, names: tuple[str, ...], min_step: int) -> dict[str, np.ndarray]:
        asked.append(training_id)
        return read_chain(training_id, names, min_step)

    run = ChartedRun(CHAIN["c"], 0, earlier_runs(CHAIN["c"], CHAIN))
    series = Series(("loss",), read, run)
    series.update(run)
    series.update(replace(run, missed=True))
    assert asked == ["c", "b", "a", "c"]  # what was before is read once
    steps, seconds = series.x("steps"), series.x("time")
    assert steps.tolist() == list(range(10, 201, 10))
    assert series.column("loss").tolist() == [
        s + (0.1 if s <= 50 else 0.2 if s <= 100 else 0.3) for s in range(10, 201, 10)
    ]
    # a took 4 s to step 50, b 4.5 s to step 100; c began then
    assert np.allclose(seconds[:5], np.arange(5))
    assert np.allclose(seconds[9], 8.5)
    assert np.all(np.diff(seconds) > 0)
    assert series.joints("steps") == (50.0, 100.0)
    assert series.joints("tokens", end=5000.0) == (5000.0,)
    assert series.joints("time") == (4.0, 8.5)
    kept_at_one = replace(run.record, facts={**run.record.facts, UNIT_ROWS: 145})
    series.update(replace(run, record=kept_at_one))
    assert series.joints("steps") == (50.0, 100.0, 150.0)  # the next point of the curve
    series.update(replace(run, earlier=()))  # those before it are deleted: the curve begins at the checkpoint
    assert series.x("steps").tolist() == list(range(100, 201, 10))
    assert series.joints("steps") == ()
