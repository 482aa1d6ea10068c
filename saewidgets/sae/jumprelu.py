"""JumpReLU: a learned threshold per latent and an L0 penalty (Rajamanoharan et al. 2024, arXiv:2407.14435).

Neither the jump nor the count of active latents has a useful derivative with respect to the threshold, so both get a
straight-through estimate: with bandwidth ε and K(u) = 1 for |u| < 1/2, else 0,

    ∂ JumpReLU(p) / ∂θ := -(θ/ε) K((p - θ)/ε)        ∂ H(p - θ) / ∂θ := -(1/ε) K((p - θ)/ε)

and with `ste_to_input` the same with the opposite sign for p, as Anthropic trains (Circuits Updates, January 2025).
The penalty of a token, times ``sparsity_scale · l0_coefficient``, is one of

- ``step``: Σ H(p_i - θ_i), the number of active latents L0;
- ``tanh``: Σ tanh(`tanh_scale` · f_i ‖W_dec,i‖), Anthropic's;
- ``l1``: Σ f_i ‖W_dec,i‖, as GhostTrack trains;
- ``quadratic``: 2/L · (L0 - L)² with L the `target_l0`, Gemma Scope 2's.

`pre_act_coefficient` adds Σ over dead latents of ReLU(θ_i - p_i) ‖W_dec,i‖, which lifts them until they fire. All as in
SAELens.

Thresholds are parameters as they are ("linear", as in SAELens), held at zero or above; or as logarithms. Adam moves
every parameter by about its learning rate per step, and a logarithm by that little means a threshold that hardly
changes: those learn `THRESHOLD_LR` times as fast as the weights (docs/sae.md has the experiment).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from saewidgets.config.sae import JumpReLUConfig
from saewidgets.sae.base import SAE, Loss, LossState
from saewidgets.sae.kernels.blocked import Rows, View, squares
from saewidgets.sae.kernels.dense import JumpReLUActivation

THRESHOLD_LR = 10.0
FIRST_THRESHOLD = 0.01  # where the first batch decides, until it is seen


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
        cfg, coefficient = self.cfg, self.penalty_weight(step)

        def row_loss(view: View, target: Tensor, weights: Tensor | None) -> Rows:
            pre, threshold = view.pre.float(), view.each(self.threshold.float())
            f = _Jump.apply(pre, threshold, cfg.bandwidth, cfg.ste_to_input)  # type: ignore[no-untyped-call]
            reconstruction = view.decode(f.to(self.W_dec.dtype)).float()
            terms = {
                "mse": squares(reconstruction - target, weights),
                "l0_penalty": coefficient * self._penalty(view, pre, threshold, f).sum(),
            }
            return Rows(terms, reconstruction, f)

        def dense() -> Loss:
            activation = JumpReLUActivation(self.threshold, cfg.bandwidth, coefficient)
            return self._dense_loss(x, target, activation, "l0_penalty", weights=step.weights)

        is_simple = x.device.type == "cpu" and cfg.sparsity_loss == "step" and not cfg.ste_to_input
        is_simple = is_simple and bool((self.threshold >= 0).all())
        return self._row_loss(
            row_loss, x, target, step.weights, below=cfg.bandwidth / 2, dense=dense if is_simple else None
        )

    def _penalty(self, view: View, pre: Tensor, threshold: Tensor, f: Tensor) -> Tensor:
        """The sparsity penalty of every row, before its coefficient: [rows]."""
        cfg = self.cfg
        if cfg.sparsity_loss in ("tanh", "l1"):
            weighted = f * view.each(self.W_dec.float().norm(dim=1))
            return view.sum(weighted if cfg.sparsity_loss == "l1" else torch.tanh(cfg.tanh_scale * weighted))
        counts: Tensor = _StepFunction.apply(  # type: ignore[no-untyped-call]
            pre, threshold, cfg.bandwidth, cfg.ste_to_input
        )
        l0 = view.sum(counts)
        if cfg.sparsity_loss == "quadratic":
            l0 = 2 / cfg.aim * (l0 - cfg.aim).square()
        return l0

    def _bar(self) -> Tensor:
        return self.threshold - self.b_enc


class JumpReLUSAE(_JumpReLU):
    """JumpReLU autoencoder in training. `threshold` [d_sae] is a parameter, or the exponential of the parameter
    `log_threshold`, as `threshold_parameter` says."""

    _of_training = ("log_threshold",)
    _start_density = 2.0

    def _add_state(self) -> None:
        self._is_log = self.cfg.threshold_parameter == "log"
        self.register_parameter("log_threshold" if self._is_log else "threshold", nn.Parameter(torch.empty(self.d_sae)))

    def __getattr__(self, name: str) -> Any:
        if name == "threshold" and self._is_log:  # differentiable with respect to log_threshold
            return self.log_threshold.exp()
        return super().__getattr__(name)

    @property
    def _theta(self) -> nn.Parameter:
        return self.get_parameter("log_threshold" if self._is_log else "threshold")

    @torch.no_grad()
    def set_threshold(self, threshold: Tensor) -> None:
        """Give latents these thresholds, [d_sae] or one for all."""
        self._theta.copy_(threshold.log() if self._is_log else threshold)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        self.set_threshold(torch.full((self.d_sae,), self.cfg.initial_threshold or FIRST_THRESHOLD))

    def _start_sparse(self, cut: float) -> None:
        if self.cfg.initial_threshold is None:
            self.set_threshold(torch.full((self.d_sae,), max(cut, 1e-6)))

    @torch.no_grad()
    def scale_thresholds(self, factor: Tensor) -> None:
        self.set_threshold(self.threshold * factor)

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """The weights at `lr`; thresholds as well, or `THRESHOLD_LR` times that where they are logarithms, and never
        decayed."""
        weights = [parameter for parameter in self.parameters() if parameter is not self._theta]
        faster = THRESHOLD_LR if self._is_log else 1.0
        return [{"params": weights, "lr": lr}, {"params": [self._theta], "lr": lr * faster, "weight_decay": 0.0}]

    @torch.no_grad()
    def after_step(self, unit_rows: bool = True) -> None:
        super().after_step(unit_rows)
        if not self._is_log:  # below zero the jump would let negative pre-activations through
            self._theta.clamp_(min=0.0)

    def inference_tensors(self) -> Mapping[str, Tensor]:
        return {**super().inference_tensors(), "threshold": self.threshold.detach()}

    def to_inference(self) -> SAE:
        return self._frozen_as(InferenceJumpReLU, self.cfg)


class InferenceJumpReLU(_JumpReLU):
    """JumpReLU autoencoder as it is stored: `threshold` [d_sae] is a plain buffer, which may hold zeros."""

    def _add_state(self) -> None:
        self.register_buffer("threshold", torch.full((self.d_sae,), self.cfg.initial_threshold or FIRST_THRESHOLD))


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float, to_input: bool) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth, ctx.to_input = bandwidth, to_input
        return jump_relu(pre, threshold)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pre, threshold = ctx.saved_tensors
        estimate = (threshold / ctx.bandwidth) * (((pre - threshold).abs() < ctx.bandwidth / 2) * grad)
        d_pre = grad * ((pre > threshold) & (pre > 0))
        return d_pre + estimate if ctx.to_input else d_pre, -estimate.sum_to_size(threshold.shape), None, None


class _StepFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float, to_input: bool) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth, ctx.to_input = bandwidth, to_input
        return ((pre > threshold) & (pre > 0)).to(pre.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        pre, threshold = ctx.saved_tensors
        estimate = ((pre - threshold).abs() < ctx.bandwidth / 2) * grad / ctx.bandwidth
        return estimate if ctx.to_input else None, -estimate.sum_to_size(threshold.shape), None, None
