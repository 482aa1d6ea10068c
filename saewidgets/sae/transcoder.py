"""Transcoder: latents of one place in the model reconstruct another (Dunefsky et al. 2024, arXiv:2406.11944).

    f = ReLU(x W_enc + b_enc)        ŷ = f W_dec + b_dec
    loss = mean ‖ŷ − y‖² + sparsity_scale · l1_coefficient · mean Σ f_i ‖W_dec,i‖

The usual pair x, y is an MLP's input and its output. `b_dec` belongs to the output and is not subtracted from the
input; an input that is normalised at run time leaves the output as it is.
"""

from __future__ import annotations

from torch import Tensor

from saewidgets.config.sae import AnyTranscoderConfig, SAEConfig, TranscoderConfig
from saewidgets.errors import ConfigError
from saewidgets.sae.base import SAE, Loss, LossState
from saewidgets.sae.loaded import LoadedSAE
from saewidgets.sae.standard import relu_loss


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
        return relu_loss(self, x, target, self.cfg.l1_coefficient * step.sparsity_scale, step.weights)


class LoadedTranscoder(LoadedSAE, AnyTranscoder):
    """A transcoder that is loaded and used, not trained here."""
