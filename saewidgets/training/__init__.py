"""Training: the loop, its schedules, dead latents, checkpoints, the estimate before Start.

Emits `events`, obeys a `Control`, and knows no job, table or widget. `run_training` is the whole of it from the
configuration to the exported SAE; the names below are imported when first used, since they need torch
(`estimate.estimate_together` does not).
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Checkpoint": "checkpoint", "list_checkpoints": "checkpoint", "newest_whole": "checkpoint", "Task": "member",
    "TrainingResult": "member", "run_group": "run", "run_training": "run",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
