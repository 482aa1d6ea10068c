"""Gated: one path decides whether a latent is active, another how strongly (Rajamanoharan et al. 2024,
arXiv:2404.16014).

Both share the encoder; the magnitudes have their own scale exp(r_mag) and bias:

    f = (x̃ W_enc + b_gate > 0) ⊙ ReLU((x̃ W_enc) ⊙ exp(r_mag) + b_mag)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saewidgets.config.sae import GatedConfig
from saewidgets.sae.loaded import LoadedSAE


class GatedSAE(LoadedSAE):
    """Gated autoencoder. `b_gate`, `r_mag` and `b_mag` [d_sae] take the place of `b_enc`."""

    architecture = "gated"
    cfg: GatedConfig
    b_gate: nn.Parameter
    r_mag: nn.Parameter
    b_mag: nn.Parameter

    def _add_weights(self) -> None:
        self.W_enc = nn.Parameter(torch.empty(self.d_in, self.d_sae))
        self.W_dec = nn.Parameter(torch.empty(self.d_sae, self.d_in))
        self.b_dec = nn.Parameter(torch.empty(self.d_in))
        self.b_gate = nn.Parameter(torch.empty(self.d_sae))
        self.r_mag = nn.Parameter(torch.empty(self.d_sae))
        self.b_mag = nn.Parameter(torch.empty(self.d_sae))

    def pre_activations(self, x: Tensor) -> Tensor:
        """The product both paths share, ``(x - b_dec) @ W_enc`` without any encoder bias: [..., d_sae]."""
        return self.encoder_input(x) @ self.W_enc

    def activate(self, pre: Tensor) -> Tensor:
        return (pre * self.r_mag.exp() + self.b_mag).relu() * (pre + self.b_gate > 0)
