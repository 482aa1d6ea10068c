"""Whether an autoencoder can be on a device at all: what is larger than its memory would end the whole process."""

from __future__ import annotations

import torch

from saewidgets.config.training import TrainingConfig
from saewidgets.errors import ConfigError
from saewidgets.settings import machine_memory

_COPIES = 4  # of every weight in float32: itself, its gradient, and the two moments of Adam


def require_room(config: TrainingConfig, d_in: int, d_out: int | None, device: str) -> None:
    """Compare weights, gradients and moments of an autoencoder with all the memory of its device.

    Raises:
        ConfigError: they are more.
    """
    latents = config.autoencoder.d_sae
    needed = _COPIES * 4 * latents * (d_in + (d_out or d_in))
    memory = _memory(device)
    if memory is not None and needed > memory:
        raise ConfigError(
            f"{latents:,} latents of width {d_in:,} take {needed / 1e9:,.0f} GB with their gradients and Adam's "
            f"moments; {device} has {memory / 1e9:,.0f} GB.",
            where="sae.d_sae", hint="Lower Latents (d_sae).",
        )


def _memory(device: str) -> int | None:
    """All bytes of a device, used or not; None where it does not tell."""
    if device.startswith("cuda"):
        return int(torch.cuda.get_device_properties(device).total_memory)
    return machine_memory()
