"""Configurations of autoencoders: one model per architecture, chosen by the field `architecture`."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic.json_schema import SkipJsonSchema

from saewidgets.config.arguments import shown
from saewidgets.config.base import Config, require
from saewidgets.config.packing import whole_numbers
from saewidgets.errors import ConfigError

MAX_WIDTH = 2**20
Normalization = Literal["none", "layer_norm", "constant_norm_rescale"]
Reshaping = Literal["none", "hook_z"]


def usual_target(d_sae: int) -> float:
    """The active latents per token that a penalty aims at where nothing is said."""
    return min(50.0, d_sae / 8)


class SAEConfig(Config):
    """Settings that every architecture has.

    `normalize_activations` and `reshape_activations` decide what is computed from an SAE. A training sets the former
    from its `activations.normalize` and has no use for the latter, so the form of a training (which is the JSON schema)
    does not have them.
    """

    architecture: str
    d_sae: int = Field(
        default=16_384, ge=1, le=2**24, title="Latents (d_sae)",
        description="How many latents the autoencoder has. 8 to 32 times the width of the model is usual.",
    )
    apply_b_dec_to_input: bool = Field(
        default=True, title="Subtract b_dec from the input",
        description="Centre the input with the decoder bias before encoding.",
    )
    decoder_init_norm: float = Field(
        default=0.1, gt=0, le=10, title="Decoder norm at the start",
        description="Norm of every decoder row at initialisation; the encoder starts as its transpose, and one that "
        "starts small learns faster.",
    )
    start_from_data: bool = Field(
        default=True, title="Start from the data",
        description="The decoder bias starts at the mean of the first batch (of standard at half of it), and biases or "
        "thresholds where Target L0 asks for them; otherwise biases start at zero.",
    )
    normalize_activations: SkipJsonSchema[Normalization] = Field(
        default="none", title="Normalisation",
        description="What happens to every input vector before it is encoded, undone in the reconstruction.",
    )
    reshape_activations: SkipJsonSchema[Reshaping] = Field(
        default="none", title="Reshaping",
        description="hook_z: the input may come as [..., heads, d_head], whose heads are laid side by side.",
    )

    @property
    def is_transcoder(self) -> bool:
        """Whether it reconstructs another place in the model than the one it reads."""
        return False

    @property
    def is_steered(self) -> bool:
        """Whether training looks for the sparsity coefficient, since none is given."""
        return False


class Penalised(SAEConfig):
    """An SAE with a penalty on active latents, whose coefficient is given or steered."""

    target_l0: float | None = Field(
        default=None, gt=0, title="Target L0",
        description="How many latents shall be active per token. Empty: 50, or an eighth of fewer than 400 latents. Of "
        "no effect where a sparsity coefficient is given, unless the penalty is quadratic.",
    )
    pre_act_coefficient: float | None = Field(
        default=0.01, ge=0, title="Pre-activation coefficient",
        description="Weight of a penalty that lifts the pre-activations of dead latents until they fire; empty turns "
        "it off.",
    )

    @property
    def coefficient(self) -> float | None:
        """The weight of the penalty; None where training steers it until L0 is at `aim`."""
        raise NotImplementedError

    @property
    def is_steered(self) -> bool:
        return self.coefficient is None

    @property
    def aims(self) -> bool:
        """Whether anything is aimed at `aim`."""
        return self.is_steered

    @property
    def aim(self) -> float:
        """The number of active latents per token to which training steers."""
        return self.target_l0 or usual_target(self.d_sae)

    @model_validator(mode="after")
    def _target_fits(self) -> Self:
        target = self.target_l0 or 0.0
        require((target <= self.d_sae, "target_l0", f"Target L0 is {target:,g} but d_sae is {self.d_sae:,}.",
                 f"Enter at most {self.d_sae:,}."))  # fmt: skip
        return self


class _WithL1(Penalised):
    l1_coefficient: float | None = Field(
        default=None, ge=0, title="Sparsity coefficient",
        description="Weight of the L1 penalty; empty: training finds the one that leads to Target L0. Higher: fewer "
        "active latents, worse reconstruction. A wider model needs more, by the square root of the width.",
    )

    @property
    def coefficient(self) -> float | None:
        return self.l1_coefficient


class StandardConfig(_WithL1):
    """ReLU with an L1 penalty (Bricken et al. 2023; Cunningham et al. 2023), or an Lp one whose p may fall during the
    run (Karvonen et al. 2024)."""

    architecture: Literal["standard"] = "standard"
    lp_norm: float = Field(
        default=1.0, gt=0, le=2, title="Norm (p)",
        description="The penalty is the Lp norm of the latents. 1 is usual; below 1 punishes many weak latents more.",
    )
    p_end: float | None = Field(
        default=None, gt=0, lt=1, title="p at the end",
        description="Let p fall from 1 to this over the run (p-anneal); empty keeps it. 0.2 is usual.",
    )
    p_hold: float = Field(
        default=0.1, ge=0, lt=1, title="Share of the run before p falls",
        description="Where p falls, it stays 1 for this share of the run.",
    )

    @model_validator(mode="after")
    def _one_p(self) -> Self:
        require((
            self.p_end is None or self.lp_norm == 1, "lp_norm", f"p falls from 1, but lp_norm is {self.lp_norm}.",
            "Leave lp_norm at 1, or leave p_end empty.",
        ))  # fmt: skip
        return self


class FixedK(SAEConfig):
    """An SAE with k latents active per token."""

    k: int = Field(ge=1, title="Active latents (k)", description="How many latents are kept per token.")

    @model_validator(mode="after")
    def _k_fits(self) -> Self:
        hint = f"Enter 1{f' to {self.d_sae:,}' * (self.d_sae > 1)}{'; 32 is usual' * (self.d_sae >= 32)}."
        if self.k == type(self).model_fields["k"].default:  # then d_sae was chosen
            fewest = f"Enter at least {self.k:,}, or lower Active latents (k)."
            require((self.k <= self.d_sae, "d_sae", f"d_sae is {self.d_sae:,} but k is {self.k:,}.", fewest))
        require((self.k <= self.d_sae, "k", f"k is {self.k:,} but d_sae is {self.d_sae:,}.", hint))
        return self


class _TopKBase(FixedK):
    k: int = Field(
        default=32, ge=1, title="Active latents (k)", description="How many latents stay active per token. 32 is usual."
    )
    aux_coefficient: float = Field(
        default=0.5, ge=0, title="Auxiliary coefficient",
        description="Weight of the auxiliary loss that lets dead latents explain what is left over (0 turns it off).",
    )
    aux_k: int | None = Field(
        default=None, ge=1, title="Auxiliary k",
        description="How many dead latents take part in the auxiliary loss; empty means half of d_in.",
    )


class TopKConfig(_TopKBase):
    """Keep the k largest pre-activations of every token (Gao et al. 2024)."""

    architecture: Literal["topk"] = "topk"
    unit_norm_from: float | None = Field(
        default=0.5, ge=0, le=1, title="Norm one from (share of the run)",
        description="Share of the run after which decoder rows are kept at norm one: they find more while they are "
        "free, and reconstruct better once they are not. Empty means never, as in runs of under 300 steps and of an "
        "SAE to start from.",
    )


class _BatchTopKBase(_TopKBase):
    threshold_momentum: float | None = Field(
        default=None, ge=0, lt=1, title="Threshold momentum",
        description="How slowly the inference threshold follows the smallest kept activation of each batch. Empty: "
        "0.99, and less in runs of under 5,000 steps.",
    )


class BatchTopKConfig(_BatchTopKBase):
    """Keep the k · batch largest activations of the whole batch (Bussmann et al. 2024); JumpReLU at inference."""

    architecture: Literal["batchtopk"] = "batchtopk"


def _as_widths(value: Any) -> Any:
    """Numbers from text as a form has it: "64, 256"; nothing but blanks is none."""
    found = whole_numbers(value) if isinstance(value, str) else value
    if value is not None and not isinstance(found, list | tuple):
        raise ConfigError(f"{shown(value)} is not a list of widths.", hint="Enter whole numbers: 512, 2048, 8192.")
    return (found or None) if isinstance(value, str) else value


Widths = Annotated[
    tuple[int, ...] | None,
    BeforeValidator(_as_widths),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]}, mode="validation"),
]
_GROUPS = (1 / 32, 3 / 32, 7 / 32, 15 / 32)  # of the paper: groups of 1/32, 1/16, 1/8, 1/4 and the rest


class MatryoshkaConfig(_BatchTopKBase):
    """BatchTopK whose first latents also reconstruct alone, at several nested widths (Bussmann et al. 2025)."""

    architecture: Literal["matryoshka"] = "matryoshka"
    widths: Widths = Field(
        default=None, max_length=64, title="Nested widths",
        description="How many of the first latents reconstruct alone: 512, 2048, 8192. All latents are always the last "
        "width. Empty means 1/32, 3/32, 7/32, 15/32 and all of them.",
    )
    aux_per_width: bool = Field(
        default=False, title="Auxiliary loss per width",
        description="Dead latents explain what is left over at their own width instead of at the last one.",
    )

    @model_validator(mode="after")
    def _widths_grow(self) -> Self:
        levels = self.levels
        require(
            (all(narrow < wide for narrow, wide in zip((0, *levels), levels, strict=False)), "widths",
             f"The widths are {', '.join(f'{w:,}' for w in levels)} with d_sae as the last.",
             f"Each is larger than the one before, from 1 to {self.d_sae:,}."),
            (len(levels) > 1, "widths", "There is only one width, that of all latents.",
             "Give a smaller one as well, or choose batchtopk."),
        )  # fmt: skip
        return self

    @property
    def levels(self) -> tuple[int, ...]:
        """The nested widths, d_sae the last."""
        if self.widths is None:
            chosen = sorted({max(1, round(share * self.d_sae)) for share in _GROUPS} - {self.d_sae})
            return (*chosen, self.d_sae)
        return self.widths if self.widths[-1:] == (self.d_sae,) else (*self.widths, self.d_sae)


class JumpReLUConfig(Penalised):
    """ReLU with a learned threshold per latent and an L0 penalty (Rajamanoharan et al. 2024)."""

    architecture: Literal["jumprelu"] = "jumprelu"
    l0_coefficient: float | None = Field(
        default=None, ge=0, title="Sparsity coefficient",
        description="Weight of the L0 penalty; empty: training finds the one that leads to Target L0 (1 where the "
        "penalty is quadratic). Higher: fewer active latents, worse reconstruction. A wider model needs more, in "
        "proportion to the width.",
    )
    threshold_parameter: Literal["linear", "log"] = Field(
        default="linear", title="Thresholds learned as",
        description="linear: the threshold itself, as in SAELens. log: its logarithm, ten times as fast as weights.",
    )
    bandwidth: float = Field(
        default=0.05, gt=0, title="Bandwidth",
        description="Width of the window around the threshold in which it receives a gradient.",
    )
    initial_threshold: float | None = Field(
        default=None, gt=0, title="Threshold at the start",
        description="Every latent's threshold at initialisation; empty: where Target L0 latents of the first batch are "
        "active.",
    )
    sparsity_loss: Literal["step", "tanh", "l1", "quadratic"] = Field(
        default="step", title="Sparsity penalty",
        description="step: the number of active latents. tanh: a smooth form of it. l1: the sum of the latents. "
        "quadratic: how far L0 is from its target.",
    )
    tanh_scale: float = Field(
        default=4.0, gt=0, title="Scale of tanh",
        description="Of the tanh penalty: the larger, the weaker a latent that counts in full. 4 is usual.",
    )
    ste_to_input: bool = Field(
        default=False, title="Estimate reaches the encoder",
        description="The straight-through gradient moves the pre-activations as well as the thresholds.",
    )

    @property
    def coefficient(self) -> float | None:
        """The weight of the penalty; None where training steers it. The quadratic one aims by itself."""
        return 1.0 if self.l0_coefficient is None and self.sparsity_loss == "quadratic" else self.l0_coefficient

    @property
    def aims(self) -> bool:
        return self.is_steered or self.sparsity_loss == "quadratic"


class GatedConfig(_WithL1):
    """One path decides whether a latent is active, another how strongly (Rajamanoharan et al. 2024)."""

    architecture: Literal["gated"] = "gated"


class SkipConfig(_WithL1):
    """A part of the input is added to the reconstruction, so that latents explain what it leaves over (miStudio)."""

    architecture: Literal["skip"] = "skip"
    skip_scale: float = Field(
        default=0.5, title="Skip coefficient",
        description="How much of the input is added to the reconstruction; where it is learned, at the start. At 1 "
        "nothing is left for the latents.",
    )
    learn_skip: bool = Field(
        default=False, title="Learn the skip coefficient", description="Let training move the skip coefficient."
    )
    skip_max: float = Field(
        default=0.9, gt=0, le=1, title="Largest skip coefficient",
        description="What a learned coefficient cannot exceed: every penalty on latents pulls it towards 1.",
    )

    @model_validator(mode="after")
    def _starts_in_range(self) -> Self:
        require((
            not self.learn_skip or 0 <= self.skip_scale <= self.skip_max, "skip_scale",
            f"The skip coefficient starts at {self.skip_scale:g}.",
            f"A learned coefficient stays between 0 and skip_max, which is {self.skip_max:g}.",
        ))  # fmt: skip
        return self


class AnyTranscoderConfig(SAEConfig):
    """Latents of one place in the model reconstruct another, `d_out` wide. The input is not centred, and the output is
    not brought back to the input's scale.

    `d_out` is not a setting of a training: it follows from the hook point that is reconstructed.
    """

    d_out: SkipJsonSchema[int | None] = Field(
        default=None, ge=1, le=MAX_WIDTH, title="Output width (d_out)",
        description="Width of what is reconstructed; empty means that of the activations there.",
    )
    apply_b_dec_to_input: SkipJsonSchema[bool] = False

    _may_centre: ClassVar[bool] = False

    @property
    def is_transcoder(self) -> bool:
        return not self.apply_b_dec_to_input  # only sparsify's SAEs with a skip path centre their input

    @model_validator(mode="after")
    def _input_and_output_are_apart(self) -> Self:
        require(
            (self._may_centre or not self.apply_b_dec_to_input, "apply_b_dec_to_input",
             "A transcoder's decoder bias belongs to its output.", "Set it to no."),
            (self.reshape_activations == "none", "reshape_activations", "A transcoder does not reshape heads.",
             'Use "none".'),
        )  # fmt: skip
        return self


class TranscoderConfig(AnyTranscoderConfig, _WithL1):
    """Latents of one place in the model reconstruct another (Dunefsky et al. 2024)."""

    architecture: Literal["transcoder"] = "transcoder"


class SkipTranscoderConfig(AnyTranscoderConfig, _WithL1):
    """A transcoder with a linear path from input to output beside the latents (Paulo et al. 2025)."""

    architecture: Literal["skip_transcoder"] = "skip_transcoder"


TrainableSAEConfig = Annotated[
    StandardConfig
    | TopKConfig
    | BatchTopKConfig
    | MatryoshkaConfig
    | JumpReLUConfig
    | GatedConfig
    | SkipConfig
    | TranscoderConfig
    | SkipTranscoderConfig,
    Field(discriminator="architecture"),
]
