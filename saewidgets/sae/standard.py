"""Standard: ReLU with an L1 penalty (Bricken et al. 2023; Cunningham et al. 2023, arXiv:2309.08600).

Activations are weighted by their decoder row's norm, so that the penalty cannot be escaped by moving scale into the
decoder (Templeton et al. 2024); rows are kept at norm one besides.
"""

from __future__ import annotations

from torch import Tensor

from saewidgets.config.sae import StandardConfig
from saewidgets.sae.base import SAE, Loss, LossState, squared_error
from saewidgets.sae.kernels.dense import ReLUActivation


def relu_loss(sae: SAE, x: Tensor, target: Tensor, coefficient: float, linear: Tensor | None = None) -> Loss:
    """``mse + coefficient · mean_batch Σ f_i ‖W_dec,i‖`` of any SAE with ReLU latents and the four weights.

    `linear` [batch, d_out] is what a path beside the latents adds to the reconstruction, with its graph.
    """
    if sae._fast_path(x, target):
        return sae._dense_loss(x, target, ReLUActivation(sae.W_dec.detach(), coefficient), "l1", linear)
    f = sae.pre_activations(x).relu()
    reconstruction = sae._decode(f).float()
    if linear is not None:
        reconstruction = reconstruction + linear
    mse = squared_error(reconstruction, target)
    l1 = coefficient * (f.float() * sae.W_dec.norm(dim=1)).sum(1).mean()
    active = f.detach() > 0
    return Loss(
        mse + l1, {"mse": mse.detach(), "l1": l1.detach()}, mse.detach(), reconstruction.detach(),
        active.sum() / x.shape[0], active.any(0),
    )


class StandardSAE(SAE):
    """ReLU autoencoder: ``mse + sparsity_scale · l1_coefficient · mean_batch Σ f_i ‖W_dec,i‖``."""

    architecture = "standard"
    cfg: StandardConfig

    def activate(self, pre: Tensor) -> Tensor:
        return pre.relu()

    def _loss(self, x: Tensor, target: Tensor, step: LossState) -> Loss:
        return relu_loss(self, x, target, self.cfg.l1_coefficient * step.sparsity_scale)
