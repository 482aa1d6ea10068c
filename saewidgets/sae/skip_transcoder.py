"""Skip transcoder: a linear path from input to output beside the latents (Paulo et al. 2025, arXiv:2501.18823).

    y = f W_dec + b_dec + x W_skipᵀ        with x as it came, neither normalised nor centred

`W_skip` starts at zero, as in SAELens, and is part of no penalty: what is linear need not cost latents.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from saewidgets.config.sae import SkipTranscoderConfig
from saewidgets.sae.base import Loss, LossState
from saewidgets.sae.standard import relu_loss
from saewidgets.sae.transcoder import AnyTranscoder


class AnySkipTranscoder(AnyTranscoder):
    """What transcoders with a linear path have besides: `W_skip` [d_out, d_in]."""

    W_skip: nn.Parameter

    def _add_state(self) -> None:
        super()._add_state()
        self.W_skip = nn.Parameter(torch.empty(self.d_out, self.d_in))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        self.W_skip.zero_()

    @property
    def needs_input(self) -> bool:
        return True

    def _restore(self, y: Tensor, x: Tensor) -> Tensor:
        return y + x @ self.W_skip.T

    def inference_tensors(self) -> Mapping[str, Tensor]:
        return {**super().inference_tensors(), "W_skip": self.W_skip.detach()}

    @torch.no_grad()
    def _fold(self, scale_in: float, scale_out: float) -> None:
        super()._fold(scale_in, scale_out)
        self.W_skip.mul_(scale_in / scale_out)


class SkipTranscoderSAE(AnySkipTranscoder):
    """ReLU skip transcoder."""

    architecture = "skip_transcoder"
    cfg: SkipTranscoderConfig

    def _loss(self, x: Tensor, target: Tensor, step: LossState) -> Loss:
        with torch.autocast(x.device.type, enabled=False):  # small beside the latents, and its error would not be
            linear = (x if step.units is None else step.units.raw) @ self.W_skip.T
        return relu_loss(self, x, target, self.cfg.l1_coefficient * step.sparsity_scale, step.weights, linear)
