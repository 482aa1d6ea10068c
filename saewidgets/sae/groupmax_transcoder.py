"""GroupMax transcoders of EleutherAI's sparsify, without and with a linear path beside the latents."""

from __future__ import annotations

from torch import Tensor

from saewidgets.config.inference import GroupMaxSkipTranscoderConfig, GroupMaxTranscoderConfig
from saewidgets.sae.groupmax import group_max
from saewidgets.sae.skip_transcoder import AnySkipTranscoder
from saewidgets.sae.transcoder import LoadedTranscoder


class GroupMaxTranscoderSAE(LoadedTranscoder):
    """The largest latent of each of k groups."""

    architecture = "groupmax_transcoder"
    cfg: GroupMaxTranscoderConfig | GroupMaxSkipTranscoderConfig

    def activate(self, pre: Tensor) -> Tensor:
        return group_max(pre, self.cfg.k)


class GroupMaxSkipTranscoderSAE(GroupMaxTranscoderSAE, AnySkipTranscoder):
    """The largest latent of each of k groups, and `W_skip` [d_out, d_in]."""

    architecture = "groupmax_skip_transcoder"
    cfg: GroupMaxSkipTranscoderConfig
