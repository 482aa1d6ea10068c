"""Defines `MetricWindow`: training metrics summed on the device and read once per log window.

Reading a number from a GPU makes the host wait for it, so a step only adds tensors; `read` is the one place that waits.
The sums over tokens are float64 and divided once, so the values do not depend on how the window was cut into batches.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from saewidgets.sae import Loss

NEVER = -1  # value of `bad_step` while every loss was finite


class MetricWindow:
    """Sums over the steps since the last reading.

    Values (in the units the SAE trains in, that is after input scaling):

    - ``loss`` and its weighted terms (``l1``, ``l0_penalty`` or ``aux``): means over tokens;
    - ``mse``: mean over tokens of ‖x − x̂‖², summed over d_in;
    - ``l0``: mean over tokens of the number of active latents, a count;
    - ``fvu``: Σ‖x − x̂‖² / Σ‖x − μ‖² with μ the mean of the window's tokens;
    - ``grad_norm``: mean over the steps of the gradient's norm before clipping.
    """

    def __init__(self, d_in: int, device: torch.device | str) -> None:
        self._d_in, self._device = d_in, device
        self.reset()

    def reset(self) -> None:
        self.tokens = 0
        self.steps = 0
        self._names: tuple[str, ...] = ()
        self._sums = torch.zeros((), dtype=torch.float64, device=self._device)  # [names], each times its tokens
        self._norms = torch.zeros(2, dtype=torch.float64, device=self._device)  # sum, number of the finite
        self._mean = torch.zeros(self._d_in, dtype=torch.float64, device=self._device)
        self._spread = torch.zeros((), dtype=torch.float64, device=self._device)  # Σ‖x − mean‖² so far
        self._bad_step = torch.full((), NEVER, dtype=torch.int64, device=self._device)

    def copy(self) -> MetricWindow:
        """The window as it is now. Free: sums are replaced by every addition, never changed."""
        return copy.copy(self)

    @torch.no_grad()
    def add_batch(self, x: Tensor, loss: Loss, step: int) -> None:
        """Add one (micro)batch: its inputs [tokens, d_in] and their loss, measured in step number `step`."""
        n = x.shape[0]
        total = loss.total.detach()
        named = {"loss": total, **loss.terms, "mse": loss.mse, "l0": loss.l0}
        self._names = tuple(named)
        row = torch.stack([value.detach().to(self._device, torch.float32) for value in named.values()])
        self._sums = self._sums + row.double() * n
        self._add_spread(x, n)
        first_bad = (self._bad_step == NEVER) & ~torch.isfinite(total)
        self._bad_step = torch.where(first_bad, step, self._bad_step)

    @torch.no_grad()
    def end_step(self, grad_norm: Tensor) -> None:
        finite = torch.isfinite(grad_norm)  # float16 gradients may overflow: that step is skipped, not measured
        self._norms = self._norms + torch.stack([torch.where(finite, grad_norm, 0.0).float(), finite.float()])
        self.steps += 1

    def read(self, extra: Mapping[str, Tensor] | None = None) -> tuple[dict[str, float], int | None]:
        """The values of the window and the first step whose loss was NaN or infinite; both empty without a step.

        `extra` are 0-d tensors on the device to be read along. A value that is not defined (fvu of constant inputs,
        say) is left out.
        """
        if not self.steps:
            return {}, None
        extra = extra or {}
        names = [*self._names, *extra]
        own = torch.stack([self._spread, self._bad_step.double()])
        others = [value.to(self._device, torch.float64).view(1) for value in extra.values()]
        row = torch.cat([self._sums, *others, self._norms, own]).tolist()  # the one wait for the device
        *numbers, norm_sum, norm_count, spread, bad = row
        values = {
            name: value if name in extra else value / self.tokens for name, value in zip(names, numbers, strict=True)
        }
        values["grad_norm"] = norm_sum / norm_count if norm_count else math.nan
        values["fvu"] = values["mse"] * self.tokens / spread if spread > 0 else math.nan
        known = {name: value for name, value in values.items() if math.isfinite(value)}
        return known, None if bad == NEVER else int(bad)

    def _add_spread(self, x: Tensor, n: int) -> None:
        """Chan's pairwise update of mean and Σ‖x − mean‖²: no cancellation where the mean is large."""
        mean = x.mean(0)
        delta = mean.double() - self._mean
        total = self.tokens + n
        spread = (x - mean).square_().sum(dtype=torch.float64)
        self._spread = self._spread + spread + delta.square().sum() * (self.tokens * n / total)
        self._mean = self._mean + delta * (n / total)
        self.tokens = total
