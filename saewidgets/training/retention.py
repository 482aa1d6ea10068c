"""Which checkpoints stay on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from saewidgets.training.checkpoint import Checkpoint, list_checkpoints, remove_checkpoint

LOWER_IS_BETTER = {"fvu": True, "mse": True, "loss": True, "ce_loss_score": False}
EVALUATED = {"fvu": "val_fvu", "mse": "val_mse", "ce_loss_score": "ce_loss_score", "loss": "loss"}
"""What an evaluation measures of each metric that the best checkpoint may be chosen by."""


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Whether `value` of this metric is better than the best so far (None: there is none yet)."""
    if best is None:
        return True
    return value < best if LOWER_IS_BETTER[metric] else value > best


def best_left(checkpoints: Sequence[Checkpoint], metric: str) -> tuple[Checkpoint, float] | None:
    """The best of these by `metric`, with its value, as the run itself would have chosen; None: none can be compared.

    A run that is evaluated compares what an evaluation at the very step measured, others the training metrics. What
    was written before there was a best one does not count: it is of the warm-up.
    """
    evaluated = any(c.state.get("evaluated_at", -1) >= 0 for c in checkpoints)
    found: tuple[Checkpoint, float] | None = None
    for checkpoint in sorted(checkpoints, key=lambda c: c.step):
        state = checkpoint.state
        counts = state.get("best") is not None and (not evaluated or state["evaluated_at"] == checkpoint.step)
        value = state.get("metrics", {}).get(EVALUATED[metric] if evaluated else metric)
        if counts and value is not None and is_better(metric, value, found and found[1]):
            found = checkpoint, value
    return found


def superseded(checkpoints: Sequence[Checkpoint], keep_every: bool) -> list[Checkpoint]:
    """Those nobody needs any more: not the newest, not the newest best, not one to keep or that somebody asked for.

    `checkpoints` are newest first, as `list_checkpoints` returns them.
    """
    best = next((c for c in checkpoints if "best" in c.kinds), None)
    kept = {"manual", "every"} if keep_every else {"manual"}
    return [c for c in checkpoints[1:] if c is not best and not kept.intersection(c.kinds)]


def rotate(folder: Path, keep_every: bool) -> list[Path]:
    """Delete the superseded checkpoints in `folder`, once the newest one is whole. Returns their paths."""
    gone = [c.path for c in superseded(list_checkpoints(folder), keep_every)]
    for path in gone:
        remove_checkpoint(path)
    return gone
