"""What a run will need on a device: from runs that were measured there, else from how fast the device multiplies."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus
from saewidgets.jobs import compute_lane
from saewidgets.records import JobRecord, TrainingRecord
from saewidgets.training.estimate import ModelSize, estimate_together, flops_per_token, model_flops

if TYPE_CHECKING:
    from saewidgets.lm import ModelFacts
    from saewidgets.workspace.devices import Device
    from saewidgets.workspace.workspace import Workspace

_LOOK_BACK = 50  # runs among which a comparable one is looked for
_IDENTICAL_SECONDS = 1.0  # how long a run must have run to stand for another of the same settings
_SCALED_SECONDS = 5.0  # and for one of other settings: starting up is no small part of less
_FARTHEST = 100.0  # times more or fewer operations per token: a run farther away says less than a matrix product
_PROBE_SECONDS = 0.2
_PROBE_SIZE = {"cpu": 1024, "cuda": 4096}
# Share of the speed of a product that a whole run reaches, with the operations counted as `flops_per_token` does. Short
# runs of the demo model (120,000 tokens, one core of a shared 2-core machine, 100 GFLOP/s in float32, in seconds of
# that core) reached while training: TopK 0.67, with 8,192 latents 0.73, in batches of 256 0.59, BatchTopK 0.51,
# JumpReLU 0.72, standard 0.78. Evaluations and checkpoints take about a tenth of a run. Not yet compared on CUDA.
EFFICIENCY = 0.6


class _Speed:
    """Operations per second of a matrix product, measured once per device and number format in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], tuple[float, bool]] = {}

    def get(self, device: str, dtype: str, busy: bool) -> float:
        """`busy`: a run is using the device, so what is measured now holds only while that is so."""
        with self._lock:  # two checks at once would disturb each other's measurement
            rate, was_busy = self._found.get((device, dtype), (0.0, True))
            if rate == 0.0 or (was_busy and not busy):
                rate = matrix_rate(device, dtype)
                self._found[device, dtype] = (rate, busy)
            return rate


_speed = _Speed()


def speed(device: str, dtype: str, busy: bool) -> float:
    """Operations per second of matrix products; see `_Speed.get`."""
    return _speed.get(device, dtype, busy)


def matrix_rate(device: str, dtype: str, seconds: float = _PROBE_SECONDS) -> float:
    """Operations per second of square matrix products on a device, measured for about `seconds`."""
    import torch  # seconds to import

    kind = device.split(":")[0]
    size = _PROBE_SIZE.get(kind, _PROBE_SIZE["cuda"])
    # Not from the global generator: that one belongs to the user's cells.
    a = torch.ones(size, size, dtype=getattr(torch, dtype), device=device)
    out = torch.empty_like(a)

    def product() -> float:
        begin = time.perf_counter()
        torch.mm(a, a, out=out)
        if kind == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begin

    with torch.no_grad():
        first = product()  # loads the kernel
        spent, count = (first, 1) if first > seconds else (0.0, 0)
        while spent < seconds and count < 1000:
            spent += product()
            count += 1
    return 2.0 * size**3 * count / max(spent, 1e-9)


# ------------------------------------------------------------------------------------------------ rates


def rate_of(
    workspace: Workspace, config: TrainingConfig, model: ModelSize, device: str, *, probe: bool = True
) -> tuple[float | None, str]:
    """Tokens per second that `config` will reach on a device, and in words where that is from.

    In order: a run of the same settings here; the run here that is nearest in operations per token, scaled; a matrix
    product measured now, with `probe`.
    """
    sparse = device == "cpu"
    flops = flops_per_token(config, model, model.d_model, sparse=sparse)
    nearest: tuple[float, float, str] | None = None
    for record, then in _runs(workspace, device):
        rate = _rate(record)
        if _same_work(then, config):
            return rate, "measured on this device"
        size = _size_of(record, then, config, model)
        if size is None or record.seconds_running < _SCALED_SECONDS or then.precision != config.precision:
            continue
        ratio = flops_per_token(then, size, size.d_model, sparse=sparse) / flops
        distance = abs(math.log(ratio)) + 0.5 * (then.sae.architecture != config.sae.architecture)
        if distance < math.log(_FARTHEST) and (nearest is None or distance < nearest[0]):
            nearest = (distance, rate * ratio, record.name)
    if nearest is not None:
        return nearest[1], f"estimated from {nearest[2]}"
    return (_from_products(workspace, config, model, device, flops), "estimated") if probe else (None, "")


