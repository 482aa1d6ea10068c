"""Skip transcoder: a linear path from input to output beside the latents (Paulo et al. 2025, arXiv:2501.18823).

    y = f W_dec + b_dec + x W_skipᵀ        with x as it came, neither normalised nor centred
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saewidgets.sae.transcoder import TranscoderSAE


class SkipTranscoderSAE(TranscoderSAE):
    """ReLU skip transcoder; `W_skip` [d_out, d_in]."""

    architecture = "skip_transcoder"
    W_skip: nn.Parameter

    def _add_state(self) -> None:
        super()._add_state()
        self.W_skip = nn.Parameter(torch.empty(self.d_out, self.d_in))

    @property
    def needs_input(self) -> bool:
        return True

    def _restore(self, y: Tensor, x: Tensor) -> Tensor:
        return y + x @ self.W_skip.T
