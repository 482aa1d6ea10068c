"""Standard: ReLU with an L1 penalty (Bricken et al. 2023; Cunningham et al. 2023, arXiv:2309.08600).

Activations are weighted by their decoder row's norm, so that the penalty cannot be escaped by moving scale into the
decoder (Templeton et al. 2024); rows are kept at norm one besides.
"""

from __future__ import annotations

from torch import Tensor

from saewidgets.config.sae import StandardConfig
from saewidgets.sae.base import SAE, Loss, LossState, squared_error
from saewidgets.sae.kernels.dense import ReLUActivation


class StandardSAE(SAE):
    """ReLU autoencoder: ``mse + sparsity_scale · l1_coefficient · mean_batch Σ f_i ‖W_dec,i‖``."""

    architecture = "standard"
    cfg: StandardConfig

    def activate(self, pre: Tensor) -> Tensor:
        return pre.relu()

    def _loss(self, x: Tensor, target: Tensor, step: LossState) -> Loss:
        coefficient = self.cfg.l1_coefficient * step.sparsity_scale
        if self._fast_path(x, target):
            return self._dense_loss(x, target, ReLUActivation(self.W_dec.detach(), coefficient), "l1")
        f = self.activate(self.pre_activations(x))
        reconstruction = self.decode(f).float()
        mse = squared_error(reconstruction, target)
        l1 = coefficient * (f.float() * self.W_dec.norm(dim=1)).sum(1).mean()
        active = f.detach() > 0
        return Loss(
            mse + l1, {"mse": mse.detach(), "l1": l1.detach()}, mse.detach(), reconstruction.detach(),
            active.sum() / x.shape[0], active.any(0),
        )
