"""What an extraction's bits depend on: a checkpoint is continued only by what it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from saewidgets.config.extraction import ExtractionConfig
from saewidgets.errors import ConfigError
from saewidgets.sae import SAE

_KEPT = (
    "examples", "per_interval", "per_document", "min_activation", "exclude_special_tokens", "max_norm_ratio", "seed",
)
_SAMPLED = 128  # values of every tensor in an SAE's fingerprint


def identity(
    sae: SAE, model: str, tokens: str, contexts: npt.NDArray[np.int64], hook_name: str, config: ExtractionConfig
) -> dict[str, Any]:
    """What has to be the same: fingerprints of SAE, model and text, the hook point and what is kept."""
    settings = config.to_data()
    return {
        **{name: settings[name] for name in _KEPT},
        "sae": sae_fingerprint(sae), "model": model, "tokens": tokens,
        "contexts": hashlib.sha256(np.ascontiguousarray(contexts, "<i8").tobytes()).hexdigest(),
        "hook_name": hook_name,
    }


def environment(device: torch.device, batch_size: int, chunk: int) -> dict[str, Any]:
    """What may differ, but then the last bits of an activation may too."""
    return {
        "torch": torch.__version__, "device": device.type, "threads": torch.get_num_threads(),
        "batch_size": batch_size, "chunk": chunk,
    }


def compare(state: Mapping[str, Any], belongs: Mapping[str, Any], around: Mapping[str, Any]) -> str | None:
    """Why continuing from `state` will not be bit-identical; None when it will be.

    Raises:
        ConfigError: the checkpoint belongs to another extraction; `where` is what differs.
    """
    before = state["identity"]
    for name, value in belongs.items():
        if before.get(name) != value:
            raise ConfigError(
                f"The extraction was begun with {before.get(name)!r}, not {value!r}.", where=name,
                hint="Start a new extraction instead of resuming this one.",
            )
    told = [
        f"{name} was {state['environment'].get(name)} and is {value}"
        for name, value in around.items() if state["environment"].get(name) != value
    ]
    return f"The continuation will not be bit-identical: {'; '.join(told)}." if told else None


def sae_fingerprint(sae: SAE) -> str:
    """A short hash that differs when the weights do: names, shapes and some values of every tensor."""
    digest = hashlib.sha256(f"{sae.architecture} {sae.cfg.model_dump_json()}".encode())
    for name, tensor in sorted(sae.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        if tensor.numel():
            flat = tensor.detach().reshape(-1)
            chosen = torch.linspace(0, flat.numel() - 1, min(_SAMPLED, flat.numel()), dtype=torch.float64).long()
            digest.update(flat[chosen.to(flat.device)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
