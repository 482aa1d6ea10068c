"""Thinning keeps extremes and never jitters; smoothing has no lag; history is read piece by piece."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from saewidgets.widgets.charts.series import MAX_BINS, History, bin_width, make_curve, means, smooth, thin

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


@given(hnp.arrays(np.float64, st.integers(1, 6000), elements=FINITE))
def test_thinning_keeps_bounds_order_and_extremes(y: np.ndarray) -> None:
    x = np.arange(len(y), dtype=np.float64)
    thin_x, thin_y = thin(x, y)
    assert len(thin_x) == len(thin_y) <= 2 * MAX_BINS
    assert np.all(np.diff(thin_x) > 0)
    assert np.array_equal(y[thin_x.astype(int)], thin_y)
    assert thin_y.min() == y.min()
    assert thin_y.max() == y.max()


def test_a_short_series_is_left_alone() -> None:
    x = np.arange(2 * MAX_BINS, dtype=np.float64)
    assert thin(x, x)[0] is x


@pytest.mark.parametrize("n", [1500, 5000, 44_000])
def test_appending_points_does_not_move_older_ones(n: int) -> None:
    y = np.random.default_rng(0).standard_normal(n + 50)
    x = np.arange(n + 50, dtype=np.float64)
    width = bin_width(n)
    assert bin_width(n + 50) == width
    settled = (n // width) * width
    before, after = thin(x[:n], y[:n])[0], thin(x, y)[0]
    assert np.array_equal(before[before < settled], after[after < settled])


def test_bins_only_merge_in_pairs() -> None:
    widths = [bin_width(n) for n in range(1, 200_000, 97)]
    assert widths == sorted(widths)
    assert all(width & (width - 1) == 0 for width in widths)
    assert max(n / bin_width(n) for n in range(1, 200_000, 97)) <= MAX_BINS


def test_bin_means_weigh_every_point_once() -> None:
    y = np.random.default_rng(1).standard_normal(3001)
    x, mean, counts = means(np.arange(3001.0), y)
    assert counts.sum() == 3001
    assert np.isclose((mean * counts).sum(), y.sum())
    assert np.all(np.diff(x) > 0)


@pytest.mark.parametrize("smoothing", [0, 10, 40, 100])
def test_smoothing_keeps_constants(smoothing: int) -> None:
    assert np.allclose(smooth(np.full(300, 0.25), smoothing), 0.25)


@pytest.mark.parametrize("smoothing", [20, 40, 80])
def test_smoothing_does_not_lag_behind_a_slope(smoothing: int) -> None:
    """A one-sided average of a straight line runs beside it, too high or too low by its reach; ours lies on it."""
    y = np.linspace(3.0, 1.0, 500)
    middle = slice(200, 300)
    assert np.allclose(smooth(y, smoothing)[middle], y[middle], atol=0.02)


def test_smoothing_agrees_with_the_sum_it_stands_for() -> None:
    y = np.random.default_rng(2).standard_normal(60)
    reach = 0.15 * 60 * 0.5**2
    distance = np.abs(np.subtract.outer(np.arange(60), np.arange(60)))
    kernel = np.exp(-distance / reach)
    assert np.allclose(smooth(y, 50), kernel @ y / kernel.sum(axis=1))


def test_smoothing_reduces_noise_monotonically() -> None:
    y = np.random.default_rng(3).standard_normal(700)
    spreads = [smooth(y, s).std() for s in (0, 20, 40, 60, 80, 100)]
    assert spreads == sorted(spreads, reverse=True)


def test_missing_values_stay_missing_and_do_no_harm() -> None:
    y = np.ones(100)
    y[[0, 50, 99]] = np.nan
    found = smooth(y, 40)
    assert np.isnan(found[[0, 50, 99]]).all()
    assert np.allclose(np.delete(found, [0, 50, 99]), 1.0)


def test_a_curve_is_small_however_long_the_run() -> None:
    x = np.arange(1_000_000, dtype=np.float64)
    curve = make_curve(x, np.sin(x / 1e5), 40)
    assert len(curve.raw_x) <= 2 * MAX_BINS
    assert len(curve.x) <= MAX_BINS


class Source:
    """A run that grows; remembers what was asked."""

    def __init__(self) -> None:
        self.rows = 0
        self.asked: list[int] = []

    def read(self, names: tuple[str, ...], min_step: int) -> dict[str, np.ndarray]:
        self.asked.append(min_step)
        step = np.arange(1, self.rows + 1, dtype=np.float64) * 10
        step = step[step >= min_step]
        return {"step": step, "tokens": step * 100, "time": step / 10 + 1000, "loss": 1 / step}


def test_history_reads_only_what_is_new() -> None:
    source = Source()
    history = History(("loss", "fvu"), source.read)
    assert history.update() == 0
    source.rows = 100
    assert history.update() == 100
    source.rows = 130
    assert history.update() == 30
    assert history.update() == 0
    assert source.asked == [0, 0, 1000, 1300]
    assert np.array_equal(history.column("step"), np.arange(1, 131) * 10)
    assert np.isnan(history.column("fvu")).all()


def test_history_falls_back_to_the_next_metric_and_skips_what_a_log_axis_cannot_show() -> None:
    source = Source()
    source.rows = 50
    history = History(("loss", "fvu"), source.read)
    history.update()
    curve = history.curve(("fvu", "loss"), "steps", positive=True, smoothing=0)
    assert len(curve.raw_x) == 50
    assert len(history.curve(("fvu",), "steps", positive=True, smoothing=0).x) == 0
    history._columns["loss"][:10] = -1.0
    assert len(history.curve(("loss",), "steps", positive=True, smoothing=0).x) == 40
    assert history.curve(("loss",), "time", positive=True, smoothing=0, start=1000).x[-1] == pytest.approx(50.0)
    history.reset()
    assert len(history) == 0
