"""Skip autoencoder, of miStudio: a part of the input is added to what the latents explain.

    y = (f W_dec + b_dec, in the input's units) + s x        with s the setting `skip_scale` and x as it came
    loss = mean ‖y - x‖² + sparsity_scale · l1_coefficient · mean Σ f_i ‖W_dec,i‖

so the latents are left with (1 - s) x. A learned s stays between 0 and `skip_max`: nothing but the reconstruction
speaks against s = 1, where the latents have nothing left to explain.

Under a normalisation that only scales each token (``constant_norm_rescale``) it is the same whether the normalised or
the raw input takes the side path.
"""

from typing import Any

import torch
from torch import Tensor, nn

from saewidgets.config.sae import SkipConfig
from saewidgets.sae.base import SAE, Loss, LossState
from saewidgets.sae.standard import relu_loss


class SkipSAE(SAE):
    """ReLU autoencoder with a path around the latents. `skip` is a 0-d parameter where it is learned, else None."""

    architecture = "skip"
    _of_training = ("skip",)
    cfg: SkipConfig
    skip: nn.Parameter | None

    def _add_state(self) -> None:
        self.skip = nn.Parameter(torch.empty(())) if self.cfg.learn_skip else None

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        if self.skip is not None:
            self.skip.fill_(self.cfg.skip_scale)

    @property
    def needs_input(self) -> bool:
        return True

    def activate(self, pre: Tensor) -> Tensor:
        return pre.relu()

    def _restore(self, y: Tensor, x: Tensor) -> Tensor:
        return super()._restore(y, x) + self._beside(x)

    def _beside(self, x: Tensor) -> Tensor:
        return (self.cfg.skip_scale if self.skip is None else self.skip) * x

    def _loss(self, x: Tensor, target: Tensor, step: LossState) -> Loss:
        self._into_range()
        beside = self._beside(x if step.units is None else step.units.per_scale(step.units.raw))
        return relu_loss(self, x, target, self.penalty_weight(step), step.weights, beside)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Everything at `lr`; a learned coefficient is never decayed."""
        weights = [parameter for parameter in self.parameters() if parameter is not self.skip]
        groups: list[dict[str, Any]] = [{"params": weights, "lr": lr}]
        if self.skip is not None:
            groups.append({"params": [self.skip], "lr": lr, "weight_decay": 0.0})
        return groups

    @torch.no_grad()
    def _into_range(self) -> None:
        """A learned coefficient back to where it may be. A clamp in the graph would hold it at the bound for good."""
        if self.skip is not None:
            self.skip.clamp_(0, self.cfg.skip_max)

    def to_inference(self) -> SAE:
        self._into_range()
        settings = {} if self.skip is None else {"skip_scale": float(self.skip.detach()), "learn_skip": False}
        return self._frozen_as(InferenceSkip, self.cfg.replace(**settings))


class InferenceSkip(SkipSAE):
    """Skip autoencoder as it is stored: `skip_scale` is a setting."""

    def _add_state(self) -> None:
        self.skip = None

    to_inference = SAE.to_inference
