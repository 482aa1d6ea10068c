"""Configurations of the architectures that are loaded and used but not trained here.

Names of architectures and settings are SAELens' (6.54) where it has them; `groupmax` and the top-k and groupmax
transcoders are those of EleutherAI's sparsify.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from saewidgets.config.base import require
from saewidgets.config.sae import MAX_WIDTH, AnyTranscoderConfig, FixedK, SAEConfig

_TemporalNormalization = Literal["none", "layer_norm", "constant_norm_rescale", "constant_scalar_rescale"]


class AbsTopKConfig(FixedK):
    """The k pre-activations of largest magnitude, with their sign (arXiv:2510.00404)."""

    architecture: Literal["abstopk"] = "abstopk"


class _Groups(FixedK):
    @model_validator(mode="after")
    def _groups_are_equal(self) -> Self:
        said = f"{self.d_sae:,} latents cannot be split into {self.k:,} equal groups."
        require((self.d_sae % self.k == 0, "k", said, "Choose a k that divides d_sae."))
        return self


class GroupMaxConfig(_Groups):
    """The largest latent of each of k equal groups."""

    architecture: Literal["groupmax"] = "groupmax"


class MatchingPursuitConfig(SAEConfig):
    """Latents are picked one after another, each explaining what the earlier ones left over; the encoder is tied."""

    architecture: Literal["matching_pursuit"] = "matching_pursuit"
    residual_threshold: float = Field(
        default=1e-2, title="Residual threshold",
        description="Stop when the norm of what is left over falls below this (0: never for that reason).",
    )
    max_iterations: int | None = Field(
        default=None, ge=1, le=MAX_WIDTH, title="Iterations",
        description="At most so many picks per token; empty means d_in.",
    )
    stop_on_duplicate_support: bool = Field(
        default=True, title="Stop on a repeated pick",
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
    def _fits_together(self) -> Self:
        k, d_sae, parts = self.kval_topk or 0, self.d_sae, self.n_heads * self.bottleneck_factor
        require(
            (k <= d_sae, "kval_topk", f"kval_topk is {k:,} but d_sae is {d_sae:,}.", "Use at most d_sae."),
            (d_sae % parts == 0, "d_sae",
             f"{d_sae:,} latents cannot be split into {self.n_heads:,} heads, bottleneck {self.bottleneck_factor:,}.",
             "Choose a d_sae that is a multiple of n_heads · bottleneck_factor."),
            (self.reshape_activations == "none", "reshape_activations",
             "A temporal SAE reads whole contexts, not heads.", 'Use "none".'),
        )  # fmt: skip
        return self


class JumpReLUTranscoderConfig(AnyTranscoderConfig):
    """A threshold per latent."""

    architecture: Literal["jumprelu_transcoder"] = "jumprelu_transcoder"


class JumpReLUSkipTranscoderConfig(AnyTranscoderConfig):
    """A threshold per latent and a linear path beside them."""

    architecture: Literal["jumprelu_skip_transcoder"] = "jumprelu_skip_transcoder"


class _SparsifyTranscoder(AnyTranscoderConfig):
    """What sparsify calls `transcode`, and its SAEs with a skip path: those do centre their input."""

    _may_centre: ClassVar[bool] = True


class TopKTranscoderConfig(_SparsifyTranscoder, FixedK):
    """The k largest latents."""

    architecture: Literal["topk_transcoder"] = "topk_transcoder"


class TopKSkipTranscoderConfig(_SparsifyTranscoder, FixedK):
    """The k largest latents and a linear path beside them."""

    architecture: Literal["topk_skip_transcoder"] = "topk_skip_transcoder"


class GroupMaxTranscoderConfig(_SparsifyTranscoder, _Groups):
    """The largest latent of each of k groups."""

    architecture: Literal["groupmax_transcoder"] = "groupmax_transcoder"


class GroupMaxSkipTranscoderConfig(_SparsifyTranscoder, _Groups):
    """The largest latent of each of k groups and a linear path beside them."""

    architecture: Literal["groupmax_skip_transcoder"] = "groupmax_skip_transcoder"
