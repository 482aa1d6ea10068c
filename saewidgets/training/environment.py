"""Records what a run's exact results depend on besides its configuration, and compares it when the run resumes."""

import hashlib
import platform
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from saewidgets import products
from saewidgets.activations.stream import device_name
from saewidgets.config.base import dotted
from saewidgets.config.training import TrainingConfig, with_former_defaults
from saewidgets.errors import ConfigError
from saewidgets.version import __version__

# Configuration that a resumed run may change at will: it decides what is shown and kept, not what is learned.
_FREE = (
    "name", "device", "log_every_steps", "evaluation", "checkpoints", "targets", "epochs",
    "model_device", "model_compile",  # what counts is where it was and what was compiled: in the environment
    "activations.buffer_device", "activations.read_ahead",  # they decide when and where, not what
    "from_pretrained",  # its weights are those of the checkpoint by now
    "tokens",  # who trains longer has asked for it
)  # fmt: skip
# Configuration that cannot change: a step would no longer be the same place in the same data, or weights would not fit.
_FIXED = (
    "model", "model_revision", "corpus", "hook_name", "hook_name_out", "context_size", "batch_size", "seed",
    "activations.prepend_bos", "activations.join_documents", "activations.separator",
    "activations.exclude_special_tokens", "activations.exclude_token_ids",
    "activations.seqpos_slice", "activations.shuffle_tokens", "activations.normalize", "activations.norm_tokens",
    "activations.validation_share", "sae.architecture", "sae.d_sae", "sae.apply_b_dec_to_input",
)
_UNCOMPARED = frozenset({"python"})  # recorded for the reader; it computes nothing


def describe_environment(device: str, layout: Mapping[str, Any], compiled: str | None = None) -> dict[str, Any]:
    """Versions, device, threads, what multiplies matrices, what is compiled of the model, and the stream's layout."""
    return {
        "saewidgets": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
        "sae_device": device_name(torch.device(device)),
        "model_compiled": compiled or "no",
        "threads": torch.get_num_threads(),
        "products": products.BY,
        "layout": dict(layout),
    }


def recorded(config: TrainingConfig) -> dict[str, Any]:
    """The configuration as a checkpoint keeps it: text that is held in memory, maybe megabytes, as its SHA-256."""
    data = config.to_data()
    if strings := data["corpus"].get("strings"):
        data["corpus"]["strings"] = text_digest(strings)
    return data


def text_digest(strings: Iterable[str]) -> str:
    """The placeholder for text that is held in memory: ``sha256:…``."""
    digest = hashlib.sha256()
    for text in strings:
        digest.update(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
    return f"sha256:{digest.hexdigest()}"


def compare(state: Mapping[str, Any], config: TrainingConfig, environment: Mapping[str, Any]) -> str | None:
    """Why continuing from a checkpoint's `state` will not be bit-identical; None when it will be. Raises `ConfigError`
    where the configuration differs in something that a run cannot change."""
    counted = with_former_defaults({**state["config"], "epochs": None})  # its tokens are those of its epochs
    before, now = _flat({**counted, "epochs": state["config"].get("epochs")}), _flat(recorded(config))
    changed = [name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
    for name in changed:
        if _within(name, _FIXED):
            raise ConfigError(
                f"The checkpoint was trained with {before.get(name)!r}, not {now.get(name)!r}.", where=name,
                hint="Start a new training instead of resuming this one.",
            )
    told = [name for name in changed if not _within(name, _FREE)]
    reasons = [f"{name} was {_shown(before.get(name))} and is {_shown(now.get(name))}" for name in told]
    reasons += _differences({"products": "those of an earlier version", **state.get("environment", {})}, environment)
    return f"The continuation will not be bit-identical: {'; '.join(reasons)}." if reasons else None


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    old, new = _by_last_part(before), _by_last_part(now)
    return [
        "the text is different" if name == "tokens" else f"{name} was {_shown(old[name])} and is {_shown(new[name])}"
        for name in sorted(old.keys() & new.keys() - _UNCOMPARED)
        if old[name] != new[name]
    ]


def _shown(value: Any) -> str:
    """The text of a value for a sentence: counts with separators."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _by_last_part(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The layout repeats the thread count and the like: one name, one reason."""
    return {name.rsplit(".", 1)[-1]: value for name, value in _flat(environment).items()}


def _within(name: str, fields: tuple[str, ...]) -> bool:
    return any(name == field or name.startswith(f"{field}.") for field in fields)


def _flat(data: Mapping[str, Any]) -> dict[str, Any]:
    """By dotted names; tuples as lists, as they come back from JSON."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in dotted(data)}
