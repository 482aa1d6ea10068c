"""The metric window against numpy over all its tokens at once."""

import numpy as np
import pytest
import torch

from saewidgets.sae import Loss
from saewidgets.training.metrics import MetricWindow


def _loss(total=1.0, mse=1.0, l0=3.0, **terms):
    tensors = {name: torch.tensor(value) for name, value in {"mse": mse, **terms}.items()}
    empty = torch.zeros(0)
    return Loss(torch.tensor(total), tensors, torch.tensor(mse), empty, torch.tensor(l0), empty)


@pytest.mark.parametrize(
    ("mean", "spread", "sizes"), [(0.0, 1.0, [64]), (2.0, 3.0, [10, 1, 53]), (300.0, 0.1, [1] * 20)]
)
def test_fvu_is_one_division_of_sums_whatever_the_batches(mean, spread, sizes):
    """Also where the mean is 3,000 times the spread, which a difference of raw sums would not survive in float32."""
    generator = np.random.default_rng(0)
    x = (mean + spread * generator.standard_normal((sum(sizes), 5))).astype(np.float32)
    error = (0.5 * spread * generator.standard_normal(x.shape)).astype(np.float32)
    window, start = MetricWindow(5, "cpu"), 0
    for size in sizes:
        part = slice(start, start + size)
        window.add_batch(torch.from_numpy(x[part]), _loss(mse=float((error[part] ** 2).sum() / size)), 0)
        start += size
    window.end_step(torch.tensor(1.0))
    values, bad = window.read()
    exact = x.astype(np.float64)
    assert values["fvu"] == pytest.approx((error**2).sum() / ((exact - exact.mean(0)) ** 2).sum(), rel=1e-4)
    assert values["mse"] == pytest.approx((error**2).sum() / len(x), rel=1e-4)
    assert bad is None


def test_means_are_over_tokens():
    window = MetricWindow(2, "cpu")
    window.add_batch(torch.randn(10, 2), _loss(total=1.0, l0=2.0, l1=0.5), 0)
    window.add_batch(torch.randn(30, 2), _loss(total=3.0, l0=6.0, l1=1.5), 0)
    window.end_step(torch.tensor(4.0))
    values, _ = window.read({"dead": torch.tensor(0.25)})
    assert values["l0"] == pytest.approx((10 * 2 + 30 * 6) / 40)
    assert values["loss"] == pytest.approx((10 * 1 + 30 * 3) / 40)
    assert values["l1"] == pytest.approx((10 * 0.5 + 30 * 1.5) / 40)
    assert values["grad_norm"] == 4.0
    assert values["dead"] == 0.25


def test_the_first_bad_step_is_named():
    window = MetricWindow(2, "cpu")
    for step, total in enumerate([1.0, 2.0, float("inf"), float("nan"), 1.0]):
        window.add_batch(torch.randn(4, 2), _loss(total=total), step)
        window.end_step(torch.tensor(1.0))
    assert window.read()[1] == 2


def test_an_empty_window_and_a_copy():
    window = MetricWindow(2, "cpu")
    assert window.read() == ({}, None)
    window.add_batch(torch.randn(4, 2), _loss(l0=1.0), 0)
    before = window.copy()
    window.add_batch(torch.randn(4, 2), _loss(l0=9.0), 0)
    for item in (before, window):
        item.end_step(torch.tensor(1.0))
    assert before.read()[0]["l0"] == 1.0
    assert window.read()[0]["l0"] == 5.0
    window.reset()
    assert window.read() == ({}, None)
