"""When a run must stop itself: NaN, divergence, out of memory. And what it then says.

**NaN**: the loss of any batch, or any parameter, is NaN or infinite. Looked at once per log window and before anything
is written to disk, so a whole checkpoint is always a good one.

**Overflow**: float16 gradients stay infinite however far their scale is lowered, so that every step is skipped.

**Divergence**: once both warm-ups are over, the mean loss of a log window is above `FACTOR` times the lowest window so
far, has risen in `RISES` windows in a row, and fvu is above `FVU`. The last condition leaves alone runs whose loss is
so close to zero that a factor of ten is noise; a diverging SAE reconstructs worse than that at once.

**Blow-up**: at any time, warm-ups included, fvu is above `FACTOR` and above `FACTOR` times its lowest value so far,
`HIGH` windows in a row. An SAE that merely starts badly gets better; this one got worse and stayed there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from saewidgets.config.training import TrainingConfig
from saewidgets.errors import TrainingError
from saewidgets.training.checkpoint import Checkpoint

FACTOR, RISES, FVU, HIGH = 10.0, 3, 0.5, 5


class LossWatch:
    """Remembers the lowest window, how long the loss has been rising, and how long fvu has been far too high."""

    def __init__(self) -> None:
        self.lowest_fvu: float | None = None
        self.high = 0
        self.lowest: float | None = None
        self.previous: float | None = None
        self.rises = 0

    def diverged(self, loss: float, fvu: float) -> bool:
        """Add one window after the warm-ups; True when the rule above says that the run diverged."""
        self.rises = self.rises + 1 if self.previous is not None and loss > self.previous else 0
        self.previous = loss
        self.lowest = loss if self.lowest is None else min(self.lowest, loss)
        return self.rises >= RISES and loss > FACTOR * self.lowest and fvu > FVU

    def blew_up(self, fvu: float) -> bool:
        """Add one window, from the first on; True when it is one too many."""
        self.lowest_fvu = fvu if self.lowest_fvu is None else min(self.lowest_fvu, fvu)
        self.high = self.high + 1 if fvu > FACTOR * max(1.0, self.lowest_fvu) else 0
        return self.high >= HIGH

    def state(self) -> dict[str, Any]:
        """Plain JSON data for a checkpoint."""
        names = ("lowest", "previous", "rises", "lowest_fvu", "high")
        return {name: getattr(self, name) for name in names}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue where a checkpoint left off."""
        self.lowest, self.previous, self.rises = state["lowest"], state["previous"], int(state["rises"])
        self.lowest_fvu, self.high = state["lowest_fvu"], int(state["high"])


def all_finite(module: nn.Module) -> bool:
    """Whether every parameter and buffer is finite. Waits for the device once."""
    tensors = [t.detach() for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
    return bool(torch.stack([torch.isfinite(t).all() for t in tensors]).all())


def short_count(n: int) -> str:
    """1234 → ``"1,234"``, 360448 → ``"360,448"``, 1839104 → ``"1.84M"``, 2.5e9 → ``"2.50B"``."""
    for size, letter in ((1_000_000_000, "B"), (1_000_000, "M")):
        if n >= size:
            return f"{n / size:.2f}{letter}"
    return f"{n:,}"


def nan_error(step: int, tokens: int, config: TrainingConfig, last: Checkpoint | None) -> TrainingError:
    """The error for a loss or weight that is not finite."""
    what = f"Loss became NaN at step {step:,} ({short_count(tokens)} tokens)."
    return TrainingError(what, where="loss", hint=_advice(config, last), kind="nan", step=step)


def overflow_error(step: int, tokens: int, last: Checkpoint | None) -> TrainingError:
    """The error for float16 gradients that overflow in step after step, so that every step is skipped."""
    return TrainingError(
        f"float16 gradients overflow in every step (step {step:,}, {short_count(tokens)} tokens): nothing is learned.",
        where="precision",
        hint=f"Last good checkpoint: {describe(last)}. Use bfloat16 or float32.",
        step=step,
    )


def divergence_error(
    step: int, tokens: int, loss: float, lowest: float, config: TrainingConfig, last: Checkpoint | None
) -> TrainingError:
    """The error for a loss that grew and kept growing."""
    what = (
        f"Loss diverged at step {step:,} ({short_count(tokens)} tokens): "
        f"{loss:.4g}, over {FACTOR:g} times its lowest value of {lowest:.4g} and still rising."
    )
    return TrainingError(what, where="loss", hint=_advice(config, last), kind="diverged", step=step)


def blown_up_error(
    step: int, tokens: int, fvu: float, config: TrainingConfig, last: Checkpoint | None
) -> TrainingError:
    """The error for a reconstruction that became far worse than none."""
    what = (
        f"Loss diverged by step {step:,} ({short_count(tokens)} tokens): "
        f"the reconstruction is {fvu:,.0f} times worse than a constant one (FVU)."
    )
    return TrainingError(what, where="loss", hint=_advice(config, last), kind="diverged", step=step)


def out_of_memory_error(device: str, tokens: int, config: TrainingConfig, error: BaseException) -> TrainingError:
    """The error for a device that ran out of memory."""
    detail = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TrainingError(
        f"Out of memory on {device} at {tokens:,} tokens.",
        where="device",
        hint=(
            f"Lower Batch size (now {config.batch_size:,}; or raise Gradient accumulation, now "
            f"{config.gradient_accumulation:,}) and Contexts per forward (now "
            f"{config.activations.model_batch_size:,}). The device said: {detail}"
        ),
        kind="out_of_memory",
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` means that a device's memory is full (the CPU allocator raises a plain RuntimeError)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("DefaultCPUAllocator" in text or "not enough memory" in text)


def _advice(config: TrainingConfig, last: Checkpoint | None) -> str:
    clip = config.optimizer.grad_clip
    clip_advice = "set Gradient clip to 1.0" if clip is None else f"lower Gradient clip (now {clip:g})"
    return (
        f"Last good checkpoint: {describe(last)}. "
        f"Lower Learning rate (now {config.optimizer.lr:g}), or {clip_advice}."
    )


def describe(checkpoint: Checkpoint | None) -> str:
    """``"step 400, FVU 0.164"``, or ``"none"``."""
    if checkpoint is None:
        return "none"
    metrics = checkpoint.state.get("metrics") or {}
    fvu = metrics.get("val_fvu", metrics.get("fvu"))
    known = isinstance(fvu, float) and math.isfinite(fvu)
    return f"step {checkpoint.step:,}" + (f", FVU {fvu:.3f}" if known else "")
