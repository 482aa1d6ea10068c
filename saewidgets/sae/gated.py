"""Gated: one path decides whether a latent is active, another how strongly (Rajamanoharan et al. 2024,
arXiv:2404.16014).

Both share the encoder; the magnitudes have their own scale exp(r_mag) and bias. With z = (x - b_dec) W_enc:

    π = z + b_gate        f = (π > 0) ⊙ ReLU(z ⊙ exp(r_mag) + b_mag)
    loss = mean ‖f W_dec + b_dec - x‖²
         + sparsity_scale · l1_coefficient · mean Σ ReLU(π)_i ‖W_dec,i‖
         + mean ‖ReLU(π) W_dec + b_dec - x‖²

The gate is a step, so the first term tells it nothing: it learns from the other two. As in SAELens, the last one moves
the decoder, too (the paper holds it fixed there).
"""

import torch
from torch import Tensor, nn

from saewidgets.config.sae import GatedConfig
from saewidgets.sae.base import SAE, Loss, LossState
from saewidgets.sae.kernels.blocked import Rows, View, squares
from saewidgets.sae.kernels.sparse import Few


class GatedSAE(SAE):
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

    def _reset_encoder_biases(self) -> None:
        for bias in (self.b_gate, self.r_mag, self.b_mag):
            bias.zero_()

    def _start_sparse(self, cut: float) -> None:
        self.b_gate.fill_(-cut)
        self.b_mag.fill_(-cut)

    def _bar(self) -> Tensor:
        return -self.b_gate

    def pre_activations(self, x: Tensor) -> Tensor:
        """The product both paths share, ``(x - b_dec) @ W_enc`` without any encoder bias: [..., d_sae]."""
        return self._encoded(self.encoder_input(x))

    def _encoder_bias(self) -> None:
        return None

    def activate(self, pre: Tensor) -> Tensor:
        return _gated(pre, self.b_gate, self.r_mag, self.b_mag)

    def _values(self, few: Few) -> Tensor:
        return _gated(few.pre, *map(few.each, (self.b_gate, self.r_mag, self.b_mag)))

    def _loss(self, x: Tensor, target: Tensor, step: LossState) -> Loss:
        coefficient = self.penalty_weight(step)

        def row_loss(view: View, target: Tensor, weights: Tensor | None) -> Rows:
            b_gate, r_mag, b_mag = (view.each(vector) for vector in (self.b_gate, self.r_mag, self.b_mag))
            gate, f = (view.pre + b_gate).relu(), _gated(view.pre, b_gate, r_mag, b_mag)
            reconstruction, by_gate = view.decode(f).float(), view.decode(gate).float()
            terms = {
                "mse": squares(reconstruction - target, weights),
                "l1": coefficient * view.sum(gate.float() * view.each(self.W_dec.norm(dim=1))).sum(),
                "aux": squares(by_gate - target, weights),
            }
            return Rows(terms, reconstruction, f)

        return self._row_loss(row_loss, x, target, step.weights)


def _gated(pre: Tensor, b_gate: Tensor, r_mag: Tensor, b_mag: Tensor) -> Tensor:
    return (pre * r_mag.exp() + b_mag).relu() * (pre + b_gate > 0)