def rate_together(
    workspace: Workspace, configs: Sequence[TrainingConfig], model: ModelSize, device: str
) -> tuple[float | None, str]:
    """The same for trainings that share one forward: that of the deepest, and every autoencoder's own work."""
    if len(configs) == 1:
        return rate_of(workspace, configs[0], model, device)
    of_model, of_saes, basis = 0.0, 0.0, ""
    for config in configs:
        rate, basis = rate_of(workspace, config, model, device)
        if rate is None:
            return None, ""
        share = model_flops(config, model) / flops_per_token(config, model, model.d_model, sparse=device == "cpu")
        of_model, of_saes = max(of_model, share / rate), of_saes + (1 - share) / rate
    return 1 / (of_model + of_saes), basis.replace("measured on this device", "estimated from single runs")


def _runs(workspace: Workspace, device: str) -> Iterator[tuple[TrainingRecord, TrainingConfig]]:
    """Runs of this device that went on long enough to be a measurement, newest first."""
    lane = compute_lane(workspace.settings.host, device)
    for record in workspace.catalog.trainings.list(limit=_LOOK_BACK):
        alone = record.group_id is None  # the seconds of a group are those of all its runs
        if alone and record.lane == lane and record.seconds_running > _IDENTICAL_SECONDS and record.tokens_done > 0:
            config = _config_of(record)
            if config is not None:
                yield record, config


def _rate(record: TrainingRecord) -> float:
    """Tokens per second over the whole run; of one that runs now the recent rate, since it has only just begun."""
    recent = record.progress.rate if record.progress is not None and record.status is JobStatus.RUNNING else None
    return recent if recent and math.isfinite(recent) else record.tokens_done / record.seconds_running


def _config_of(record: TrainingRecord) -> TrainingConfig | None:
    """The settings of a run, less its text, which may lie elsewhere; None if another version wrote them."""
    try:
        return TrainingConfig.from_data({**record.config, "corpus": "demo"})
    except ConfigError:
        return None


def _same_work(then: TrainingConfig, config: TrainingConfig) -> bool:
    keys = ("hook_name", "context_size", "batch_size", "precision", "model_dtype", "gradient_accumulation")
    return (
        _same_model(then, config)
        and (then.corpus.kind == "activations") == (config.corpus.kind == "activations")
        and all(getattr(then, key) == getattr(config, key) for key in keys)
        and then.sae.architecture == config.sae.architecture
        and then.sae.d_sae == config.sae.d_sae
        and getattr(then.sae, "k", None) == getattr(config.sae, "k", None)
    )


def _same_model(then: TrainingConfig, config: TrainingConfig) -> bool:
    """A folder may be written in several ways; runs keep its absolute path."""
    return then.model == config.model or then.model == str(Path(config.model).expanduser().absolute())


def _size_of(
    record: TrainingRecord, then: TrainingConfig, config: TrainingConfig, model: ModelSize
) -> ModelSize | None:
    """Sizes of the model of an earlier run, if they are known."""
    if _same_model(then, config):
        return model
    facts = record.facts.get("model_facts") or {}
    try:
        return _size(facts)
    except (KeyError, TypeError, ValueError):
        return None


def _size(facts: Mapping[str, Any]) -> ModelSize:
    return ModelSize(facts.get("parameters"), int(facts["d_model"]), int(facts["n_layers"]), facts.get("vocab_size"))


def _from_products(
    workspace: Workspace, config: TrainingConfig, model: ModelSize, device: str, flops: float
) -> float | None:
    """Each part at the speed of its own number format."""
    busy = bool(load_of(workspace, device)[0])
    of_model = model_flops(config, model)
    try:
        seconds = of_model / _speed.get(device, config.model_dtype, busy)
        seconds += (flops - of_model) / _speed.get(device, config.precision, busy)
    except RuntimeError:  # no memory left on the device, or no such product there: the run itself will say which
        return None
    return EFFICIENCY / seconds


