"""JumpReLU skip transcoder: a threshold per latent and a linear path beside them (Gemma Scope 2's "affine" ones)."""

from __future__ import annotations

from saewidgets.sae.jumprelu_transcoder import JumpReLUTranscoderSAE
from saewidgets.sae.skip_transcoder import AnySkipTranscoder


class JumpReLUSkipTranscoderSAE(JumpReLUTranscoderSAE, AnySkipTranscoder):
    """`threshold` [d_sae] and `W_skip` [d_out, d_in]."""

    architecture = "jumprelu_skip_transcoder"
