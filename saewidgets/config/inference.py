"""Architectures that are loaded and used but not trained here: what decides their maths, one model each.

Names of architectures and settings are SAELens' (6.54) where it has them; `groupmax` and the top-k and groupmax
transcoders are those of EleutherAI's sparsify.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from saewidgets.config.sae import MAX_WIDTH, AnyTranscoderConfig, SAEConfig
from saewidgets.errors import ConfigError

_TemporalNormalization = Literal["none", "layer_norm", "constant_norm_rescale", "constant_scalar_rescale"]


class _Fixed(SAEConfig):
    k: int = Field(ge=1, title="Active latents (k)", description="How many latents are kept per token.")

    @model_validator(mode="after")
    def _k_fits(self) -> _Fixed:
        if self.k > self.d_sae:
            raise ConfigError(f"k is {self.k:,} but d_sae is {self.d_sae:,}.", where="k", hint="k is at most d_sae.")
        return self


class AbsTopKConfig(_Fixed):
    """The k pre-activations of largest magnitude, with their sign (arXiv:2510.00404)."""

    architecture: Literal["abstopk"] = "abstopk"


class _Groups(_Fixed):
    @model_validator(mode="after")
    def _groups_are_equal(self) -> _Groups:
        if self.d_sae % self.k:
            raise ConfigError(
                f"{self.d_sae:,} latents cannot be split into {self.k:,} equal groups.", where="k",
                hint="k is a divisor of d_sae.",
            )
        return self


class GroupMaxConfig(_Groups):
    """The largest latent of each of k equal groups."""

    architecture: Literal["groupmax"] = "groupmax"


class MatchingPursuitConfig(SAEConfig):
    """Latents are picked one after another, each explaining what the earlier ones left over; the encoder is tied."""

    architecture: Literal["matching_pursuit"] = "matching_pursuit"
    residual_threshold: float = Field(
        default=1e-2,
        title="Residual threshold",
        description="Stop when the norm of what is left over falls below this (0: never for that reason).",
    )
    max_iterations: int | None = Field(
        default=None,
        ge=1,
        le=MAX_WIDTH,
        title="Iterations",
        description="At most so many picks per token; empty means d_in.",
    )
    stop_on_duplicate_support: bool = Field(
        default=True,
        title="Stop on a repeated pick",
        description="Stop when a pick adds no latent that was not active before.",
    )


class TemporalConfig(SAEConfig):
    """Attention over earlier tokens predicts a part of each token's latents; the rest is encoded (arXiv:2511.01836)."""

    architecture: Literal["temporal"] = "temporal"
    normalize_activations: _TemporalNormalization = "none"  # type: ignore[assignment]  # one more than the others
    activation_normalization_factor: float = Field(
        default=1.0, gt=0, title="Input scale", description="What constant_scalar_rescale multiplies the input by."
    )
    n_heads: int = Field(default=8, ge=1, le=MAX_WIDTH, title="Heads")
    n_attn_layers: int = Field(default=1, ge=1, le=64, title="Attention layers")
    bottleneck_factor: int = Field(
        default=64, ge=1, le=MAX_WIDTH, title="Bottleneck", description="d_sae over the width of queries and keys."
    )
    sae_diff_type: Literal["relu", "topk"] = Field(default="topk", title="Novel latents")
    kval_topk: int | None = Field(default=None, ge=1, title="Active novel latents")
    tied_weights: bool = Field(default=True, title="Tied", description="The encoder is the decoder's transpose.")

    @model_validator(mode="after")
    def _fits_together(self) -> TemporalConfig:
        if self.kval_topk is not None and self.kval_topk > self.d_sae:
            raise ConfigError(f"kval_topk is {self.kval_topk:,} but d_sae is {self.d_sae:,}.", where="kval_topk")
        if self.d_sae % (self.n_heads * self.bottleneck_factor):
            raise ConfigError(
                f"{self.d_sae:,} latents cannot be split into {self.n_heads:,} heads with a bottleneck of "
                f"{self.bottleneck_factor:,}.",
                where="d_sae", hint="d_sae is a multiple of n_heads · bottleneck_factor.",
            )
        if self.reshape_activations != "none":
            raise ConfigError("A temporal SAE reads whole contexts, not heads.", where="reshape_activations")
        return self


class JumpReLUTranscoderConfig(AnyTranscoderConfig):
    """A threshold per latent."""

    architecture: Literal["jumprelu_transcoder"] = "jumprelu_transcoder"


class JumpReLUSkipTranscoderConfig(AnyTranscoderConfig):
    """A threshold per latent and a linear path beside them."""

    architecture: Literal["jumprelu_skip_transcoder"] = "jumprelu_skip_transcoder"


class _SparsifyTranscoder(AnyTranscoderConfig):
    """What sparsify calls `transcode`, and its SAEs with a skip path: those do centre their input."""

    def _may_centre(self) -> bool:
        return True


class TopKTranscoderConfig(_SparsifyTranscoder, _Fixed):
    """The k largest latents."""

    architecture: Literal["topk_transcoder"] = "topk_transcoder"


class TopKSkipTranscoderConfig(_SparsifyTranscoder, _Fixed):
    """The k largest latents and a linear path beside them."""

    architecture: Literal["topk_skip_transcoder"] = "topk_skip_transcoder"


class GroupMaxTranscoderConfig(_SparsifyTranscoder, _Groups):
    """The largest latent of each of k groups."""

    architecture: Literal["groupmax_transcoder"] = "groupmax_transcoder"


class GroupMaxSkipTranscoderConfig(_SparsifyTranscoder, _Groups):
    """The largest latent of each of k groups and a linear path beside them."""

    architecture: Literal["groupmax_skip_transcoder"] = "groupmax_skip_transcoder"
