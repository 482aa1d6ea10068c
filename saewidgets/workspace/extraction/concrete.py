"""From what a caller asks of an extraction to the configuration that is recorded: it means the same elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig
from saewidgets.config.corpus import PATH_HINT
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.config.names import as_recorded, check_revision
from saewidgets.demo import resolve_model
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.feature_records import ExtractionEstimate
from saewidgets.workspace.capture.using import as_text
from saewidgets.workspace.corpora import located
from saewidgets.workspace.devices import devices
from saewidgets.workspace.held import Held, place_of
from saewidgets.workspace.subjects import CONTEXT, Subject
from saewidgets.workspace.training import estimates

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


_MOST_POSITIONS = 2**31 - 1  # the layout's


def checked(config: ExtractionConfig | Mapping[str, Any] | None) -> ExtractionConfig:
    """The configuration that was given, as an object. Raises `ConfigError` for what is none."""
    if isinstance(config, ExtractionConfig):
        return config
    if config is None:
        return ExtractionConfig()
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"The configuration is a {type(config).__name__}.", where="config",
            hint="Give an ExtractionConfig, or its settings as a dictionary.",
        )
    return ExtractionConfig.from_data(config)


def concrete(
    workspace: Workspace, subject: Subject, config: ExtractionConfig, held: Held | None
) -> ExtractionConfig:
    """The configuration with what stands for something else replaced: it must mean the same elsewhere."""
    from saewidgets.lm import check_context  # torch: seconds to import

    changes: dict[str, Any] = {}
    if subject.hook_name is None:
        raise ConfigError(
            f"It is not known where in a model {subject.name} belongs.", where="hook_name",
            hint="Add it to the library again with hook_name=…, for example \"blocks.6.hook_resid_post\".",
        )
    if held is not None:
        changes["device"] = place_of(held, config.device)
        changes["model"] = config.model or subject.model or held.name
    else:
        changes["device"] = workspace.settings.device_for(config.device)
        changes |= _model(subject, config)
    name = str(changes.get("model") or config.model)
    reads = _reads(name, changes.get("model_revision", config.model_revision), held)
    wanted_size = config.context_size or subject.context_size
    changes["context_size"] = wanted_size or min(CONTEXT, reads or CONTEXT)
    check_context(name, reads, changes["context_size"])
    changes["corpus"] = _corpus(workspace, subject, config)
    if config.tokens > _MOST_POSITIONS:
        raise ConfigError(
            f"At most {_MOST_POSITIONS:,} tokens can be read.", where="tokens", hint="Lower Tokens."
        )
    return config.replace(**changes)


def _corpus(workspace: Workspace, subject: Subject, config: ExtractionConfig) -> Any:
    if config.corpus is None:
        if subject.corpus is None:
            raise ConfigError(
                f"The text that {subject.name} was trained on is not here.", where="corpus",
                hint=PATH_HINT,
            )
        return subject.corpus
    text = as_text(workspace, {**config.corpus.to_data(), **located(config.corpus)})
    if text is None:
        raise ConfigError(
            "The text of these stored activations is not known, or not here.", where="corpus", hint=PATH_HINT
        )
    return text


def _model(subject: Subject, config: ExtractionConfig) -> dict[str, Any]:
    """Which model to load, and how: the one that was asked for, else the SAE's own."""
    name = config.model or subject.model
    if name is None:
        raise ConfigError(
            f"It is not known which model {subject.name} was trained on.", where="model",
            hint='Name it: ExtractionConfig(model="gpt2"), a Hugging Face id or a folder.',
        )
    name = as_recorded(name)
    if config.model is not None:
        check_revision(name, config.model_revision)
        return {"model": name}
    chosen: dict[str, Any] = {"model": name}
    if "model_revision" not in config.model_fields_set:
        chosen["model_revision"] = subject.revision
    if "model_dtype" not in config.model_fields_set:
        chosen["model_dtype"] = subject.dtype
    return chosen


def _reads(name: str, revision: str | None, held: Held | None) -> int | None:
    """The longest context of the model in tokens, as far as that is known before it is loaded."""
    # Torch: seconds to import.
    from saewidgets.lm import stated_sizes
    from saewidgets.lm.model_config import context_of, text_config

    if held is not None:
        return context_of(text_config(held.model))
    try:
        return stated_sizes(resolve_model(name), revision=revision).context
    except NotFoundError:  # the job says so
        return None


_WINDOW, _BINS, _INTERVALS, _SAMPLE = 33, 64, 16, 16_000_000  # as in `features/store/layout.py`
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
    """Estimate an extraction whose configuration is concrete."""
    disk = table_bytes(subject.d_sae, config) + store_bytes(subject.d_sae, config) + 4 * config.tokens
    disk_free = shutil.disk_usage(workspace.folder).free
    found = next((device for device in devices() if device.id == config.device), None)
    free = found.free_bytes if found is not None else None
    model_bytes, rate = _rate(workspace, subject, config)
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
        seconds=config.tokens / rate if rate else None, tokens_per_second=rate, basis="estimated" if rate else "",
        disk_bytes=disk, disk_free=disk_free, memory_bytes=memory, memory_free=free, device=config.device,
        warnings=tuple(warnings),
    )  # fmt: skip


def _sae_bytes(workspace: Workspace, subject: Subject) -> int:
    if subject.of_training or subject.origin.sae_id is None:
        record = workspace.catalog.trainings.get(subject.id)
        return 8 * (record.d_in or 0) * record.d_sae
    return workspace.saes.get(subject.origin.sae_id).size_bytes


def _rate(workspace: Workspace, subject: Subject, config: ExtractionConfig) -> tuple[int, float | None]:
    """Bytes of the model, and tokens per second: the model up to the hook and the encoder, at the speed of a matrix
    product measured now."""
    # Torch: seconds to import.
    from saewidgets.lm import model_facts
    from saewidgets.training.estimate import ModelSize, model_flops

    try:
        facts = model_facts(resolve_model(config.model or ""), revision=config.model_revision)
    except (SAEWidgetsError, OSError):  # not here, and no network: the run itself will say which
        return 0, None
    bytes_ = (facts.parameters or 0) * _DTYPE_BYTES[config.model_dtype]
    try:
        as_training = TrainingConfig(
            model=config.model or "demo", hook_name=subject.hook_name or "", context_size=config.context_size or 128
        )
        size = ModelSize(facts.parameters, facts.d_model, facts.n_layers, facts.vocab_size)
        flops = model_flops(as_training, size) + 2 * size.d_model * subject.d_sae
        busy = bool(estimates.load_of(workspace, config.device)[0])
        return bytes_, _EFFICIENCY * estimates.speed(config.device, config.model_dtype, busy) / flops
    except (SAEWidgetsError, RuntimeError):  # a hook name that no training takes; no memory left on the device
        return bytes_, None
