"""Which checkpoints stay on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from saewidgets.training.checkpoint import Checkpoint, list_checkpoints, remove_checkpoint

LOWER_IS_BETTER = {"fvu": True, "mse": True, "loss": True, "ce_loss_score": False}


def is_better(metric: str, value: float, best: float | None) -> bool:
    """Whether `value` of this metric is better than the best so far (None: there is none yet)."""
    if best is None:
        return True
    return value < best if LOWER_IS_BETTER[metric] else value > best


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
