"""What a run will need on a device, from what earlier runs measured there."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.jobs import compute_lane
from saewidgets.records import TrainingRecord
from saewidgets.training.estimate import ModelSize, estimate

if TYPE_CHECKING:
    from saewidgets.lm import ModelFacts
    from saewidgets.workspace.devices import Device
    from saewidgets.workspace.workspace import Workspace

_LOOK_BACK = 50  # runs among which a comparable one is looked for


def load_of(workspace: Workspace, device: str) -> tuple[int, int]:
    """How many jobs run and wait on a device of this machine."""
    lane = compute_lane(workspace.settings.host, device)
    records = [job for job in workspace.manager.list(status=_BUSY) if job.lane == lane]
    waiting = sum(job.status is JobStatus.QUEUED for job in records)
    return len(records) - waiting, waiting


_BUSY = frozenset({JobStatus.QUEUED, JobStatus.STARTING, JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.STOPPING})


def measured_rate(workspace: Workspace, config: TrainingConfig, device: str) -> float | None:
    """Tokens per second of the newest run here that did the same work per token, if there is one."""
    lane = compute_lane(workspace.settings.host, device)
    for record in workspace.catalog.trainings.list(limit=_LOOK_BACK):
        if record.lane == lane and _same_work(record, config) and record.seconds_running > 1:
            rate = record.tokens_done / record.seconds_running
            if rate > 0:
                return rate
    return None


def _same_work(record: TrainingRecord, config: TrainingConfig) -> bool:
    then = TrainingConfig.from_data(record.config)
    keys = ("model", "hook_name", "context_size", "batch_size", "precision", "model_dtype")
    return (
        all(getattr(then, key) == getattr(config, key) for key in keys)
        and then.sae.architecture == config.sae.architecture
        and then.sae.d_sae == config.sae.d_sae
        and getattr(then.sae, "k", None) == getattr(config.sae, "k", None)
    )


def estimate_run(workspace: Workspace, config: TrainingConfig, facts: ModelFacts, device: Device) -> dict[str, Any]:
    """Data of `messages.Estimate` for a checked configuration."""
    rate = measured_rate(workspace, config, device.id)
    size = ModelSize(facts.parameters, facts.d_model, facts.n_layers, facts.vocab_size)
    found = estimate(config, size, facts.d_model, measured_rate=rate, device=device.id)
    running, waiting = load_of(workspace, device.id)
    disk_free = shutil.disk_usage(workspace.folder).free
    warnings = []
    if device.free_bytes is not None and found.total_bytes > device.free_bytes:
        warnings.append(
            f"This needs more memory than is free on {device.id}. Lower Latents (d_sae) or Shuffle window (tokens)."
        )
    if found.disk_bytes > disk_free:
        warnings.append("The checkpoints do not fit on the disk.")
    data = {
        **asdict(found), "device": device.id, "memory_total_bytes": found.total_bytes,
        "device_total_bytes": device.total_bytes, "device_free_bytes": device.free_bytes, "disk_free_bytes": disk_free,
        "queue": running + waiting, "warnings": tuple(warnings),
    }  # fmt: skip
    return data
