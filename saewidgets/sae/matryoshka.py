"""Matryoshka: a BatchTopK whose first latents must also reconstruct alone (Bussmann et al. 2025, arXiv:2503.17547).

With the nested widths m_1 < … < m_G = d_sae and the latents f of the whole batch's k · batch winners,

    y_g = f[:, :m_g] W_dec[:m_g] + b_dec        loss = Σ_g mean ‖y_g - x‖² + auxiliary loss

so what is frequent and general is learned by the first latents, and later ones do not absorb it. y_g is y_{g-1} and the
share of the latents between: all widths together cost one decode. At inference it is the BatchTopK it is made of.
"""

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from saewidgets.config.sae import MatryoshkaConfig
from saewidgets.sae.base import LossState
from saewidgets.sae.batchtopk import BatchTopKSAE
from saewidgets.sae.kernels.select import SparseCode
from saewidgets.sae.kernels.sparse import by_width


class MatryoshkaSAE(BatchTopKSAE):
    """Matryoshka autoencoder. `loss` has the term ``inner_mse``, the sum over all widths but the last."""

    architecture = "matryoshka"
    cfg: MatryoshkaConfig  # type: ignore[assignment]

    def _by_width(self, code: SparseCode) -> SparseCode:
        return by_width(code, self.cfg.levels)

    def _nested_of(self, f: Tensor) -> tuple[Tensor, ...]:
        found = [self.mesh.latents.once(self.b_dec).float().expand(f.shape[0], -1)]
        for start, end in pairwise((0, *self.cfg.levels)):
            part = self.mesh.part(start, end, self.d_sae)
            found.append(found[-1] + self.mesh.latents.sum(f[:, part] @ self.W_dec[part]).float())
        return tuple(found[1:])

    def _aux(self, x: Tensor, target: Tensor, nested: tuple[Tensor, ...], step: LossState) -> Tensor | None:
        """The auxiliary loss of the whole SAE; with `aux_per_width`, the sum over the widths: dead latents that a width
        adds explain what that width leaves over."""
        dead = step.dead
        if dead is None or not self.cfg.aux_per_width:
            return super()._aux(x, target, nested, step)
        found = None
        for (start, end), reconstruction in zip(pairwise((0, *self.cfg.levels)), nested, strict=True):
            here = torch.zeros_like(dead)
            part_of_width = self.mesh.part(start, end, self.d_sae)
            here[part_of_width] = dead[part_of_width]
            part = self._aux_loss(x, (target - reconstruction).detach(), replace(step, dead=here))
            if part is not None:
                found = part if found is None else found + part
        return found
