"""Transcoders: latents of one place in the model reconstruct another (Dunefsky et al. 2024, arXiv:2406.11944).

    f = ReLU(x W_enc + b_enc)        ŷ = f W_dec + b_dec
    loss = mean ‖ŷ − y‖² + sparsity_scale · l1_coefficient · mean Σ f_i ‖W_dec,i‖

The usual pair x, y is an MLP's input and its output. `b_dec` belongs to the output and is not subtracted from the
input; an input that is normalised at run time leaves the output as it is.
"""

import torch
from torch import Tensor, nn

from saewidgets.config.inference import (
    GroupMaxSkipTranscoderConfig,
    GroupMaxTranscoderConfig,
    TopKSkipTranscoderConfig,
    TopKTranscoderConfig,
)
from saewidgets.config.sae import AnyTranscoderConfig, SAEConfig, SkipTranscoderConfig, TranscoderConfig
from saewidgets.errors import ConfigError
from saewidgets.sae.base import SAE, LoadedSAE, Loss, LossState
from saewidgets.sae.jumprelu import jump_relu
from saewidgets.sae.standard import relu_loss
from saewidgets.sae.topk import group_max, top_k


class AnyTranscoder(SAE):
    """What all transcoders have in common: `W_dec` [d_sae, d_out], `b_dec` [d_out], and a scale on either side."""

    cfg: AnyTranscoderConfig

    def _resolved(self, cfg: SAEConfig, d_in: int, d_out: int | None) -> SAEConfig:
        assert isinstance(cfg, AnyTranscoderConfig)
        if d_out is not None and cfg.d_out is not None and d_out != cfg.d_out:
            raise ConfigError(
                f"d_out is {d_out:,} here and {cfg.d_out:,} in the configuration.", where="d_out",
                hint="Leave it out of the configuration.",
            )
        found = cfg.d_out or d_out or d_in
        if cfg.apply_b_dec_to_input and found != d_in:
            raise ConfigError(
                f"b_dec has d_out {found:,} entries and cannot be subtracted from inputs of d_in {d_in:,}.",
                where="apply_b_dec_to_input", hint="Set it to no.",
            )
        return cfg.model_copy(update={"d_out": found})

    @property
    def d_out(self) -> int:
        assert self.cfg.d_out is not None  # resolved when it was built
        return self.cfg.d_out

    @property
    def is_transcoder(self) -> bool:
        return self.cfg.is_transcoder

    @property
    def needs_input(self) -> bool:
        return False

    def activate(self, pre: Tensor) -> Tensor:
        return pre.relu()

    def fold_scale(self, s: float) -> None:
        """Always raises `ConfigError`: input and output have scales of their own, which `fold_scales` takes."""
        self._check_scale(s)
        raise ConfigError(
            f"SAEs of the architecture {self.cfg.architecture!r} have an input and an output with scales of their own: "
            "one scale cannot be folded in.",
            where="s", hint="Call fold_scales(scale_in, scale_out).",
        )


class TranscoderSAE(AnyTranscoder):
    """ReLU transcoder."""

    architecture = "transcoder"
    cfg: TranscoderConfig

    def _loss(self, x: Tensor, target: Tensor, step: LossState) -> Loss:
        return relu_loss(self, x, target, self.penalty_weight(step), step.weights)


# Skip transcoder: a linear path from input to output beside the latents (Paulo et al. 2025, arXiv:2501.18823).
#
#     y = f W_dec + b_dec + x W_skipᵀ        with x as it came, neither normalised nor centred
#
# `W_skip` starts at zero, as in SAELens, and is part of no penalty: what is linear need not cost latents.
class AnySkipTranscoder(AnyTranscoder):
    """What transcoders with a linear path have besides: `W_skip` [d_out, d_in]."""

    W_skip: nn.Parameter

    def _add_state(self) -> None:
        super()._add_state()
        self.W_skip = nn.Parameter(torch.empty(self.d_out, self.d_in))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        super().reset_parameters(generator)
        self.W_skip.zero_()

    @property
    def needs_input(self) -> bool:
        return True

    def _restore(self, y: Tensor, x: Tensor) -> Tensor:
        return y + x @ self.W_skip.T


class SkipTranscoderSAE(AnySkipTranscoder):
    """ReLU skip transcoder."""

    architecture = "skip_transcoder"
    cfg: SkipTranscoderConfig

    def _loss(self, x: Tensor, target: Tensor, step: LossState) -> Loss:
        with torch.autocast(x.device.type, enabled=False):  # small beside the latents, and its error would not be
            linear = (x if step.units is None else step.units.raw) @ self.W_skip.T
        return relu_loss(self, x, target, self.penalty_weight(step), step.weights, linear)


class LoadedTranscoder(LoadedSAE, AnyTranscoder):
    """A transcoder that is loaded and used, not trained here."""


class JumpReLUTranscoderSAE(LoadedTranscoder):
    """JumpReLU transcoder; `threshold` [d_sae] is a plain buffer."""

    architecture = "jumprelu_transcoder"
    threshold: Tensor

    def _add_state(self) -> None:
        super()._add_state()
        self.register_buffer("threshold", torch.empty(self.d_sae))

    def activate(self, pre: Tensor) -> Tensor:
        return jump_relu(pre, self.threshold.to(pre.dtype))


class JumpReLUSkipTranscoderSAE(JumpReLUTranscoderSAE, AnySkipTranscoder):
    """`threshold` [d_sae] and `W_skip` [d_out, d_in]."""

    architecture = "jumprelu_skip_transcoder"


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


# Top-k transcoders of EleutherAI's sparsify, without and with a linear path beside the latents.
#
# Sparsify's SAEs with a skip path are of the second kind too: they reconstruct their input and subtract `b_dec` from it
# first (`apply_b_dec_to_input`), while the skip path sees it as it came.
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
