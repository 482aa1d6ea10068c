"""`devices` lists what a run can compute on; `estimate_runs` estimates what runs will need, from a device's speed.
Used by `Workspace`, the form and extractions."""

from __future__ import annotations

import math
import os
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig
from saewidgets.config.training import dead_window, usual_rate
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus
from saewidgets.records import DeviceInfo, JobRecord, TrainingRecord
from saewidgets.settings import SLEEP_SOON, free_memory, machine_memory, spins
from saewidgets.training.estimate import SPARSE, ModelSize, estimate_together, evaluation_share, model_flops, sae_flops
from saewidgets.workspace.capture.stored_corpus import store_of

if TYPE_CHECKING:
    from saewidgets.lm import ModelFacts
    from saewidgets.workspace.workspace import Workspace

_PROBE_SECONDS = 0.2
_PROBE_SIZE = {"cpu": 1024, "cuda": 4096}
_PROBES = 3
_RECENT_RUNS = 50  # among which one is looked for that tells how fast training is
_alike = attrgetter(  # what runs on one model and device have in common if one tells how fast the other is
    "model_dtype", "precision", "model_device", "model_compile", "activations.buffer_device", "activations.read_ahead",
    "parallel",
)  # fmt: skip
# Share of the speed of a product that the language model and the steps reach, operations counted as `training.estimate`
# does: forwards of four models on a CPU reached 0.71 to 0.87, steps 0.4 (TopK) to 0.8 (standard). Not compared on CUDA.
FORWARD_EFFICIENCY, STEP_EFFICIENCY = 0.75, 0.4


def devices() -> tuple[DeviceInfo, ...]:
    """All devices of this machine, the preferred one first."""
    import torch  # seconds to import: only when the list is asked for

    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            found.append(DeviceInfo(f"cuda:{index}", f"cuda:{index} ({total / 1e9:.1f} GB)", total, free))
    memory, available = machine_memory(), free_memory()
    label = f"cpu ({os.cpu_count()} cores, {memory / 1e9:.1f} GB)" if memory else "cpu"
    return (*found, DeviceInfo("cpu", label, memory, available))


def devices_of_jobs(workspace: Workspace) -> tuple[DeviceInfo, ...]:
    """As `devices`, where the jobs of the workspace run. Nothing is known of the memory and speed of a cluster's."""
    return workspace.settings.places[1:] or devices()


_measuring = threading.Lock()  # two checks at once would disturb each other's measurement
_measured: dict[tuple[str, str], tuple[float, int]] = {}


def speed(device: str, dtype: str, busy: bool) -> float:
    """Operations per second of matrix products on a device: the best of some probes, one per call while it is not
    `busy`, as other programs can only slow a product down."""
    with _measuring:
        best, probes = _measured.get((device, dtype), (0.0, 0))
        if best == 0.0 or (probes < _PROBES and not busy):
            best = max(best, matrix_rate(device, dtype))
            _measured[device, dtype] = (best, probes + (not busy))
        return best


def matrix_rate(device: str, dtype: str, seconds: float = _PROBE_SECONDS) -> float:
    """Operations per second of the fastest of the square matrix products on a device that take about `seconds`."""
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
        best = spent = product()  # loads the kernel
        count = 0
        while spent < seconds and count < 1000:
            best = min(best, last := product())
            spent += last
            count += 1
    return 2.0 * size**3 / max(best, 1e-9)


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of a run: before training, per token that the model computes, and per token of all trainings' steps."""

    start: float
    fill: float
    step: float
    basis: str  # the origin of these numbers, for the reader

    def seconds(self, config: TrainingConfig) -> float:
        """Of a run without its evaluations. The model computes whole windows, and what the scale is measured on."""
        tokens = config.steps * config.batch_size
        window = config.batch_size * max(1, round(config.activations.shuffle_tokens / config.batch_size))
        measured = config.activations.norm_tokens if config.activations.is_measured else 0
        computed = math.ceil(tokens / window) * window + max(0, measured - window)
        return self.start + self.fill * computed + self.step * tokens


