"""JumpReLU transcoder: a threshold per latent, as Gemma Scope's transcoders have (Lieberum et al. 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from saewidgets.sae.jumprelu import jump_relu
from saewidgets.sae.transcoder import LoadedTranscoder


class JumpReLUTranscoderSAE(LoadedTranscoder):
    """JumpReLU transcoder; `threshold` [d_sae] is a plain buffer."""

    architecture = "jumprelu_transcoder"
    threshold: Tensor

    def _add_state(self) -> None:
        super()._add_state()
        self.register_buffer("threshold", torch.empty(self.d_sae))

    def activate(self, pre: Tensor) -> Tensor:
        return jump_relu(pre, self.threshold.to(pre.dtype))
