"""Defines `TrainingConfig`, one training run (model, corpus, hook point, SAE, length), and the configurations of its
parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic.json_schema import SkipJsonSchema

from saewidgets.config.base import (
    MAX_COUNT,
    CompileMode,
    Config,
    ContextSize,
    Count,
    CountOrNone,
    Device,
    DeviceOrNone,
    Dtype,
    ForwardBatch,
    ModelDtype,
    ModelName,
    ModelRevision,
    Name,
    PathOrNone,
    Seed,
    dotted,
    put,
    require,
)
from saewidgets.config.corpus import Corpus, DemoCorpus, as_corpus
from saewidgets.config.hook_names import HookName, computed_before, layer_of
from saewidgets.config.packing import PackingConfig, Positions, TokenIds, positions
from saewidgets.config.sae import TopKConfig, TrainableSAEConfig
from saewidgets.config.validation import config_errors
from saewidgets.errors import ConfigError

Sample = Annotated[int, Field(ge=256, le=MAX_COUNT)]  # tokens that something is measured on
_Steps = Annotated[int | None, Field(ge=0, le=MAX_COUNT)]


class OptimizerConfig(Config):
    """Adam and its schedules. Steps are optimiser steps (`batch_size` tokens each)."""

    lr: float | None = Field(
        default=None, gt=0, le=1, title="Learning rate",
        description="Adam's peak learning rate; empty: from the number of latents and steps.",
    )
    beta1: float = Field(
        default=0.9, ge=0, lt=1, title="Beta 1",
        description="How slowly Adam's running mean of the gradient changes. 0.9 is usual.",
    )
    beta2: float = Field(
        default=0.999, ge=0, lt=1, title="Beta 2",
        description="How slowly Adam's running mean of the squared gradient changes. 0.999 is usual.",
    )
    eps: float = Field(
        default=1e-8, gt=0, title="Epsilon",
        description="Added to the divisor of Adam's step, so that tiny gradients make no large steps. 1e-8 is usual.",
    )
    weight_decay: float = Field(default=0.0, ge=0, title="Weight decay", description="Decoupled (AdamW) weight decay.")
    grad_clip: float | None = Field(
        default=1.0, gt=0, title="Gradient clip", description="Largest norm of the gradient; empty turns clipping off."
    )
    normalize_decoder_every: CountOrNone = Field(
        default=None, title="Normalise decoder every (steps)",
        description="How often decoder rows are brought back to norm one; empty means never, which learns better.",
    )
    project_decoder_grad: bool = Field(
        default=False, title="Project decoder gradient",
        description="Remove the part of the decoder's gradient that would only change the norm of its rows.",
    )
    lr_schedule: Literal["constant", "linear", "cosine", "cosine_restarts"] = Field(
        default="constant", title="Learning-rate schedule", description="Shape between warm-up and the final decay."
    )
    lr_end: float | None = Field(
        default=None, ge=0, le=1, title="Learning rate at the end",
        description="Where all schedules but constant arrive before the final decay; empty means a tenth of the peak.",
    )
    lr_cycles: int = Field(
        default=1, ge=1, le=10_000, title="Cosine cycles",
        description="How many times cosine_restarts falls from the peak; other schedules have one fall.",
    )
    lr_warm_up_steps: _Steps = Field(
        default=None, title="Warm-up steps",
        description="Linear warm-up; empty means 5 % of the run, at most 1,000.",
    )
    lr_decay_steps: _Steps = Field(
        default=None, title="Decay steps",
        description="Linear decay to zero at the end; empty means 20 % of the run.",
    )
    sparsity_warm_up_steps: _Steps = Field(
        default=None, title="Sparsity warm-up steps",
        description="The sparsity coefficient grows linearly over these steps; empty: 5 % of the run, at most 10,000.",
    )

    @model_validator(mode="after")
    def _schedule_falls(self) -> Self:
        end = self.lr_end or 0.0
        decays_to_zero = self.lr_schedule != "constant" and self.lr_end == 0
        require(
            (self.lr is not None or not end, "lr_end", "The learning rate to fall from is empty.",
             "Enter Learning rate as well, or leave it empty."),
            (self.lr is None or end <= self.lr, "lr_end",
             f"The learning rate would rise from {self.lr or 0:g} to {end:g}.",
             "Enter at most Learning rate, or leave it empty."),
            (not decays_to_zero or self.lr_decay_steps == 0, "lr_end",
             "The schedule ends at zero, so nothing would be learned in the decay after it.",
             "Set Decay steps to 0, or leave this empty."),
        )  # fmt: skip
        return self


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
        least, most = self.l0_min or 0.0, float("inf") if self.l0_max is None else self.l0_max
        require(
            (least <= most, "l0_min", f"The range of L0 is empty: from {least:g} to {most:g}.",
             "Enter at most Largest L0."),
            (self.any or self.action == "warn", "action", "There is no target at which the run could stop.",
             "Set a target, or choose warn."),
        )  # fmt: skip
        return self


class ResamplingConfig(Config):
    """Dead latents are pointed at inputs that are reconstructed badly (Bricken et al. 2023). Off by default.

    Which latents are dead is decided by `dead_window_tokens`.
    """

    every_steps: CountOrNone = Field(
        default=None, title="Resample every (steps)",
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
        default=True, title="Skip special tokens",
        description="Leave BOS, EOS and padding positions out of training and metrics: their activations are outliers.",
    )
    exclude_token_ids: TokenIds = Field(
        default=None, title="Skip token ids",
        description="Leave positions with these tokens out of training and metrics as well: 198, 50256. Empty: none.",
    )
    seqpos_slice: Positions = Field(
        default=None, title="Positions",
        description="Only these positions of every context take part in training and metrics, as a slice: 5:-5 or "
        "0:64:2. Empty means all.",
    )
    model_batch_size: ForwardBatch = Field(default=16, description="Contexts the language model reads at once.")
    shuffle_tokens: Count = Field(
        default=65_536, title="Shuffle window (tokens)",
        description="Activations are shuffled within windows of about this many tokens; memory grows with it.",
    )
    buffer_device: DeviceOrNone = Field(
        default=None, title="Shuffle window on",
        description="Where the shuffle window is kept: cpu saves memory of the GPU. Empty: where the SAE trains.",
    )
    read_ahead: Literal["auto", "on", "off"] = Field(
        default="auto", title="Read ahead",
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
    norm_tokens: Sample = Field(
        default=65_536, title="Tokens for the scale",
        description="Tokens from which the input scale, or the whitening, is estimated.",
    )
    validation_share: float = Field(
        default=0.02, ge=0, lt=0.5, title="Validation share",
        description="Share of the contexts that is only evaluated on.",
    )

    @model_validator(mode="before")
    @classmethod
    def _ids_of_saelens(cls, data: Any) -> Any:
        """`exclude_special_tokens` may be a list of ids, as in SAELens: those are left out in place of special ones."""
        if not isinstance(data, Mapping) or isinstance(data.get("exclude_special_tokens", True), bool | str):
            return data
        if data.get("exclude_token_ids"):
            raise ConfigError(
                "Token ids are listed twice.", where="exclude_special_tokens",
                hint="Enter yes or no here, and list the ids in exclude_token_ids.",
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

    every_steps: CountOrNone = Field(
        default=None, title="Evaluate every (steps)",
        description="Empty: up to ten times per run, so that evaluations take at most 5 % of its time.",
    )
    tokens: Sample | None = Field(
        default=None, title="Evaluation tokens",
        description="Held-out tokens per evaluation. Empty: 16,384, or 8,192 in a short run.",
    )
    ce_tokens: Sample | None = Field(
        default=None, title="Cross-entropy tokens",
        description="How many of them the cross-entropy is measured on. Empty: as many as these 5 % allow, or all if "
        "Evaluation tokens is set.",
    )


class CheckpointConfig(Config):
    """When checkpoints are written and which are kept."""

    every_steps: CountOrNone = Field(
        default=None, title="Checkpoint every (steps)", description="Empty means ten times per run."
    )
    keep_every: bool = Field(
        default=False, title="Keep every checkpoint", description="Otherwise only the latest and the best stay on disk."
    )
    best_metric: Literal["fvu", "loss", "ce_loss_score", "mse"] = Field(
        default="fvu", title="Best by", description="The evaluated metric that decides which checkpoint is the best."
    )


class Parallel(Config):
    """Workers that train one SAE together, each on a device of its own: `data` · `latents` of them. All workers forward
    their share of the text."""

    data: Count = Field(
        default=1, title="Workers by data",
        description="How many workers share the rows of every batch; gradients are averaged over them.",
    )
    latents: Count = Field(
        default=1, title="Workers by latents",
        description="How many workers share the latents, for a dictionary that is too large for one device.",
    )

    @property
    def workers(self) -> int:
        return self.data * self.latents


def usual_rate(architecture: str, d_sae: int, steps: int) -> float:
    """What an empty learning rate means in a run of so many steps."""
    found = (8e-3 if architecture == "standard" else 4e-3) * (1024 / d_sae) ** 0.5 * (600 / max(1, steps)) ** 0.225
    return float(f"{min(8e-3, max(5e-5, found)):.2g}")


def dead_window(tokens: int, batch_size: int) -> int:
    """What an empty dead window of a run of so many tokens means."""
    return max(batch_size, min(1_000_000, tokens // 20))


_FORMER = {
    "dead_window_tokens": 1_000_000, "optimizer.lr": 3e-4, "optimizer.normalize_decoder_every": 1,
    "optimizer.project_decoder_grad": True, "sae.start_from_data": False,
}  # fmt: skip
_FORMER_PENALISED = {"sae.target_l0": None, "sae.pre_act_coefficient": None}
_FORMER_JUMPRELU = {"sae.l0_coefficient": 1.0, "sae.threshold_parameter": "log", "sae.initial_threshold": 0.01}
_RECORDED = ("seed", "log_every_steps", "dead_window_tokens", "evaluation")  # recorded configurations have all settings


def with_former_defaults(data: Any) -> Any:
    """`data` of a training of version 1 with the defaults of then, so that it keeps its numbers. Of version 1 are those
    that say so, and recorded ones (every setting of then is there, none of now) that say no version."""
    if not isinstance(data, Mapping):
        return data
    sae = data.get("sae")
    is_former = (
        all(name in data for name in _RECORDED) and isinstance(sae, Mapping) and "start_from_data" not in sae
    )
    if data.get("version", 1 if is_former else 2) != 1:
        return data
    found = {"version": 1, **data, **{name: _plain(data[name]) for name in ("sae", "optimizer") if name in data}}
    given = dict(dotted(found))
    architecture = str(given.get("sae.architecture", "topk"))
    former: dict[str, Any] = {"sae.architecture": architecture, **_FORMER}
    if "topk" in architecture or architecture == "matryoshka":
        former["sae.aux_coefficient"] = 1 / 32
        if architecture == "topk":
            former["sae.unit_norm_from"] = None
    else:
        former |= _FORMER_PENALISED
        former |= _FORMER_JUMPRELU if architecture == "jumprelu" else {"sae.l1_coefficient": 1.0}
    for name, value in former.items():
        if name not in given:
            put(found, name, value)
    tokens, batch = (found.get(name, TrainingConfig.model_fields[name].default) for name in ("tokens", "batch_size"))
    is_open = architecture in ("batchtopk", "matryoshka") and given.get("sae.threshold_momentum") is None
    if is_open and found.get("epochs") is None and type(tokens) is type(batch) is int and 0 < batch <= tokens:
        put(found, "sae.threshold_momentum", former_momentum(tokens // batch))
    return found


def former_momentum(steps: int) -> float:
    """What an empty `threshold_momentum` of version 1 means; a run in epochs knows its steps once its text is read."""
    return max(0.0, min(0.99, 1 - 10 / steps))


def _plain(value: Any) -> Any:
    """A part of a configuration as data; of an object only what was given when it was made, and its architecture."""
    if not isinstance(value, Config):
        return value
    return value.model_dump(exclude_unset=True) | value.model_dump(include={"architecture"})


class TrainingConfig(Config):
    """Everything that defines a training run. Two runs of the same configuration on the same machine are bit-identical.

    `corpus` also takes ``"demo"``, a path or a list of paths.
    """

    version: SkipJsonSchema[Literal[1, 2]] = Field(
        default=2, description="Which defaults are meant; configurations of before 2 do not say."
    )
    name: Name = Field(default=None, description="Empty: made from the model, the layer and the architecture.")
    model: ModelName = Field(default="demo", description='A Hugging Face id, a local folder, or "demo".')
    model_revision: ModelRevision = Field(default=None, description="Branch, tag or commit on the hub.")
    model_dtype: ModelDtype = "float32"
    corpus: Corpus = Field(
        default=DemoCorpus(), title="Dataset",
        description='"demo", a file or folder, or a dataset of the hub: owner/name or owner/name:configuration; '
        "with tokens: before it where it holds token ids.",
    )
    hook_name: HookName = Field(
        default="blocks.2.hook_resid_post", title="Hook name",
        description="Where in the model the activations are read.",
    )
    hook_name_out: HookName | None = Field(
        default=None, title="Output hook name",
        description="What a transcoder reconstructs: where in the model its target is read. Only for transcoders.",
    )
    context_size: ContextSize = 256
    sae: TrainableSAEConfig = Field(default=TopKConfig(), title="Autoencoder")
    from_pretrained: PathOrNone = Field(
        default=None, title="Start from SAE",
        description="An SAE of the library (its id or name), a training, or a folder with an SAE: training starts from "
        "its weights. Empty: random weights.",
    )
    tokens: Count = Field(
        default=10_000_000, title="Tokens",
        description="How many activations to train on; text repeats when it runs out.",
    )
    epochs: float | None = Field(
        default=None, gt=0, le=1e6, title="Epochs",
        description="Passes over the training text, in place of Tokens; empty means that Tokens decides.",
    )
    batch_size: Count = Field(default=4096, title="Batch size", description="Tokens per optimiser step.")
    gradient_accumulation: Count = Field(
        default=1, title="Gradient accumulation", description="Microbatches a batch is split into, to save memory."
    )
    precision: Dtype = Field(
        default="float32", title="Precision",
        description="Number format of the autoencoder's matrix products while training.",
    )
    device: Device = "auto"
    model_device: DeviceOrNone = Field(
        default=None, title="Model device",
        description="Where the language model is, if that is another device than the SAE's. Empty: the same.",
    )
    model_compile: CompileMode | None = Field(
        default=None, title="Compile model",
        description="Compile the blocks of the language model with this mode of torch.compile; where that fails they "
        "run as they are. Empty: not compiled.",
    )
    seed: Seed = Field(default=0, description="Fixes initialisation and shuffling.")
    dead_window_tokens: CountOrNone = Field(
        default=None, title="Dead window (tokens)",
        description="A latent that did not fire in this many tokens counts as dead; empty: a twentieth of the run, at "
        "most 1,000,000.",
    )
    log_every_steps: Count = Field(default=10, title="Log every (steps)", description="How often metrics are recorded.")
    optimizer: OptimizerConfig = OptimizerConfig()
    resampling: ResamplingConfig = ResamplingConfig()
    targets: TargetsConfig = TargetsConfig()
    activations: ActivationsConfig = ActivationsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoints: CheckpointConfig = CheckpointConfig()
    parallel: Parallel = Parallel()

    @model_validator(mode="before")
    @classmethod
    def _with_former_defaults(cls, data: Any) -> Any:
        return with_former_defaults(data)

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingConfig:
        sae, scaling, out = self.sae, self.activations.normalize, self.hook_name_out
        has_own_scale = sae.is_transcoder or sae.architecture == "skip"
        other_scaling = "Choose E‖x‖ = √d_in (expected_average_only_in), or none."
        pair = f"The usual pair is blocks.{self.layer}.mlp.hook_in and blocks.{self.layer}.hook_mlp_out."
        require(
            (self.tokens >= self.batch_size, "tokens",
             f"{self.tokens:,} tokens do not fill one batch of {self.batch_size:,}.",
             "Raise Tokens or lower Batch size."),
            (self.batch_size % self.gradient_accumulation == 0, "gradient_accumulation",
             f"A batch of {self.batch_size:,} cannot be split into {self.gradient_accumulation} equal parts.",
             "Choose a divisor of Batch size."),
            (self.batch_size % (self.gradient_accumulation * self.parallel.data) == 0, "parallel.data",
             f"A batch of {self.batch_size:,} cannot be split into so many equal parts.",
             "Choose a divisor of Batch size."),
            (sae.d_sae % self.parallel.latents == 0, "parallel.latents",
             f"{sae.d_sae:,} latents cannot be split into {self.parallel.latents} equal parts.",
             "Choose a divisor of Latents (d_sae)."),
            (self.parallel.latents == 1 or self.precision != "float16", "precision",
             "Gradients of float16 may overflow on one of the workers that share the latents.", "Choose bfloat16."),
            (self.parallel.workers == 1 or self.model_device is None, "model_device",
             "Every worker has the model and its part of the SAE on one device.", "Leave it empty."),
            (self.activations.positions(self.context_size), "activations.seqpos_slice",
             f"A context of {self.context_size:,} tokens has no such position.",
             "Choose other positions, or raise Context length."),
            (out is not None or not sae.is_transcoder, "hook_name_out",
             "A transcoder reconstructs another place in the model, which is missing.",
             f"Enter its hook name. {pair}"),
            (out is None or sae.is_transcoder, "hook_name_out",
             f"{sae.architecture} reconstructs what it reads; only transcoders have an output hook name.",
             "Leave it empty, or choose a transcoder."),
            (out is None or not computed_before(out, self.hook_name), "hook_name_out",
             f"The model computes {out} before {self.hook_name}.",
             f"A transcoder reconstructs what comes after the place it reads. {pair}"),
            (sae.reshape_activations == "none", "sae.reshape_activations",
             f"{sae.reshape_activations} is for loaded SAEs, not for training.", "Leave it out."),
            (sae.architecture != "skip" or not self.normalizes_tokens, "activations.normalize",
             "A skip autoencoder that normalises every token by itself cannot be saved in a format that others read.",
             other_scaling),
            (scaling != "covariance_whitening" or not has_own_scale, "activations.normalize",
             f"The whitening of its input cannot be moved into the weights of a {sae.architecture}.", other_scaling),
            (sae.normalize_activations in ("none", scaling), "sae.normalize_activations",
             f"The inputs are {sae.normalize_activations} here and {scaling} in activations.normalize.",
             f'Leave it out, and set activations.normalize to "{sae.normalize_activations}".'),
        )  # fmt: skip
        return self

    @property
    def normalizes_tokens(self) -> bool:
        """Whether every token is normalised by itself, whenever the SAE is used."""
        return self.activations.normalize in ("layer_norm", "constant_norm_rescale")

    @property
    def autoencoder(self) -> TrainableSAEConfig:
        """The SAE to train: `sae` with the normalisation of `activations.normalize`, if it belongs to an SAE."""
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
    def dead_window(self) -> int:
        """In how many tokens a latent has to fire: `dead_window_tokens`, or what an empty one means."""
        return self.dead_window_tokens or dead_window(self.tokens, self.batch_size)

    @property
    def learning_rate(self) -> float:
        """The peak learning rate: `optimizer.lr`, or what an empty one means (docs/training.md)."""
        return self.optimizer.lr or usual_rate(self.sae.architecture, self.sae.d_sae, self.steps)

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


def changed_data(config: Mapping[str, Any], changes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Data that need not be a whole configuration, with settings replaced by dotted name in the order of `changes`.

    A change of ``sae.architecture`` leaves ``sae.d_sae`` and drops the settings of the former one.
    """
    changes = list(changes)
    data, wanted, sae = dict(config), dict(changes).get("sae.architecture"), config.get("sae")
    if wanted and isinstance(sae, Mapping) and sae.get("architecture", "topk") != wanted:
        data["sae"] = {name: value for name, value in sae.items() if name == "d_sae"}
    for name, value in changes:
        if name.startswith("corpus."):  # --corpus owner/name --set corpus.text_field=body
            data["corpus"] = as_corpus(data.get("corpus", {}))
        put(data, name, value)
    return data


def with_changes(config: Mapping[str, Any], changes: Mapping[str, Any]) -> TrainingConfig:
    """The configuration of changed data (see `changed_data`), "sae" before "sae.k". Raises `ConfigError` if it cannot
    work."""
    return TrainingConfig.from_data(changed_data(config, sorted(changes.items())))


def validate(data: Any) -> tuple[TrainingConfig | None, dict[str, str]]:
    """Check form data: ``(config, {})`` when good, ``(None, {field: sentence, …})`` when not. Never raises."""
    try:
        return TrainingConfig.model_validate(data), {}
    except ValidationError as error:
        return None, config_errors(error, TrainingConfig)
