"""Top-k transcoders of EleutherAI's sparsify, without and with a linear path beside the latents.

Sparsify's SAEs with a skip path are of the second kind too: they reconstruct their input and subtract `b_dec` from it
first (`apply_b_dec_to_input`), while the skip path sees it as it came.
"""

from __future__ import annotations

from torch import Tensor

from saewidgets.config.inference import TopKSkipTranscoderConfig, TopKTranscoderConfig
from saewidgets.sae.skip_transcoder import AnySkipTranscoder
from saewidgets.sae.topk import top_k
from saewidgets.sae.transcoder import LoadedTranscoder


class TopKTranscoderSAE(LoadedTranscoder):
    """The k largest latents."""

    architecture = "topk_transcoder"
    cfg: TopKTranscoderConfig | TopKSkipTranscoderConfig

    def activate(self, pre: Tensor) -> Tensor:
        return top_k(pre, self.cfg.k)


class TopKSkipTranscoderSAE(TopKTranscoderSAE, AnySkipTranscoder):
    """The k largest latents, and `W_skip` [d_out, d_in]."""

    architecture = "topk_skip_transcoder"
    cfg: TopKSkipTranscoderConfig
