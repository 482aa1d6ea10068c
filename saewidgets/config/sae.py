"""What an autoencoder is made of: one model per architecture, told apart by `architecture`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from saewidgets.config.base import Config
from saewidgets.errors import ConfigError

MAX_WIDTH = 2**20
Normalization = Literal["none", "layer_norm", "constant_norm_rescale"]
Reshaping = Literal["none", "hook_z"]


class SAEConfig(Config):
    """Settings that every architecture has.

    `normalize_activations` and `reshape_activations` belong to SAEs that others trained: they decide what is computed
    from a loaded SAE, training refuses any but the defaults, and the form of a training (which is the JSON schema) does
    not have them.
    """

    architecture: str
    d_sae: int = Field(
        default=16_384,
        ge=1,
        le=2**24,
        title="Latents (d_sae)",
        description="How many latents the autoencoder has. 8 to 32 times the width of the model is usual.",
    )
    apply_b_dec_to_input: bool = Field(
        default=True,
        title="Subtract b_dec from the input",
        description="Centre the input with the decoder bias before encoding.",
    )
    decoder_init_norm: float = Field(
        default=1.0,
        gt=0,
        le=10,
        title="Decoder norm at the start",
        description="Norm of every decoder row at initialisation; the encoder starts as its transpose.",
    )
    normalize_activations: SkipJsonSchema[Normalization] = Field(
        default="none",
        title="Normalisation",
        description="What happens to every input vector before it is encoded, undone in the reconstruction.",
    )
    reshape_activations: SkipJsonSchema[Reshaping] = Field(
        default="none",
        title="Reshaping",
        description="hook_z: the input may come as [..., heads, d_head], whose heads are laid side by side.",
    )

    @property
    def is_transcoder(self) -> bool:
        """Whether it reconstructs another place in the model than the one it reads."""
        return False


class _WithL1(SAEConfig):
    l1_coefficient: float = Field(
        default=5.0,
        ge=0,
        title="Sparsity coefficient",
        description="Weight of the L1 penalty. Higher: fewer active latents, worse reconstruction.",
    )


class StandardConfig(_WithL1):
    """ReLU with an L1 penalty (Bricken et al. 2023; Cunningham et al. 2023)."""

    architecture: Literal["standard"] = "standard"


class _TopKBase(SAEConfig):
    k: int = Field(
        default=32,
        ge=1,
        title="Active latents (k)",
        description="How many latents stay active per token. 32 is usual.",
    )
    aux_coefficient: float = Field(
        default=1 / 32,
        ge=0,
        title="Auxiliary coefficient",
        description="Weight of the auxiliary loss that lets dead latents explain what is left over (0 turns it off).",
    )
    aux_k: int | None = Field(
        default=None,
        ge=1,
        title="Auxiliary k",
        description="How many dead latents take part in the auxiliary loss; empty means half of d_in.",
    )

    @model_validator(mode="after")
    def _k_fits(self) -> _TopKBase:
        if self.k > self.d_sae:
            raise ConfigError(
                f"k is {self.k:,} but d_sae is {self.d_sae:,}.",
                where="k",
                hint=f"Enter 1 to {self.d_sae:,}; 32 is usual.",
            )
        return self


class TopKConfig(_TopKBase):
    """Keep the k largest pre-activations of every token (Gao et al. 2024)."""

    architecture: Literal["topk"] = "topk"


class BatchTopKConfig(_TopKBase):
    """Keep the k · batch largest activations of the whole batch (Bussmann et al. 2024); JumpReLU at inference."""

    architecture: Literal["batchtopk"] = "batchtopk"
    threshold_momentum: float = Field(
        default=0.99,
        ge=0,
        lt=1,
        title="Threshold momentum",
        description="How slowly the inference threshold follows the smallest kept activation of each batch.",
    )


class JumpReLUConfig(SAEConfig):
    """ReLU with a learned threshold per latent and an L0 penalty (Rajamanoharan et al. 2024)."""

    architecture: Literal["jumprelu"] = "jumprelu"
    l0_coefficient: float = Field(
        default=1.0,
        ge=0,
        title="Sparsity coefficient",
        description="Weight of the L0 penalty. Higher: fewer active latents, worse reconstruction.",
    )
    bandwidth: float = Field(
        default=0.05,
        gt=0,
        title="Bandwidth",
        description="Width of the window around the threshold in which it receives a gradient.",
    )
    initial_threshold: float = Field(
        default=0.01,
        gt=0,
        title="Threshold at the start",
        description="Every latent's threshold at initialisation.",
    )


class GatedConfig(_WithL1):
    """One path decides whether a latent is active, another how strongly (Rajamanoharan et al. 2024)."""

    architecture: Literal["gated"] = "gated"


class SkipConfig(_WithL1):
    """The input is added to the reconstruction, so that latents explain what it leaves over (miStudio)."""

    architecture: Literal["skip"] = "skip"
    skip_scale: float = Field(default=1.0, title="Skip coefficient", description="How much of the input is added.")


class AnyTranscoderConfig(SAEConfig):
    """Latents of one place in the model reconstruct another, `d_out` wide. The input is not centred, and the output is
    not brought back to the input's scale.

    `d_out` is no setting of a training: it follows from the place that is reconstructed.
    """

    d_out: SkipJsonSchema[int | None] = Field(
        default=None,
        ge=1,
        le=MAX_WIDTH,
        title="Output width (d_out)",
        description="Width of what is reconstructed; empty means that of the activations there.",
    )
    apply_b_dec_to_input: SkipJsonSchema[bool] = False

    @model_validator(mode="after")
    def _input_and_output_are_apart(self) -> AnyTranscoderConfig:
        if self.apply_b_dec_to_input and not self._may_centre():
            raise ConfigError(
                "A transcoder's decoder bias belongs to its output.", where="apply_b_dec_to_input", hint="Set it to no."
            )
        if self.reshape_activations != "none":
            raise ConfigError("A transcoder does not reshape heads.", where="reshape_activations", hint='Use "none".')
        return self

    def _may_centre(self) -> bool:
        return False


class TranscoderConfig(AnyTranscoderConfig, _WithL1):
    """Latents of one place in the model reconstruct another (Dunefsky et al. 2024)."""

    architecture: Literal["transcoder"] = "transcoder"


class SkipTranscoderConfig(AnyTranscoderConfig, _WithL1):
    """A transcoder with a linear path from input to output beside the latents (Paulo et al. 2025)."""

    architecture: Literal["skip_transcoder"] = "skip_transcoder"


TrainableSAEConfig = Annotated[
    StandardConfig | TopKConfig | BatchTopKConfig | JumpReLUConfig | TranscoderConfig | SkipTranscoderConfig,
    Field(discriminator="architecture"),
]
