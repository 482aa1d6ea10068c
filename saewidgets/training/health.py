"""When a run stops by itself: `LossWatch` and errors for NaN, divergence and out of memory; and `Targets`, whether it
has reached its targets.

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

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from saewidgets.config.training import TargetsConfig, TrainingConfig
from saewidgets.errors import TrainingError
from saewidgets.events import LogLine
from saewidgets.render.numbers import metric, tokens
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
        names = ("lowest", "previous", "rises", "lowest_fvu", "high")
        return {name: getattr(self, name) for name in names}

    def load(self, state: Mapping[str, Any]) -> None:
        self.lowest, self.previous, self.rises = state["lowest"], state["previous"], int(state["rises"])
        self.lowest_fvu, self.high = state["lowest_fvu"], int(state["high"])


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all are finite. Waits for the device once."""
    return bool(torch.stack([torch.isfinite(t).all() for t in tensors if t.is_floating_point()]).all())


_STOPPED = {
    "nan": "Loss became NaN at {place}.",
    "overflow": "float16 gradients overflow in every step up to {place}: nothing is learned.",
    "diverged": "Loss diverged at {place}: {loss:.4g}, over {factor:g} times its lowest value of {lowest:.4g} and "
    "still rising.",
    "blew_up": "Loss diverged by {place}: the reconstruction is {fvu} times worse than a constant one (FVU).",
}


def stopped(
    why: str, step: int, config: TrainingConfig, found: Sequence[Checkpoint], **values: float | str
) -> TrainingError:
    """The error that ends a run at a step: a loss or weight that is not finite (``nan``), float16 gradients that
    overflow in every step (``overflow``), a loss that grew and keeps growing (``diverged``: `loss`, `lowest`), or a
    reconstruction that became far worse than none (``blew_up``: `fvu`). `found`: its checkpoints, newest first."""
    place = f"step {step:,} ({tokens(step * config.batch_size)} tokens)"
    what = _STOPPED[why].format(place=place, factor=FACTOR, **values)
    resumes = bool(found) and is_good(found[0])  # whether a resumed run would go on from a good one
    if why == "overflow":
        hint = f"{describe(found)} Use bfloat16 or float32."
        return TrainingError(what, where="precision", hint=hint, step=step, resumes=resumes)
    clip = config.optimizer.grad_clip
    clip_advice = "set Gradient clip to 1.0" if clip is None else f"lower Gradient clip (now {clip:g})"
    again = "" if any(map(is_good, found)) else ", and retry"
    hint = f"{describe(found)} Lower Learning rate (now {config.learning_rate:g}), or {clip_advice}{again}."
    kind = "nan" if why == "nan" else "diverged"
    return TrainingError(what, where="loss", hint=hint, kind=kind, step=step, resumes=resumes)


def out_of_memory_error(device: str, done: int, config: TrainingConfig, error: BaseException) -> TrainingError:
    """The error for a device that ran out of memory."""
    detail = str(error).splitlines()[0] if str(error) else type(error).__name__
    return TrainingError(
        f"Out of memory on {device} at {done:,} tokens.",
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


# Targets are judged by evaluations on held-out text. These happen at fixed steps, so a run that was paused and resumed
# reaches its targets at the same step as one that was not. (Log windows would not do: a pause cuts one in two.)
class Targets:
    """Counts evaluations in a row that meet the targets, and those with an L0 outside its range. `reached_at` is the
    step at which the targets were reached."""

    def __init__(self, config: TargetsConfig) -> None:
        self.config = config
        self.reached_at: int | None = None
        self._met = 0
        self._outside = 0

    @property
    def ends_the_run(self) -> bool:
        return self.reached_at is not None and self.config.action == "stop"

    def judge(self, step: int, values: Mapping[str, float]) -> list[LogLine]:
        """Add one evaluation made after the warm-ups. Returns the line for the log."""
        if not self.config.any:
            return []
        said: list[LogLine] = []
        missed = self.missed(values)
        self._met = 0 if missed else self._met + 1
        if self._met >= self.config.evaluations and self.reached_at is None:
            self.reached_at = step
            end = " The run ends here." if self.config.action == "stop" else ""
            said.append(LogLine(f"The targets are reached at step {step:,}: {self._stand(values)}.{end}"))
        self._outside = self._outside + 1 if any(name == "val_l0" for name, _ in missed) else 0
        if self._outside == self.config.evaluations:
            sentence = next(text for name, text in missed if name == "val_l0")
            said.append(LogLine(f"{sentence} (step {step:,}).", "warning"))
        return said

    def missed(self, values: Mapping[str, float]) -> list[tuple[str, str]]:
        """Metric and sentence (no full stop) of every target that `values` do not meet. What is not known is missed."""
        config, missed = self.config, []
        for name, word, low, high in (
            ("val_fvu", "FVU", None, config.fvu),
            ("val_mse", "The reconstruction loss", None, config.mse),
            ("val_l0", "L0", config.l0_min, config.l0_max),
        ):
            value = values.get(name)
            if low is None and high is None:
                continue
            if value is None:
                missed.append((name, f"{word} is not known"))
            elif low is not None and value < low:
                missed.append((name, f"{word} is {value:.4g}, below its least of {low:g}"))
            elif high is not None and value > high:
                missed.append((name, f"{word} is {value:.4g}, above its target of {high:g}"))
        return missed

    def at_the_end(self, values: Mapping[str, float]) -> list[str]:
        """Warnings about targets that a run did not meet when it ended by itself."""
        if not self.config.any or self.reached_at is not None:
            return []
        return [f"A target was missed: {sentence}." for _, sentence in self.missed(values)]

    def state(self) -> dict[str, Any]:
        return {"reached_at": self.reached_at, "met": self._met, "outside": self._outside}

    def load(self, state: Mapping[str, Any]) -> None:
        """State of an older version has none of this."""
        self.reached_at = state.get("reached_at")
        self._met, self._outside = int(state.get("met", 0)), int(state.get("outside", 0))

    def _stand(self, values: Mapping[str, float]) -> str:
        shown = {"val_fvu": "FVU", "val_mse": "reconstruction loss", "val_l0": "L0"}
        return ", ".join(f"{word} {values[name]:.4g}" for name, word in shown.items() if name in values)
