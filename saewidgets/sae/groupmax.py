"""GroupMax, of EleutherAI's sparsify: latents stand in k equal groups, and each group keeps its largest."""

from __future__ import annotations

import torch
from torch import Tensor

from saewidgets.config.inference import GroupMaxConfig
from saewidgets.sae.base import LoadedSAE


def group_max(pre: Tensor, k: int) -> Tensor:
    """Of each of `k` runs of neighbouring latents of `pre` [..., d_sae] the largest, through a ReLU; the rest 0."""
    groups = pre.relu().unflatten(-1, (k, -1))
    best = groups.max(-1, keepdim=True)
    return torch.zeros_like(groups).scatter(-1, best.indices, best.values).flatten(-2)


class GroupMaxSAE(LoadedSAE):
    """GroupMax autoencoder; a group whose pre-activations are all negative has no active latent."""

    architecture = "groupmax"
    cfg: GroupMaxConfig

    def activate(self, pre: Tensor) -> Tensor:
        return group_max(pre, self.cfg.k)
