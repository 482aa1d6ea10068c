"""AbsTopK: the k pre-activations of largest magnitude keep their sign (arXiv:2510.00404): latents may be negative."""

from __future__ import annotations

import torch
from torch import Tensor

from saewidgets.config.inference import AbsTopKConfig
from saewidgets.sae.loaded import LoadedSAE


class AbsTopKSAE(LoadedSAE):
    """AbsTopK autoencoder."""

    architecture = "abstopk"
    cfg: AbsTopKConfig

    def activate(self, pre: Tensor) -> Tensor:
        chosen = pre.abs().topk(self.cfg.k, dim=-1, sorted=False).indices
        return torch.zeros_like(pre).scatter(-1, chosen, pre.gather(-1, chosen))