def costs_together(
    workspace: Workspace, configs: Sequence[TrainingConfig], model: ModelSize, device: str
) -> Costs | None:
    """The costs of trainings that share one forward: those of a completed run on the same model and device, else by the
    speed of products in their number formats; both by the operations of the deepest forward and of all steps."""
    if workspace.settings.places:
        return None
    first, sparse = configs[0], device == "cpu"
    forward = max(model_flops(config, model) for config in configs)
    steps = sum(sae_flops(config, model.d_model, sparse=sparse) for config in configs)
    if (known := _completed_run(workspace, first, device)) is not None:
        record, config, costs = known
        fill = costs.get("fill", 0.0) * forward / (model_flops(config, model) or 1.0)
        step = costs["step"] * steps / sae_flops(config, model.d_model, sparse=sparse)
        return Costs(costs["start"], fill, step, f"measured in {record.name}")
    busy = bool(load_of(workspace, device)[0])
    try:
        fill = forward / speed(first.model_device or device, first.model_dtype, busy)
        step = steps / speed(device, first.precision, busy)
    except RuntimeError:  # no memory left on the device, or no such product there: the run itself will say which
        return None
    return Costs(0.0, fill / FORWARD_EFFICIENCY, step / STEP_EFFICIENCY, "estimated")


def _completed_run(
    workspace: Workspace, config: TrainingConfig, device: str
) -> tuple[TrainingRecord, TrainingConfig, Mapping[str, float]] | None:
    """The newest run that tells how fast such a training is, if possible of the same architecture, or at least with the
    same kernels; its settings and costs."""
    lane, stored = workspace.manager.lane(device), config.corpus.kind == "activations"
    best, nearness = None, -1
    for record in workspace.catalog.trainings.list(status=JobStatus.COMPLETED, limit=_RECENT_RUNS):
        costs, other = record.facts.get("costs"), config_of(record)
        if other is None or not isinstance(costs, Mapping) or "step" not in costs:
            continue
        names = {config.model, str(Path(config.model).expanduser().absolute())}
        is_alike = record.group_id is None and record.lane == lane and record.model in names
        is_alike = is_alike and (other.corpus.kind == "activations") == stored and ("fill" in costs or stored)
        if not is_alike or _alike(config) != _alike(other):
            continue
        ours, theirs = config.sae.architecture, other.sae.architecture
        near = (ours == theirs) + ((ours in SPARSE) == (theirs in SPARSE))
        if near > nearness:
            best, nearness = (record, other, costs), near
    return best


def rate_together(
    workspace: Workspace, configs: Sequence[TrainingConfig], model: ModelSize, device: str
) -> float | None:
    """Tokens per second that trainings which share one forward reach, each of them, evaluations counted."""
    costs = costs_together(workspace, configs, model, device)
    return None if costs is None else 1 / (costs.fill + costs.step) / (1 + _share(configs, model, device))


def _share(configs: Sequence[TrainingConfig], model: ModelSize, device: str) -> float:
    return evaluation_share(configs, model, sparse=device == "cpu")


def config_of(record: TrainingRecord) -> TrainingConfig | None:
    """The settings of a run, less its text, with the tokens that its epochs are; None if another version wrote them."""
    data = dict(record.config)
    if store_of(data.get("corpus")) is None:  # of a store no model runs
        data["corpus"] = "demo"
    if data.get("epochs") is not None:
        data["tokens"] = record.tokens_total
    try:
        return TrainingConfig.from_data(data)
    except ConfigError:
        return None


def dead_window_of(record: TrainingRecord) -> int:
    """In how many tokens a latent of this run has to fire."""
    given, batch_size = (int(record.config.get(name) or 0) for name in ("dead_window_tokens", "batch_size"))
    return given or dead_window(record.tokens_total, batch_size)


