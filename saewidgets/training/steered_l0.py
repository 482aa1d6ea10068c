"""Defines `SteeredL0`, which finds the sparsity coefficient that leads to a wanted number of active latents.

After every step the logarithm of the coefficient moves by the logarithm of how far L0 is off, so it settles where L0 is
right whatever the model, the width and the learning rate. Three things keep that from doing harm:

- L0 is led down from what it is at first to its target over the first half of the run. A coefficient that wants to be
  there at once overshoots by several times, and the latents that die of it seldom come back.
- Thresholds, where there are any, are moved along directly: their gradient takes hundreds of steps.
- Of a standard SAE the coefficient stays as it is at first where the run is long enough for L0 to follow it, unless L0
  falls below its target.

It is a function of the finished steps alone, and of the numbers in the checkpoint, so a resumed run goes on exactly.

The coefficient starts in the units of the loss: where activations are not brought to one scale before training, the
first batch sets these units. A run on the same activations at another scale then takes the same steps.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from saewidgets.config.sparsity import coefficient_for
from saewidgets.sae import SAE
from saewidgets.training.schedules import FALL, SHORT

_FARTHEST = 1.5  # of log(L0 / target): what is farther away moves things no faster
_UNSTEERED = 0.3  # share of a run of a standard SAE that is not short
_THRESHOLDS = 0.1  # thresholds move by this power of L0 / target in a step


class SteeredL0:
    """The factor on the sparsity coefficient of `sae`: 1 where that is given, else the coefficient itself."""

    def __init__(self, sae: SAE, steps: int) -> None:
        self._sae, self._steps = sae, steps
        self.target: float | None = getattr(sae.cfg, "aim", None) if sae.is_steered else None
        self._first: Tensor | None = None  # L0 where steering begins
        self._log = torch.zeros((), dtype=torch.float64, device=sae.W_dec.device)  # of the coefficient
        self.scale: Any = 1.0  # a float on the CPU, elsewhere a tensor, so that nothing waits for it
        self.loss_unit = 1.0  # squared error of a row, over what it is where activations have a mean norm of √d
        self.lift_unit = 1.0  # the same of the penalty that lifts dead latents, which is linear in the activations
        if self.target is not None:
            self._log += torch.tensor(coefficient_for(sae.cfg.architecture, self.target, sae.d_out)).log()
            self.scale = self._value(self._log.exp())
        has_thresholds = sae.architecture == "jumprelu"
        self._begin = _UNSTEERED * steps if sae.architecture == "standard" and steps >= SHORT else 0.0
        steps = max(steps, SHORT)  # a shorter run moves things no faster, lest they swing more and more
        # How much of a run moves the coefficient by e where L0 is off by e; the rest is moved at once.
        self._gain, self._at_once = (60.0 / steps, 0.0) if has_thresholds else (20.0 / steps, 0.3)

    @torch.no_grad()
    def start_from(self, x: Tensor, target: Tensor) -> None:
        """Start the coefficient in the units of the first batch, `x` [rows, d_in] and its `target` [rows, d_out]."""
        if self.target is None:
            return
        size = float(self._sae.decoder_target(x, target).norm(dim=1).mean()) / self._sae.d_out**0.5
        weights = self._sae.row_weights(x)
        weight = 1.0 if weights is None else float(weights.sqrt().mean()) ** 2
        if weight * size > 0:  # a batch of zeros has no scale
            self.loss_unit, self.lift_unit = weight * size**2, weight * size
            coefficient = coefficient_for(self._sae.cfg.architecture, self.target, self._sae.d_out * size**2)
            self._log = self._log.new_tensor(coefficient * weight).log()
            self.scale = self._value(self._log.exp())

    @torch.no_grad()
    def after_step(self, step: int, l0: Tensor) -> None:
        """Move the coefficient by the L0 of this step's batch (0-d); the first step is number 0."""
        if self.target is None:
            return
        l0 = l0.to(self._log).clamp_min(1e-3)
        if self._first is None or step <= self._begin:
            self._first = l0
        left = min(1.0, max(0.0, 1 - (step - self._begin) / (FALL * self._steps - self._begin)))
        wanted = self.target * (self._first / self.target).clamp_min(1.0) ** left
        off = (l0 / wanted).log().clamp(-_FARTHEST, _FARTHEST)
        self._log = self._log + self._gain * off
        self.scale = self._value((self._log + self._at_once * off).exp())
        self._sae.scale_thresholds((_THRESHOLDS * off).exp())

    def _value(self, scale: Tensor) -> Any:
        return scale.item() if scale.device.type == "cpu" else scale

    def state(self) -> dict[str, float]:
        """What a resumed run needs; empty where nothing is steered."""
        if self._first is None:
            return {}
        return {
            "first": self._first.item(), "log": self._log.item(), "scale": float(self.scale),
            "loss_unit": self.loss_unit, "lift_unit": self.lift_unit,
        }  # fmt: skip

    def load(self, state: Mapping[str, float]) -> None:
        if state:
            self._first, self._log = (self._log.new_tensor(state[name]) for name in ("first", "log"))
            self.scale = self._value(self._log.new_tensor(state["scale"]))
            self.loss_unit, self.lift_unit = state.get("loss_unit", 1.0), state.get("lift_unit", 1.0)
