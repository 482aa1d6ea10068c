"""Which checkpoints stay: latest, best, every."""

import pytest
import torch

from saewidgets.training.checkpoint import is_better, list_checkpoints, rotate, write_checkpoint


def _run(folder, written, keep_every):
    """Write checkpoints one after another, rotating after each; returns what remains and what each write removed."""
    removed = []
    for step, kinds in written:
        write_checkpoint(folder, step, {"w": torch.zeros(1)}, {}, {"tokens": step, "kinds": kinds})
        removed.append([path.name[-2:] for path in rotate(folder, keep_every)])
    return [c.step for c in list_checkpoints(folder)], removed


def test_latest_and_best_stay(tmp_path):
    written = [
        (10, ["latest", "best"]), (20, ["latest", "best"]), (30, ["latest"]), (40, ["latest"]), (50, ["latest", "best"])
    ]
    remaining, removed = _run(tmp_path, written, keep_every=False)
    assert remaining == [50]
    assert removed == [[], ["10"], [], ["30"], ["40", "20"]]


def test_keep_every_keeps_periodic_ones_only(tmp_path):
    written = [(10, ["latest", "every"]), (15, ["latest"]), (20, ["latest", "every"])]
    assert _run(tmp_path, written, keep_every=True)[0] == [20, 10]


@pytest.mark.parametrize("metric", ["fvu", "mse", "loss"])
def test_lower_is_better(metric):
    assert is_better(metric, 0.1, 0.2)
    assert not is_better(metric, 0.2, 0.2)
    assert is_better(metric, 9.0, None)


def test_ce_loss_score_is_better_when_higher():
    assert is_better("ce_loss_score", 0.9, 0.8)
    assert not is_better("ce_loss_score", 0.7, 0.8)
