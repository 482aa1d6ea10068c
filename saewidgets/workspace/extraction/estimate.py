"""What an extraction will take: bytes from its shapes, time from what was measured here or from what it computes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from saewidgets.config import TrainingConfig
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.demo import resolve_model
from saewidgets.errors import SAEWidgetsError
from saewidgets.events import JobStatus
from saewidgets.feature_records import ExtractionEstimate
from saewidgets.workspace.devices import devices
from saewidgets.workspace.subjects import Subject
from saewidgets.workspace.training import estimates

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

_WINDOW, _BINS, _INTERVALS, _SAMPLE = 33, 64, 16, 16_000_000  # as in `features/store/layout.py`
_MEASURED_SECONDS = 2.0  # how long an extraction must have run to stand for another
_LOOK_BACK = 50
_FILLED = 8  # values of a window that are not zero, as they are stored: most latents fire on one token in a hundred
_DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_WORKING = 512 * 1024**2  # blocks of latents and activations, and torch with its kernels loaded
_RARE = 100_000  # with fewer tokens rare latents are hardly seen
# Share of the speed of a matrix product that a pass reaches: the model's own, and keeping count of what fires.
_EFFICIENCY = 0.4


def table_bytes(d_sae: int, config: ExtractionConfig) -> int:
    """What a pass keeps of all latents in memory, which is also what a checkpoint takes."""
    kept = config.examples + _INTERVALS * config.per_interval
    return d_sae * (kept * (4 + 8 + 8 + 2 * _WINDOW) + 4 * _BINS + 64)


def store_bytes(d_sae: int, config: ExtractionConfig) -> int:
    """What it leaves on the disk, about."""
    kept = config.examples + _INTERVALS * config.per_interval
    sample = min(_SAMPLE, 64 * config.tokens) * 4
    return d_sae * (kept * (4 + 4 + 1 + 3 * _FILLED) + 4 * _BINS + 64) + sample


def estimate(workspace: Workspace, subject: Subject, config: ExtractionConfig) -> ExtractionEstimate:
    """Estimate an extraction whose configuration is concrete.

    Raises:
        ConfigError: the device does not exist here.
    """
    disk = table_bytes(subject.d_sae, config) + store_bytes(subject.d_sae, config) + 4 * config.tokens
    disk_free = shutil.disk_usage(workspace.folder).free
    found = next((device for device in devices() if device.id == config.device), None)
    free = found.free_bytes if found is not None else None
    model_bytes, rate, basis = _rate(workspace, subject, config)
    memory = _WORKING + table_bytes(subject.d_sae, config) + _sae_bytes(workspace, subject) + model_bytes
    warnings = []
    if free is not None and memory > free:
        warnings.append(
            f"This needs more memory than is free on {config.device}. Lower Examples per feature or Per interval."
        )
    if disk > disk_free:
        warnings.append("What it writes does not fit on the disk.")
    if config.tokens < _RARE:
        warnings.append("Latents that fire rarely are hardly seen on so little text.")
    return ExtractionEstimate(
        seconds=config.tokens / rate if rate else None, tokens_per_second=rate, basis=basis, disk_bytes=disk,
        disk_free=disk_free, memory_bytes=memory, memory_free=free, device=config.device, warnings=tuple(warnings),
    )  # fmt: skip


def _sae_bytes(workspace: Workspace, subject: Subject) -> int:
    if subject.of_training or subject.origin.sae_id is None:
        record = workspace.catalog.trainings.get(subject.id)
        return 8 * (record.d_in or 0) * record.d_sae
    return workspace.saes.get(subject.origin.sae_id).size_bytes


def _rate(workspace: Workspace, subject: Subject, config: ExtractionConfig) -> tuple[int, float | None, str]:
    """Bytes of the model, tokens per second, and in words where that is from."""
    measured = _measured(workspace, subject, config)
    try:
        from saewidgets.lm import model_facts  # torch: seconds to import

        name = resolve_model(config.model or "")
        facts = model_facts(name, revision=config.model_revision)
    except (SAEWidgetsError, OSError):  # not here, and no network: the run itself will say which
        return 0, measured, "measured on this device" if measured else ""
    bytes_ = (facts.parameters or 0) * _DTYPE_BYTES[config.model_dtype]
    if measured:
        return bytes_, measured, "measured on this device"
    rate = _from_products(workspace, subject, config, facts)
    return bytes_, rate, "estimated" if rate else ""


def _measured(workspace: Workspace, subject: Subject, config: ExtractionConfig) -> float | None:
    """Tokens per second of an extraction of the same model, hook point and width here."""
    for record in workspace.catalog.extractions.list(status=JobStatus.COMPLETED, limit=_LOOK_BACK):
        same = (
            record.model == config.model and record.hook_name == subject.hook_name and record.d_sae == subject.d_sae
            and record.config.get("device") == config.device and record.host == workspace.settings.host
        )  # fmt: skip
        if same and record.seconds_running > _MEASURED_SECONDS:
            return record.tokens_total / record.seconds_running
    return None


def _from_products(workspace: Workspace, subject: Subject, config: ExtractionConfig, facts: object) -> float | None:
    """The model up to the hook and the encoder, at the speed of a matrix product measured now."""
    from saewidgets.training.estimate import ModelSize, model_flops  # torch: seconds to import

    size = ModelSize(facts.parameters, facts.d_model, facts.n_layers, facts.vocab_size)  # type: ignore[attr-defined]
    try:
        as_training = TrainingConfig(
            model=config.model or "demo", hook_name=subject.hook_name or "", context_size=config.context_size or 128
        )
        flops = model_flops(as_training, size) + 2 * size.d_model * subject.d_sae
        busy = bool(estimates.load_of(workspace, config.device)[0])
        return _EFFICIENCY * estimates.speed(config.device, config.model_dtype, busy) / flops
    except (SAEWidgetsError, RuntimeError):  # a hook name that no training takes; no memory left on the device
        return None
