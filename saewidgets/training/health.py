"""When a run must stop itself: NaN, divergence, out of memory. And what it then says.

**NaN**: the loss of any batch, or any parameter, is NaN or infinite. Looked at once per log window and before anything
is written to disk, so a whole checkpoint is always a good one.

**Overflow**: float16 gradients stay infinite however far their scale is lowered, so that every step is skipped.

**Divergence**: once both warm-ups are over, the mean loss of a log window is above `FACTOR` times the lowest window so
far, has risen in `RISES` windows in a row, and fvu is above `FVU`. The last condition leaves alone runs whose loss is
so close to zero that a factor of ten is noise; a diverging SAE reconstructs worse than that at once.

**Blow-up**: at any time, warm-ups included, fvu is above `FACTOR` and above `FACTOR` times its lowest value so far,
`HIGH` windows in a row. An SAE that merely starts badly gets better; this one got worse and stayed there.

**A good checkpoint** is one with an fvu of at most `GOOD`, on the batches of its step and on held-out text where that
was measured then. Checkpoints are written while a loss grows, too: the newest before the end is often none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from saewidgets.config.training import TrainingConfig
from saewidgets.errors import TrainingError
from saewidgets.render.numbers import decimal, metric
from saewidgets.training.checkpoint import Checkpoint

FACTOR, RISES, FVU, HIGH = 10.0, 3, 0.5, 5
GOOD = 1.0  # the fvu of the mean of the activations, which takes no latent at all


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


def nan_error(step: int, tokens: int, config: TrainingConfig, found: Sequence[Checkpoint]) -> TrainingError:
    """The error for a loss or weight that is not finite. `found`: the checkpoints, newest first, here and below."""
    what = f"Loss became NaN at step {step:,} ({short_count(tokens)} tokens)."
    return _stopped(what, "nan", step, config, found)


def overflow_error(step: int, tokens: int, found: Sequence[Checkpoint]) -> TrainingError:
    """The error for float16 gradients that overflow in step after step, so that every step is skipped."""
    return TrainingError(
        f"float16 gradients overflow in every step (step {step:,}, {short_count(tokens)} tokens): nothing is learned.",
        where="precision",
        hint=f"{describe(found)} Use bfloat16 or float32.",
        step=step,
        resumes=_resumes(found),
    )


def divergence_error(
    step: int, tokens: int, loss: float, lowest: float, config: TrainingConfig, found: Sequence[Checkpoint]
) -> TrainingError:
    """The error for a loss that grew and kept growing."""
    what = (
        f"Loss diverged at step {step:,} ({short_count(tokens)} tokens): "
        f"{loss:.4g}, over {FACTOR:g} times its lowest value of {lowest:.4g} and still rising."
    )
    return _stopped(what, "diverged", step, config, found)


def blown_up_error(
    step: int, tokens: int, fvu: float, config: TrainingConfig, found: Sequence[Checkpoint]
) -> TrainingError:
    """The error for a reconstruction that became far worse than none."""
    what = (
        f"Loss diverged by step {step:,} ({short_count(tokens)} tokens): "
        f"the reconstruction is {decimal(fvu, 0)} times worse than a constant one (FVU)."
    )
    return _stopped(what, "diverged", step, config, found)


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


def _stopped(
    what: str, kind: str, step: int, config: TrainingConfig, found: Sequence[Checkpoint]
) -> TrainingError:
    clip = config.optimizer.grad_clip
    clip_advice = "set Gradient clip to 1.0" if clip is None else f"lower Gradient clip (now {clip:g})"
    lower = f"Lower Learning rate (now {config.optimizer.lr:g}), or {clip_advice}"
    again = "" if any(map(is_good, found)) else ", and retry"
    hint = f"{describe(found)} {lower}{again}."
    return TrainingError(what, where="loss", hint=hint, kind=kind, step=step, resumes=_resumes(found))


def _resumes(found: Sequence[Checkpoint]) -> bool:
    """Whether the checkpoint that a resumed run would go on from is good."""
    return bool(found) and is_good(found[0])


def is_good(checkpoint: Checkpoint) -> bool:
    """Whether a run is worth going on with from here: it had not gone wrong by then."""
    values = _fvu(checkpoint)
    if values:
        return max(values) <= GOOD
    # Nothing finite was measured (no variance in the batches, say, or far too much): the loss has to do.
    watch = checkpoint.state["watch"]
    loss = (checkpoint.state.get("metrics") or {}).get("loss")
    return loss is not None and not watch["high"] and (watch["lowest"] is None or loss <= FACTOR * watch["lowest"])


def describe(found: Sequence[Checkpoint]) -> str:
    """``"Last good checkpoint: step 400, FVU 0.164."``, or that there is none. `found`: newest first."""
    good = next(filter(is_good, found), None)
    if good is not None:
        return f"Last good checkpoint: {_words(good)}."
    return f"No checkpoint is good; the newest is {_words(found[0])}." if found else "There is no checkpoint yet."


def _words(checkpoint: Checkpoint) -> str:
    values = _fvu(checkpoint)
    return f"step {checkpoint.step:,}" + (f", FVU {metric('fvu', values[-1])}" if values else "")


def _fvu(checkpoint: Checkpoint) -> list[float]:
    """What was measured at its very step: on training batches, then on held-out text."""
    metrics = checkpoint.state.get("metrics") or {}
    held_out = ["val_fvu"] if checkpoint.state.get("evaluated_at") == checkpoint.step else []
    values = [metrics.get(name) for name in ("fvu", *held_out)]
    return [float(value) for value in values if isinstance(value, int | float) and math.isfinite(value)]
