"""Standard: ReLU with an L1 penalty (Bricken et al. 2023; Cunningham et al. 2023, arXiv:2309.08600).

Activations are weighted by their decoder row's norm, so that the penalty cannot be escaped by moving scale into the
decoder (Templeton et al. 2024); rows are kept at norm one besides. With w_i = f_i ‖W_dec,i‖ the penalty of a token is

- Σ w_i, or with `lp_norm` its Lp norm (Σ w_i^p)^(1/p), as in SAELens;
- with `p_end`, c_p Σ w_i^p while p falls from 1 to `p_end` (p-anneal, Karvonen et al. 2024, arXiv:2408.00113). c_p,
  which has no gradient, makes the penalty of every batch as large as its L1 would be, so that the coefficient means the
  same at every p. (The paper rescales the coefficient once per change of p, for the same purpose.)
"""

import torch
from torch import Tensor

from saewidgets.config.sae import StandardConfig
from saewidgets.products import product
from saewidgets.sae.base import SAE, Loss, LossState
from saewidgets.sae.kernels.blocked import Rows, View, squares
from saewidgets.sae.kernels.dense import ReLUActivation
from saewidgets.sae.kernels.select import block_rows


def relu_loss(
    sae: SAE, x: Tensor, target: Tensor, coefficient: float, weights: Tensor | None, linear: Tensor | None = None
) -> Loss:
    """``mse + coefficient · mean_batch Σ f_i ‖W_dec,i‖`` of any SAE with ReLU latents and the four weights.

    `linear` [batch, d_out] is what a path beside the latents adds to the reconstruction, with its graph.
    """

    def row_loss(view: View, target: Tensor, weights: Tensor | None) -> Rows:
        f = view.pre.relu()
        reconstruction = view.decode(f).float()
        if linear is not None:
            reconstruction = reconstruction + sae.mesh.latents.once(linear)
        l1 = coefficient * view.sum(f.float() * view.each(sae.W_dec.norm(dim=1))).sum()
        return Rows({"mse": squares(reconstruction - target, weights), "l1": l1}, reconstruction, f)

    def dense() -> Loss:
        return sae._dense_loss(x, target, ReLUActivation(sae.W_dec.detach(), coefficient), "l1", linear, weights)

    return sae._row_loss(row_loss, x, target, weights, dense=dense)


class StandardSAE(SAE):
    """ReLU autoencoder: ``mse + sparsity_scale · l1_coefficient · mean_batch penalty``."""

    architecture = "standard"
    _start_mean = 0.5  # measured: latents that are on for most inputs take the rest, and do it better
    cfg: StandardConfig

    def activate(self, pre: Tensor) -> Tensor:
        return pre.relu()

    def p(self, progress: float) -> float:
        """The penalty's p when this share of the run is done."""
        if self.cfg.p_end is None or progress <= self.cfg.p_hold:
            return self.cfg.lp_norm
        fallen = (progress - self.cfg.p_hold) / (1 - self.cfg.p_hold)
        return 1 - (1 - self.cfg.p_end) * min(fallen, 1.0)

    def _loss(self, x: Tensor, target: Tensor, step: LossState) -> Loss:
        weight, p = self.penalty_weight(step), self.p(step.progress)
        if p == 1:
            return relu_loss(self, x, target, weight, step.weights)
        coefficient = weight if self.cfg.p_end is None else weight * self._as_large_as_l1(x, p)

        def row_loss(view: View, target: Tensor, weights: Tensor | None) -> Rows:
            f = view.pre.relu()
            reconstruction = view.decode(f).float()
            penalty = view.sum(_powers(f.float() * view.each(self.W_dec.norm(dim=1)), p))
            if self.cfg.p_end is None:  # of rows without any active latent nothing is left, nor does it move anything
                penalty = torch.where(penalty > 0, penalty.clamp_min(1e-30).pow(1 / p), 0.0)
            terms = {"mse": squares(reconstruction - target, weights), "l1": coefficient * penalty.sum()}
            return Rows(terms, reconstruction, f)

        return self._row_loss(row_loss, x, target, step.weights)

    @torch.no_grad()
    def _as_large_as_l1(self, x: Tensor, p: float) -> Tensor:
        """Σ f_i ‖W_dec,i‖ / Σ (f_i ‖W_dec,i‖)^p over the batch: 0-d; 1 where nothing is active."""
        inputs, norms = self._centred(x), self.W_dec.norm(dim=1)
        sums = torch.zeros(2, dtype=torch.float64, device=x.device)
        for rows in inputs.split(block_rows(self.d_sae) if x.device.type == "cpu" else len(inputs)):
            weighted = product(rows, self.W_enc, self.b_enc).relu().float() * norms
            sums += torch.stack([each.sum(dtype=torch.float64) for each in (weighted, _powers(weighted, p))])
        self.mesh.world.add(sums)
        return torch.where(sums[1] > 0, sums[0] / sums[1].clamp_min(1e-30), 1.0).float()


def _powers(f: Tensor, p: float) -> Tensor:
    """f^p where `f` is positive, else 0, without a gradient."""
    active = f > 0
    return torch.where(active, torch.where(active, f, 1.0).pow(p), 0.0)