def learning_rate_of(record: TrainingRecord) -> float:
    """The peak learning rate of this run."""
    given, batch_size = record.config.get("optimizer", {}).get("lr"), int(record.config.get("batch_size") or 1)
    return float(given or usual_rate(record.architecture, record.d_sae, record.tokens_total // batch_size))


def load_of(workspace: Workspace, device: str) -> tuple[int, int]:
    """How many jobs run and wait on a device of this machine."""
    jobs = _jobs_on(workspace, device)
    waiting = sum(job.status is JobStatus.QUEUED for job in jobs)
    return len(jobs) - waiting, waiting


def _jobs_on(workspace: Workspace, device: str) -> list[JobRecord]:
    lane, going = workspace.manager.lane(device), [s for s in JobStatus if s.is_active or s is JobStatus.QUEUED]
    return [job for job in workspace.manager.list(status=going) if job.lane == lane]


def queue_seconds(workspace: Workspace, device: str, known: Mapping[str, ModelSize]) -> float | None:
    """How long a run that is queued now waits, by the sizes of `known` models; None if unknown."""
    left = [_seconds_left(workspace, job, device, known) for job in _jobs_on(workspace, device)]
    return None if None in left else float(sum(each or 0.0 for each in left))


def _seconds_left(workspace: Workspace, job: JobRecord, device: str, known: Mapping[str, ModelSize]) -> float | None:
    if job.status in (JobStatus.PAUSING, JobStatus.STOPPING):
        return 0.0
    progress = job.progress
    if progress is not None and progress.eta_seconds is not None and job.status is not JobStatus.QUEUED:
        return progress.eta_seconds if math.isfinite(progress.eta_seconds) else None
    records = [each for each in workspace.catalog.trainings.by_job(job.id)[::-1] if not each.ended_alone]
    if not records:
        return None
    record = min(records, key=lambda each: each.tokens_done)
    configs = [config_of(each) for each in records]
    size = known.get(record.model)
    if size is None or None in configs:
        return None
    rate = rate_together(workspace, [each for each in configs if each is not None], size, device)
    return (record.tokens_total - record.tokens_done) / rate if rate else None


def estimate_runs(
    workspace: Workspace, configs: Sequence[TrainingConfig], facts: ModelFacts, device: DeviceInfo,
    others: Mapping[str, DeviceInfo],
) -> dict[str, Any]:
    """Data of `messages.EstimateData` for trainings that share a job; `others` are their second devices by name."""
    whole = []
    for config in configs:
        named = {"model_device": config.model_device, "activations.buffer_device": config.activations.buffer_device}
        full = {name: others[value].id for name, value in named.items() if value and value in others}
        whole.append(config.replace(**full))  # "cuda" is the first one
    configs, config = whole, whole[0]
    size = ModelSize(facts.parameters, facts.d_model, facts.n_layers, facts.vocab_size, not facts.is_encoder)
    costs = costs_together(workspace, configs, size, device.id)
    share = _share(configs, size, device.id)
    rate = None if costs is None else 1 / (costs.fill + costs.step) / (1 + share)
    widths = {name: facts.d_in(name) for each in configs for name in each.hook_names}
    found = estimate_together(configs, size, widths, rate=rate, device=device.id)
    if costs is not None and found.seconds is not None:
        trained = config.steps * config.batch_size * (costs.fill + costs.step)
        found = replace(found, seconds=costs.seconds(config) + share * trained, basis=costs.basis)
    ahead = 0 if workspace.settings.places else sum(load_of(workspace, device.id))  # how a cluster queues is its own
    disk_free = shutil.disk_usage(workspace.folder).free
    warnings = []
    if device.free_bytes is not None and found.total_bytes > device.free_bytes:
        lower = "Lower" if len(configs) == 1 else "Train fewer at a time, or lower"
        warnings.append(
            f"This needs more memory than is free on {device.id}. {lower} Latents (d_sae) or Shuffle window (tokens)."
        )
    free = {each.id: each.free_bytes for each in others.values()}
    for each in found.elsewhere:
        if (left := free.get(each.device)) is not None and each.total_bytes > left:
            warnings.append(f"This needs more memory than is free on {each.device}.")
    if device.id == "cpu" and workspace.settings.runner == "thread" and not workspace.settings.places and spins():
        from saewidgets.training.threads import others_compute  # torch

        if others_compute():
            warnings.append(
                f"Other programs use the cores, and threads of this process spin while they wait: set {SLEEP_SOON} "
                "before Python starts."
            )
    if found.disk_bytes > disk_free:
        warnings.append("The checkpoints do not fit on the disk.")
    known = {config.model: size, str(Path(config.model).expanduser().absolute()): size}
    return {
        **asdict(found), "device": device.id, "memory_total_bytes": found.total_bytes,
        "device_total_bytes": device.total_bytes, "device_free_bytes": device.free_bytes, "disk_free_bytes": disk_free,
        "queue": ahead,
        "queue_seconds": queue_seconds(workspace, device.id, known) if ahead else None,
        "warnings": tuple(warnings),
        "elsewhere": tuple(
            {**asdict(each), "total_bytes": each.total_bytes, "free_bytes": free.get(each.device)}
            for each in found.elsewhere
        ),
    }  # fmt: skip
