"""The metric window against numpy over all its tokens at once, and what counts as divergence."""

from pathlib import Path

import numpy as np
import pytest
import torch

from saewidgets.config import TrainingConfig
from saewidgets.sae import Loss
from saewidgets.training import health
from saewidgets.training.checkpoint import Checkpoint
from saewidgets.training.health import LossWatch
from saewidgets.training.metrics import MetricWindow


def _loss(total=1.0, mse=1.0, l0=3.0, **terms):
    tensors = {name: torch.tensor(value) for name, value in {"mse": mse, **terms}.items()}
    empty = torch.zeros(0)
    return Loss(torch.tensor(total), tensors, torch.tensor(mse), empty, torch.tensor(l0), empty)


@pytest.mark.parametrize(
    ("mean", "spread", "sizes"), [(0.0, 1.0, [64]), (2.0, 3.0, [10, 1, 53]), (300.0, 0.1, [1] * 20)]
)
def test_fvu_is_one_division_of_sums_for_any_batches(mean, spread, sizes):
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


def _first_alarm(losses, fvu=2.0):
    watch = LossWatch()
    return next((i for i, loss in enumerate(losses) if watch.diverged(loss, fvu)), None)


def test_ten_times_the_lowest_and_three_rises_in_a_row():
    assert _first_alarm([5, 1, 4, 9, 11]) == 4
    assert _first_alarm([5, 1, 11]) is None  # one rise only
    assert _first_alarm([5, 1, 4, 9, 9.9]) is None  # not ten times
    assert _first_alarm([5, 1, 20, 19, 20, 19, 20]) is None  # high, but not rising


def test_noise_around_a_tiny_loss_is_not_divergence():
    assert _first_alarm([1e-6, 1e-5, 2e-5, 3e-5, 9e-5], fvu=1e-4) is None


def test_the_watch_survives_a_checkpoint():
    watch, other = LossWatch(), LossWatch()
    for loss in (5.0, 1.0, 4.0, 9.0):
        assert not watch.diverged(loss, 2.0)
    other.load(watch.state())
    assert other.diverged(11.0, 2.0)


def test_nan_error_reads_as_a_person_would_say_it():
    error = health.stopped("nan", 449, TrainingConfig(optimizer={"lr": 1e-3, "grad_clip": None}), [])
    assert error.what == "Loss became NaN at step 449 (1.8M tokens)."
    assert error.hint == (
        "There is no checkpoint yet. Lower Learning rate (now 0.001), or set Gradient clip to 1.0, and retry."
    )
    assert not error.resumes


def _checkpoint(step, evaluated_at=-1, watch=None, **metrics):
    state = {
        "step": step, "metrics": metrics, "evaluated_at": evaluated_at,
        "watch": watch or {"high": 0, "lowest": None},
    }
    return Checkpoint(Path("step"), state)


@pytest.mark.parametrize(
    ("found", "words", "resumes"),
    [
        ([_checkpoint(400, fvu=0.164)], "Last good checkpoint: step 400, FVU 0.164.", True),
        ([_checkpoint(28, fvu=28867680.2)], "No checkpoint is good; the newest is step 28, FVU 2.9e7.", False),
        # Resuming would begin at the newest, so the good one before it is only named.
        ([_checkpoint(40, fvu=3.0), _checkpoint(20, fvu=0.9)], "Last good checkpoint: step 20, FVU 0.900.", False),
        # What held-out text once said is of another step.
        ([_checkpoint(40, fvu=7.0, val_fvu=0.5, evaluated_at=20)], "No checkpoint is good; the newest is step 40,",
         False),
        ([_checkpoint(40, fvu=0.4, val_fvu=0.5, evaluated_at=40)], "Last good checkpoint: step 40, FVU 0.500.", True),
        # Without any finite FVU the loss decides.
        ([_checkpoint(40, loss=1.0, watch={"high": 0, "lowest": 0.5})], "Last good checkpoint: step 40.", True),
        ([_checkpoint(40, loss=9.0, watch={"high": 0, "lowest": 0.5})], "No checkpoint is good; the newest is step 40.",
         False),
        ([_checkpoint(40, watch={"high": 2, "lowest": None})], "No checkpoint is good; the newest is step 40.", False),
    ],
)
def test_only_a_checkpoint_from_before_the_divergence_is_good(found, words, resumes):
    for error in (
        health.stopped("blew_up", 76, TrainingConfig(), found, fvu="4e7"),
        health.stopped("overflow", 76, TrainingConfig(), found),
    ):
        assert error.hint.startswith(words)
        assert error.resumes is resumes
    retry = ", and retry." if words.startswith("No") else "."
    assert health.stopped("nan", 76, TrainingConfig(), found).hint.endswith(f"Gradient clip (now 1){retry}")


def test_what_counts_as_out_of_memory():
    assert health.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert health.is_out_of_memory(MemoryError())
    assert not health.is_out_of_memory(RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.float32)
    assert health.is_out_of_memory(caught.value)
