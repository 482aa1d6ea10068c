"""One training run: what to read, where to look, what to learn, for how long."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from saewidgets.config.base import MAX_COUNT, CompileMode, Config
from saewidgets.config.corpus import CorpusConfig, DemoCorpus, as_corpus
from saewidgets.config.hook_names import HOOK_NAME, computed_before, layer_of
from saewidgets.config.names import one_line
from saewidgets.config.optimizer import OptimizerConfig
from saewidgets.config.packing import PackingConfig
from saewidgets.config.positions import Positions, TokenIds, positions
from saewidgets.config.sae import TopKConfig, TrainableSAEConfig
from saewidgets.errors import ConfigError


class TargetsConfig(Config):
    """Goals of a run, judged by every evaluation on held-out text after the warm-ups (so `evaluation.every_steps` says
    how often). Empty ones are not looked at; all others must hold at once.
    """

    fvu: float | None = Field(
        default=None, gt=0, lt=1, title="Target FVU",
        description="Largest fraction of variance unexplained on held-out text that is good enough.",
    )
    mse: float | None = Field(
        default=None, gt=0, title="Target reconstruction loss",
        description="Largest squared error on held-out text that is good enough: mean over tokens, summed over d_in.",
    )
    l0_min: float | None = Field(
        default=None, ge=0, title="Least L0", description="Fewest active latents per token on held-out text."
    )
    l0_max: float | None = Field(
        default=None, gt=0, title="Largest L0", description="Most active latents per token on held-out text."
    )
    evaluations: int = Field(
        default=1, ge=1, le=1000, title="Evaluations in a row",
        description="How many evaluations in a row must agree before the targets count as reached or missed.",
    )
    action: Literal["warn", "stop"] = Field(
        default="warn", title="When the targets are reached",
        description="warn: the log says so, and warns of an L0 outside its range. stop: the run also ends there.",
    )

    @property
    def any(self) -> bool:
        """Whether there is anything to reach."""
        return any(value is not None for value in (self.fvu, self.mse, self.l0_min, self.l0_max))

    @model_validator(mode="after")
    def _fit_together(self) -> TargetsConfig:
        if self.l0_min is not None and self.l0_max is not None and self.l0_min > self.l0_max:
            raise ConfigError(
                f"The range of L0 is empty: from {self.l0_min:g} to {self.l0_max:g}.", where="l0_min",
                hint="Enter at most Largest L0.",
            )
        if self.action == "stop" and not self.any:
            raise ConfigError(
                "There is no target at which the run could stop.", where="action",
                hint="Set a target, or choose warn.",
            )
        return self


class ResamplingConfig(Config):
    """Dead latents are pointed at inputs that are reconstructed badly (Bricken et al. 2023). Off by default.

    Which latents are dead is decided by `dead_window_tokens`.
    """

    every_steps: int | None = Field(
        default=None, ge=1, le=MAX_COUNT, title="Resample every (steps)",
        description="How often dead latents start anew from inputs that are reconstructed badly; empty means never.",
    )
    until_share: float = Field(
        default=0.5, gt=0, le=1, title="Resample until (share of the run)",
        description="No latent starts anew after this share of the run: a new one takes time to learn.",
    )
    encoder_scale: float = Field(
        default=0.2, gt=0, le=10, title="Encoder scale of resampled latents",
        description="Norm of their encoder vectors as a share of the mean norm of living latents. 0.2 is usual.",
    )


class ActivationsConfig(PackingConfig):
    """How text becomes activations."""

    exclude_special_tokens: bool = Field(
        default=True,
        title="Skip special tokens",
        description="Leave BOS, EOS and padding positions out of training and metrics: their activations are outliers.",
    )
    exclude_token_ids: TokenIds = Field(
        default=None,
        title="Skip token ids",
        description="Leave positions with these tokens out of training and metrics as well: 198, 50256. Empty: none.",
    )
    seqpos_slice: Positions = Field(
        default=None,
        title="Positions",
        description="Only these positions of every context take part in training and metrics, as a slice: 5:-5 or "
        "0:64:2. Empty means all.",
    )
    model_batch_size: int = Field(
        default=16,
        ge=1,
        le=4096,
        title="Contexts per forward",
        description="Contexts the language model reads at once.",
    )
    shuffle_tokens: int = Field(
        default=65_536,
        ge=1, le=MAX_COUNT,
        title="Shuffle window (tokens)",
        description="Activations are shuffled within windows of about this many tokens; memory grows with it.",
    )
    buffer_device: str | None = Field(
        default=None,
        max_length=32,
        title="Shuffle window on",
        description="Where the shuffle window is kept: cpu saves memory of the GPU. Empty: where the SAE trains.",
    )
    read_ahead: Literal["auto", "on", "off"] = Field(
        default="auto",
        title="Read ahead",
        description="The next shuffle window is computed while this one is trained on, and takes as much memory again. "
        "auto: where model and SAE are on different devices.",
    )
    normalize: Literal[
        "expected_average_only_in", "none", "layer_norm", "constant_norm_rescale", "covariance_whitening"
    ] = Field(
        default="expected_average_only_in",
        title="Input scaling",
        description="expected_average_only_in: one scale, so that the mean norm is √d_in; folded into the weights at "
        "export. layer_norm, constant_norm_rescale: every token by itself, whenever the SAE is used. "
        "covariance_whitening: mean zero and covariance one in every direction; folded in as well.",
    )
    norm_tokens: int = Field(
        default=65_536,
        ge=256, le=MAX_COUNT,
        title="Tokens for the scale",
        description="Tokens from which the input scale, or the whitening, is estimated.",
    )
    validation_share: float = Field(
        default=0.02,
        ge=0,
        lt=0.5,
        title="Validation share",
        description="Share of the contexts that is only evaluated on.",
    )

    @field_validator("buffer_device", mode="before")
    @classmethod
    def _buffer_device_is_named(cls, value: Any) -> Any:
        return (value.strip() or None) if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _ids_of_saelens(cls, data: Any) -> Any:
        """`exclude_special_tokens` may be a list of ids, as in SAELens: those are left out in place of special ones."""
        if not isinstance(data, Mapping) or isinstance(data.get("exclude_special_tokens", True), bool | str):
            return data
        if data.get("exclude_token_ids"):
            raise ConfigError(
                "Token ids are listed twice.", where="exclude_special_tokens",
                hint="Say yes or no here, and list the ids in exclude_token_ids.",
            )
        ids = data["exclude_special_tokens"]
        if not isinstance(ids, list | tuple):
            return data
        return {**data, "exclude_special_tokens": False, "exclude_token_ids": ids}

    @property
    def is_measured(self) -> bool:
        """Whether activations are read before training to measure how they are scaled."""
        return self.normalize in ("expected_average_only_in", "covariance_whitening")

    def positions(self, context_size: int) -> range:
        """The positions of a context that `seqpos_slice` takes."""
        return positions(self.seqpos_slice, context_size)


class EvaluationConfig(Config):
    """Evaluation on held-out text while training."""

    every_steps: int | None = Field(
        default=None, ge=1, le=MAX_COUNT, title="Evaluate every (steps)",
        description="Empty means ten times per run; less in a run so short that evaluations would read more than it.",
    )
    tokens: int = Field(
        default=16_384, ge=256, le=MAX_COUNT, title="Evaluation tokens", description="Held-out tokens per evaluation."
    )


class CheckpointConfig(Config):
    """When checkpoints are written and which are kept."""

    every_steps: int | None = Field(
        default=None, ge=1, le=MAX_COUNT, title="Checkpoint every (steps)", description="Empty means ten times per run."
    )
    keep_every: bool = Field(
        default=False, title="Keep every checkpoint", description="Otherwise only the latest and the best stay on disk."
    )
    best_metric: Literal["fvu", "loss", "ce_loss_score", "mse"] = Field(
        default="fvu", title="Best by", description="The evaluated metric that decides which checkpoint is the best."
    )


class TrainingConfig(Config):
    """Everything that defines a training run. Two runs of the same configuration on the same machine are bit-identical.

    `corpus` also takes ``"demo"``, a path or a list of paths.
    """

    name: str | None = Field(
        default=None,
        max_length=120,
        title="Name",
        description="Empty: made from the model, the layer and the architecture.",
    )
    model: str = Field(
        default="demo", min_length=1, title="Model", description='A Hugging Face id, a local folder, or "demo".'
    )
    model_revision: str | None = Field(
        default=None, title="Model revision", description="Branch, tag or commit on the hub."
    )
    model_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", title="Model precision", description="Number format of the language model's weights."
    )
    corpus: CorpusConfig = Field(
        default=DemoCorpus(), title="Dataset",
        description='"demo", a file or folder, or a dataset of the hub: owner/name or owner/name:configuration.',
    )
    hook_name: str = Field(
        default="blocks.2.hook_resid_post",
        title="Hook name",
        description="Where in the model the activations are read.",
    )
    hook_name_out: str | None = Field(
        default=None,
        title="Output hook name",
        description="What a transcoder reconstructs: where in the model its target is read. Only for transcoders.",
    )
    context_size: int = Field(
        default=256, ge=2, le=1_048_576, title="Context length", description="Tokens per context the model reads."
    )
    sae: TrainableSAEConfig = Field(default=TopKConfig(), title="Autoencoder")
    from_pretrained: str | None = Field(
        default=None,
        max_length=4096,
        title="Start from SAE",
        description="An SAE of the library (its id or name), a training, or a folder with an SAE: training starts from "
        "its weights. Empty: random weights.",
    )
    tokens: int = Field(
        default=10_000_000,
        ge=1, le=MAX_COUNT,
        title="Tokens",
        description="How many activations to train on; text repeats when it runs out.",
    )
    epochs: float | None = Field(
        default=None,
        gt=0, le=1e6,
        title="Epochs",
        description="Passes over the training text, in place of Tokens; empty means that Tokens decides.",
    )
    batch_size: int = Field(
        default=4096, ge=1, le=MAX_COUNT, title="Batch size", description="Tokens per optimiser step."
    )
    gradient_accumulation: int = Field(
        default=1,
        ge=1, le=MAX_COUNT,
        title="Gradient accumulation",
        description="Microbatches a batch is split into, to save memory.",
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        title="Precision",
        description="Number format of the autoencoder's matrix products while training.",
    )
    device: str = Field(default="auto", title="Device", description='"auto" takes the first CUDA device, else the CPU.')
    model_device: str | None = Field(
        default=None,
        max_length=32,
        title="Model device",
        description="Where the language model is, if that is another device than the SAE's. Empty: the same.",
    )
    model_compile: CompileMode | None = Field(
        default=None,
        title="Compile model",
        description="Compile the blocks of the language model with this mode of torch.compile; where that fails they "
        "run as they are. Empty: not compiled.",
    )
    seed: int = Field(default=0, ge=0, le=2**63 - 1, title="Seed", description="Fixes initialisation and shuffling.")
    dead_window_tokens: int = Field(
        default=1_000_000,
        ge=1, le=MAX_COUNT,
        title="Dead window (tokens)",
        description="A latent that did not fire in this many tokens counts as dead.",
    )
    log_every_steps: int = Field(
        default=10, ge=1, le=MAX_COUNT, title="Log every (steps)", description="How often metrics are recorded."
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    resampling: ResamplingConfig = ResamplingConfig()
    targets: TargetsConfig = TargetsConfig()
    activations: ActivationsConfig = ActivationsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()

    @field_validator("name", mode="before")
    @classmethod
    def _plain_name(cls, name: Any) -> Any:
        """One line without blanks around it; nothing but blanks is no name."""
        return (one_line(name) or None) if isinstance(name, str) else name

    @field_validator("model")
    @classmethod
    def _model_is_named(cls, model: str) -> str:
        if not model.strip():
            raise ConfigError("The model is missing.", hint='Enter a Hugging Face id, a local folder, or "demo".')
        return model.strip()

    @field_validator("model_device", mode="before")
    @classmethod
    def _model_device_is_named(cls, value: Any) -> Any:
        return (value.strip() or None) if isinstance(value, str) else value

    @field_validator("from_pretrained")
    @classmethod
    def _pretrained_is_named(cls, value: str | None) -> str | None:
        return (value or "").strip() or None

    @field_validator("corpus", mode="before")
    @classmethod
    def _corpus_from_text(cls, value: Any) -> Any:
        return as_corpus(value)

    @field_validator("hook_name", "hook_name_out")
    @classmethod
    def _hook_name_has_the_form(cls, value: str | None) -> str | None:
        if value is not None and not HOOK_NAME.fullmatch(value):
            raise ConfigError(
                f"{value!r} is not a hook name.",
                hint="Use blocks.LAYER.hook_resid_pre, hook_resid_post, hook_mlp_out, hook_attn_out, attn.hook_z, "
                "ln2.hook_normalized or mlp.hook_in; attn.hook_z.HEAD is one head.",
            )
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingConfig:
        if self.tokens < self.batch_size:
            raise ConfigError(
                f"{self.tokens:,} tokens do not fill one batch of {self.batch_size:,}.",
                where="tokens",
                hint="Raise Tokens or lower Batch size.",
            )
        if self.batch_size % self.gradient_accumulation:
            raise ConfigError(
                f"A batch of {self.batch_size:,} cannot be split into {self.gradient_accumulation} equal parts.",
                where="gradient_accumulation",
                hint="Choose a divisor of Batch size.",
            )
        if not len(self.activations.positions(self.context_size)):
            raise ConfigError(
                f"A context of {self.context_size:,} tokens has no such position.", where="activations.seqpos_slice",
                hint="Choose other positions, or raise Context length.",
            )
        if self.sae.is_transcoder and self.hook_name_out is None:
            raise ConfigError(
                "A transcoder reconstructs another place in the model, which is missing.",
                where="hook_name_out", hint=f"Enter its hook name. {self._usual_pair}",
            )
        if not self.sae.is_transcoder and self.hook_name_out is not None:
            raise ConfigError(
                f"{self.sae.architecture} reconstructs what it reads; only transcoders have an output hook name.",
                where="hook_name_out", hint="Leave it empty, or choose a transcoder.",
            )
        if self.hook_name_out is not None and computed_before(self.hook_name_out, self.hook_name):
            raise ConfigError(
                f"The model computes {self.hook_name_out} before {self.hook_name}.", where="hook_name_out",
                hint=f"A transcoder reconstructs what comes after the place it reads. {self._usual_pair}",
            )
        if self.sae.reshape_activations != "none":
            raise ConfigError(
                f"{self.sae.reshape_activations} is for SAEs that are loaded; training does without.",
                where="sae.reshape_activations", hint="Leave it out.",
            )
        if self.normalizes_tokens and self.sae.architecture == "skip":
            raise ConfigError(
                "A skip autoencoder that normalises every token by itself cannot be written for others to read.",
                where="activations.normalize", hint="Choose E‖x‖ = √d_in (expected_average_only_in), or none.",
            )
        if self.activations.normalize == "covariance_whitening" and (
            self.sae.is_transcoder or self.sae.architecture == "skip"
        ):
            raise ConfigError(
                f"The whitening of its input cannot be moved into the weights of a {self.sae.architecture}.",
                where="activations.normalize", hint="Choose E‖x‖ = √d_in (expected_average_only_in), or none.",
            )
        if (value := self.sae.normalize_activations) not in ("none", self.activations.normalize):
            raise ConfigError(
                f"The inputs are {value} here and {self.activations.normalize} in activations.normalize.",
                where="sae.normalize_activations", hint=f'Leave it out, and set activations.normalize to "{value}".',
            )
        return self

    @property
    def _usual_pair(self) -> str:
        """For the hint of an error."""
        return f"The usual pair is blocks.{self.layer}.mlp.hook_in and blocks.{self.layer}.hook_mlp_out."

    @property
    def normalizes_tokens(self) -> bool:
        """Whether every token is normalised by itself, whenever the SAE is used."""
        return self.activations.normalize in ("layer_norm", "constant_norm_rescale")

    @property
    def autoencoder(self) -> TrainableSAEConfig:
        """What is trained: `sae` with the normalisation of `activations.normalize`, where that is part of an SAE."""
        if not self.normalizes_tokens:
            return self.sae
        return self.sae.model_copy(update={"normalize_activations": self.activations.normalize})

    @property
    def hook_names(self) -> tuple[str, ...]:
        """The hook points that are read: `hook_name`, and for a transcoder `hook_name_out` behind it."""
        return (self.hook_name,) if self.hook_name_out is None else (self.hook_name, self.hook_name_out)

    @property
    def layer(self) -> int:
        """The layer in `hook_name`."""
        return layer_of(self.hook_name)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run (a rest smaller than a batch is dropped)."""
        return self.tokens // self.batch_size

    @property
    def default_name(self) -> str:
        """A readable name from the parts that usually tell runs apart."""
        model = re.sub(r"[^A-Za-z0-9.-]+", "-", self.model.rstrip("/").split("/")[-1]).strip("-") or "model"
        tail = f"-k{self.sae.k}" if isinstance(self.sae, TopKConfig) or hasattr(self.sae, "k") else ""
        return f"{model}-l{self.layer}-{self.sae.architecture}{tail}"