# ------------------------------------------------------------------------------------------------ queue


def load_of(workspace: Workspace, device: str) -> tuple[int, int]:
    """How many jobs run and wait on a device of this machine."""
    jobs = _busy_jobs(workspace, device)
    waiting = sum(job.status is JobStatus.QUEUED for job in jobs)
    return len(jobs) - waiting, waiting


def _busy_jobs(workspace: Workspace, device: str) -> list[JobRecord]:
    lane = compute_lane(workspace.settings.host, device)
    return [job for job in workspace.manager.list(status=_BUSY) if job.lane == lane]


_BUSY = frozenset({JobStatus.QUEUED, JobStatus.STARTING, JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.STOPPING})


def queue_seconds(workspace: Workspace, device: str, known: Mapping[str, ModelSize]) -> float | None:
    """How long a run that is queued now waits for the device; 0 when it is free, None when that cannot be told.

    `known`: sizes of models, by name; those that were used here before are found.
    """
    total = 0.0
    for job in _busy_jobs(workspace, device):
        left = _seconds_left(workspace, job, device, known)
        if left is None:
            return None
        total += left
    return total


def _seconds_left(
    workspace: Workspace, job: JobRecord, device: str, known: Mapping[str, ModelSize]
) -> float | None:
    if job.status in (JobStatus.PAUSING, JobStatus.STOPPING):
        return 0.0
    progress = job.progress
    if progress is not None and progress.eta_seconds is not None and job.status is not JobStatus.QUEUED:
        return progress.eta_seconds if math.isfinite(progress.eta_seconds) else None
    records = [each for each in workspace.catalog.trainings.by_job(job.id) if not each.ended_alone]
    if not records:
        return None
    record = min(records, key=lambda each: each.tokens_done)
    configs = [_config_of(each) for each in records]
    size = known.get(record.model) or _size_of_queued(workspace, record)
    if size is None or None in configs:
        return None
    rate = rate_together(workspace, [each for each in configs if each is not None], size, device)[0]
    return (record.tokens_total - record.tokens_done) / rate if rate else None


def _size_of_queued(workspace: Workspace, record: TrainingRecord) -> ModelSize | None:
    """Sizes of the model of a run that has not begun: as an earlier run of the same model found them."""
    for earlier in (record, *workspace.catalog.trainings.list(limit=_LOOK_BACK)):
        if earlier.model == record.model and (earlier.facts.get("model_facts") or {}).get("d_model"):
            return _size(earlier.facts["model_facts"])
    return None


# ------------------------------------------------------------------------------------------------ all of it


def estimate_runs(
    workspace: Workspace, configs: Sequence[TrainingConfig], facts: ModelFacts, device: Device
) -> dict[str, Any]:
    """Data of `messages.Estimate` for a checked configuration, or for several that are trained together."""
    config = configs[0]
    size = ModelSize(facts.parameters, facts.d_model, facts.n_layers, facts.vocab_size)
    rate, basis = rate_together(workspace, configs, size, device.id)
    widths = {name: facts.d_in(name) for each in configs for name in each.hook_names}
    found = estimate_together(configs, size, widths, rate=rate, basis=basis, device=device.id)
    running, waiting = load_of(workspace, device.id)
    disk_free = shutil.disk_usage(workspace.folder).free
    warnings = []
    if device.free_bytes is not None and found.total_bytes > device.free_bytes:
        fewer = "" if len(configs) == 1 else "Train fewer at a time, or lower"
        warnings.append(
            f"This needs more memory than is free on {device.id}. {fewer or 'Lower'} Latents (d_sae) or Shuffle window "
            "(tokens)."
        )
    if found.disk_bytes > disk_free:
        warnings.append("The checkpoints do not fit on the disk.")
    known = {config.model: size, str(Path(config.model).expanduser().absolute()): size}
    data = {
        **asdict(found), "device": device.id, "memory_total_bytes": found.total_bytes,
        "device_total_bytes": device.total_bytes, "device_free_bytes": device.free_bytes, "disk_free_bytes": disk_free,
        "queue": running + waiting,
        "queue_seconds": queue_seconds(workspace, device.id, known) if running + waiting else None,
        "warnings": tuple(warnings),
    }  # fmt: skip
    return data
