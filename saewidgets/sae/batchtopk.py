"""BatchTopK: keep the k · batch largest activations of the whole batch (Bussmann et al. 2024, arXiv:2412.06410).

A token's latents then depend on its neighbours, so inference uses a threshold instead: the running mean of the smallest
activation that was kept. With it the SAE is a JumpReLU, and is exported as one.
"""

import torch
from torch import Tensor

from saewidgets.config.sae import BatchTopKConfig, JumpReLUConfig
from saewidgets.sae.base import SAE, LossState
from saewidgets.sae.jumprelu import InferenceJumpReLU
from saewidgets.sae.kernels.select import SparseCode, batch_topk_code
from saewidgets.sae.topk import TopKBase

MOMENTUM = 0.99  # of the threshold, in runs of 5,000 steps and more
_KEPT = {"d_sae", "apply_b_dec_to_input", "decoder_init_norm", "normalize_activations"}


class BatchTopKSAE(TopKBase):
    """BatchTopK autoencoder. In training mode latents compete over the batch; in evaluation mode `threshold` decides.

    `threshold` is a 0-d float32 buffer; 0 until the first training batch.
    """

    architecture = "batchtopk"
    _of_training = ("threshold",)  # it becomes one of every latent
    cfg: BatchTopKConfig
    threshold: Tensor

    def _add_state(self) -> None:
        self.register_buffer("threshold", torch.zeros(()))

    def activate(self, pre: Tensor) -> Tensor:
        if self.training:
            return self._activate_batch(pre.reshape(-1, self.d_sae)).view_as(pre)
        return pre.relu() * (pre > self.threshold)

    def _activate_batch(self, pre: Tensor) -> Tensor:
        if not self.training:
            return self.activate(pre)
        flat, keep = pre.relu().view(-1), self.cfg.k * pre.shape[0] * self.mesh.data.size
        best = flat.topk(min(keep, flat.numel()), sorted=False)
        values = best.values
        if self.mesh.size > 1:
            values = values * (values >= self.mesh.world.kth_largest(values, keep))
        return torch.zeros_like(flat).scatter(0, best.indices, values).view_as(pre)

    def _select(self, x: Tensor) -> SparseCode:
        return batch_topk_code(x, self.W_enc.detach(), self.b_enc.detach(), self.cfg.k)

    def _bar(self) -> Tensor:
        return self.threshold - self.b_enc

    def _fast_path(self, x: Tensor, target: Tensor) -> bool:
        return self.training and self.mesh.size == 1 and super()._fast_path(x, target)

    @torch.no_grad()
    def _observe(self, kept: Tensor, step: LossState) -> None:
        """Move the threshold towards the smallest positive activation that was kept; the first batch sets it."""
        if kept.numel() == 0:
            return
        smallest = torch.where(kept > 0, kept, torch.inf).amin().to(self.threshold.dtype)
        smallest = min(self.mesh.world.gather(smallest))
        averaged = self.threshold.lerp(smallest, 1 - self._momentum(step))
        moved = torch.where(self.threshold > 0, averaged, smallest)
        self.threshold.copy_(torch.where(smallest.isfinite(), moved, self.threshold))

    def _momentum(self, step: LossState) -> float:
        """Latents change in size to the end: the mean must not remember more than the last fiftieth of the run."""
        if self.cfg.threshold_momentum is not None:
            return self.cfg.threshold_momentum
        return MOMENTUM if step.steps is None else max(0.0, min(MOMENTUM, 1 - 50 / max(step.steps, 1)))

    def to_inference(self) -> SAE:
        """The JumpReLU with `threshold` on every latent."""
        config = JumpReLUConfig(**self.cfg.model_dump(include=_KEPT))
        return self._frozen_as(InferenceJumpReLU, config, threshold=self.threshold.expand(self.d_sae))
