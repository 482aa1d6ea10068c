"""JumpReLU: a learned threshold per latent and an L0 penalty (Rajamanoharan et al. 2024, arXiv:2407.14435).

Neither the jump nor the count of active latents has a useful derivative with respect to the threshold, so both get a
straight-through estimate: with bandwidth ε and K(u) = 1 for |u| < 1/2, else 0,

    ∂ JumpReLU(p) / ∂θ := -(θ/ε) K((p - θ)/ε)        ∂ H(p - θ) / ∂θ := -(1/ε) K((p - θ)/ε)

Thresholds are learned as logarithms, so they stay positive. Adam moves every parameter by about its learning rate per
step, and a logarithm by that little means a threshold that hardly changes and an L0 that never falls: thresholds
therefore learn `THRESHOLD_LR` times as fast as the weights (docs/sae.md has the experiment).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from saewidgets.config.sae import JumpReLUConfig
from saewidgets.sae.base import SAE, Loss, LossState, ParamGroup, squared_error
from saewidgets.sae.kernels.dense import JumpReLUActivation

THRESHOLD_LR = 10.0


def jump_relu(pre: Tensor, threshold: Tensor) -> Tensor:
    """``relu(pre)`` where ``pre > threshold`` (strictly), else 0."""
    return pre.relu() * (pre > threshold)


class _JumpReLU(SAE):
    """What the trained and the loaded form share; they differ in how they hold the threshold."""

    architecture = "jumprelu"
    cfg: JumpReLUConfig
    threshold: Tensor

    def activate(self, pre: Tensor) -> Tensor:
        return jump_relu(pre, self.threshold.to(pre.dtype))

    def _loss(self, x: Tensor, target: Tensor, step: LossState) -> Loss:
        """``mse + sparsity_scale · l0_coefficient · mean number of active latents``."""
        coefficient = self.cfg.l0_coefficient * step.sparsity_scale
        if self._fast_path(x, target):
            activation = JumpReLUActivation(self.threshold, self.cfg.bandwidth, coefficient)
            return self._dense_loss(x, target, activation, "l0_penalty")
        pre = self.pre_activations(x).float()
        threshold = self.threshold.float()
        f = _Jump.apply(pre, threshold, self.cfg.bandwidth)  # type: ignore[no-untyped-call]
        counts = _Step.apply(pre, threshold, self.cfg.bandwidth)  # type: ignore[no-untyped-call]
        reconstruction = self.decode(f).float()
        mse = squared_error(reconstruction, target)
        l0 = counts.sum(1).mean()
        penalty = coefficient * l0
        return Loss(
            mse + penalty, {"mse": mse.detach(), "l0_penalty": penalty.detach()}, mse.detach(), reconstruction.detach(),
            l0.detach(), counts.detach().bool().any(0),
        )

    def inference_tensors(self) -> Mapping[str, Tensor]:
        return {**super().inference_tensors(), "threshold": self.threshold.detach()}


class JumpReLUSAE(_JumpReLU):
    """JumpReLU autoencoder in training: `log_threshold` [d_sae] is a parameter, `threshold` its exponential."""

    log_threshold: nn.Parameter

    def _add_state(self) -> None:
        self.log_threshold = nn.Parameter(torch.empty(self.d_sae))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        self.log_threshold.fill_(math.log(self.cfg.initial_threshold))

    @property
    def threshold(self) -> Tensor:  # type: ignore[override]
        """[d_sae], differentiable with respect to `log_threshold`."""
        return self.log_threshold.exp()

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """The weights at `lr`; thresholds at `THRESHOLD_LR` times that, and never decayed (zero would mean θ = 1)."""
        weights = [p for name, p in self.named_parameters() if name != "log_threshold"]
        return [
            ParamGroup(weights, lr).as_dict(),
            ParamGroup([self.log_threshold], lr * THRESHOLD_LR, {"weight_decay": 0.0}).as_dict(),
        ]

    def to_inference(self) -> SAE:
        """The same SAE with plain thresholds."""
        frozen = InferenceJumpReLU(self.cfg, self.d_in, initialise=False).to(self.W_enc.device, self.W_enc.dtype)
        frozen.load_state_dict(dict(self.inference_tensors()))
        frozen.metadata = dict(self.metadata)
        return frozen.eval().requires_grad_(False)


class InferenceJumpReLU(_JumpReLU):
    """JumpReLU autoencoder as it is stored: `threshold` [d_sae] is a plain buffer, which may hold zeros."""

    def _fast_path(self, x: Tensor, target: Tensor) -> bool:
        return super()._fast_path(x, target) and bool((self.threshold >= 0).all())

    def _add_state(self) -> None:
        self.register_buffer("threshold", torch.full((self.d_sae,), self.cfg.initial_threshold))


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return jump_relu(pre, threshold)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pre, threshold = ctx.saved_tensors
        window = (pre - threshold).abs() < ctx.bandwidth / 2
        d_pre = grad * ((pre > threshold) & (pre > 0))
        return d_pre, (-threshold / ctx.bandwidth) * (window * grad).sum(0), None


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        return ((pre > threshold) & (pre > 0)).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pre, threshold = ctx.saved_tensors
        window = (pre - threshold).abs() < ctx.bandwidth / 2
        return None, -(window * grad).sum(0) / ctx.bandwidth, None
