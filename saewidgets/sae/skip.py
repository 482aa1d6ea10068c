"""Skip autoencoder, of miStudio: the input itself is added to what the latents explain.

    y = (f W_dec + b_dec, in the input's units) + s x        with s the setting `skip_scale` and x as it came

Under a normalisation that only scales each token (``constant_norm_rescale``) it is the same whether the normalised or
the raw input takes the side path.
"""

from __future__ import annotations

from torch import Tensor

from saewidgets.config.sae import SkipConfig
from saewidgets.sae.loaded import LoadedSAE


class SkipSAE(LoadedSAE):
    """ReLU autoencoder with a path of fixed strength around the latents."""

    architecture = "skip"
    cfg: SkipConfig

    @property
    def needs_input(self) -> bool:
        return True

    def activate(self, pre: Tensor) -> Tensor:
        return pre.relu()

    def _restore(self, y: Tensor, x: Tensor) -> Tensor:
        return super()._restore(y, x) + self.cfg.skip_scale * x
