"""Defines `from_saelens`: SAELens (version 6) → `TrainingConfig`, from a runner's configuration, one of several SAEs (a
group of trainings), or what an SAE's own cfg.json records. Tables say what its settings are called here, and which have
no counterpart.

SAELens sums the squared error over d_in and averages it over the batch, as we do, so coefficients keep their values.
Its decoder rows have free norms: the L1 penalty is weighted by them, and TopK and its kin multiply pre-activations by
them (`rescale_acts_by_decoder_norm`, the default).
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from saewidgets.config.arguments import refuse
from saewidgets.config.base import dotted, nested
from saewidgets.config.corpus import as_corpus
from saewidgets.config.group import SHARED
from saewidgets.config.hook_names import HOOK_NAME, head_of, with_head
from saewidgets.config.names import free_name, hub_model
from saewidgets.config.training import TrainingConfig, with_changes
from saewidgets.config.translate.translation import Remark, Rows, Sentences, SettingsReader, Translation, read
from saewidgets.errors import ConfigError

WHAT = "a SAELens configuration (runner_cfg.json or cfg.json)"
_OWN = {"hook_names": "hook_name", "hook_head_indices": "hook_head_index"}  # one for each SAE, or one for all


def from_saelens(
    source: str | Path | Mapping[str, Any], *, saes: Sequence[str] | None = None, **changes: Any
) -> Translation:
    """Translate a SAELens training configuration.

    Args:
        source: ``runner_cfg.json`` as SAELens writes it beside checkpoints and outputs, the ``cfg.json`` of an SAE
            (which records less: what is missing gets this package's defaults), the path of either, or
            ``to_dict()`` of a ``LanguageModelSAERunnerConfig`` or ``MultiSAETrainingRunnerConfig``.
        saes: which SAEs of a configuration of several; None: all.
        changes: settings of `TrainingConfig` by dotted name that replace what was translated, or supply what the
            source lacks: ``from_saelens(path, corpus="notes.txt", tokens=1_000_000)``.

    Returns:
        the configuration, every setting that was lost or changed its meaning, and in `over` what tells its SAEs apart
        where it is one of several.

    Raises:
        ConfigError: an architecture or hook point that cannot be trained here, or an invalid value; `where`
            is the name in SAELens' configuration, or in ours.
        NotFoundError, StorageError: there is no such file, or it cannot be read.
    """
    data = read(source, WHAT)
    if data.get("saes") is not None:
        return _of_several(data, saes, changes)
    if saes is not None:
        raise ConfigError(
            "It does not hold several SAEs to choose from.", where="saes",
            hint="Leave out saes, or --saes: the settings are one SAE's.",
        )
    if isinstance(data.get("sae"), Mapping):
        settings = SettingsReader(data, said=_SAID)
        config = _runner_of(settings, changes)
    else:
        settings, config = _cfg_of(data, changes)
    return Translation(with_changes(nested(config), changes), tuple(settings.remarks), "SAELens")


# --- The SAE ---------------------------------------------------------------------------------------------------------

_NORMALIZE = ("none", "expected_average_only_in", "layer_norm", "constant_norm_rescale", "covariance_whitening")
_BY_TOKEN = ("layer_norm", "constant_norm_rescale")
_MEASURED = ("expected_average_only_in", "covariance_whitening")
_FREE = {"optimizer.normalize_decoder_every": None, "optimizer.project_decoder_grad": False}
_KAIMING_NORM = 2**0.5  # of a row of Kaiming's uniform numbers: their variance is 2 / d_in
_ELSEWHERE = ("d_in", "device", "metadata", "reshape_activations", "use_sparse_activations")  # follow from others
_EVERY_SAE: Rows = {
    "sae.d_sae": ("count", "d_sae"), "sae.apply_b_dec_to_input": ("flag", "apply_b_dec_to_input", True),
    "sae.decoder_init_norm": ("number", "decoder_init_norm", 0.1),
}  # fmt: skip
_L1: Rows = {
    "sae.l1_coefficient": ("number", "l1_coefficient", 1.0),
    "optimizer.sparsity_warm_up_steps": ("count", "l1_warm_up_steps", 0),
}
_TOPK: Rows = {"sae.k": ("number", "k", 100), "sae.aux_coefficient": ("number", "aux_loss_coefficient", 1.0)}
# SAELens' architecture → ours, and its own settings.
_ARCHITECTURES: dict[str, tuple[str, Rows]] = {
    "standard": ("standard", {**_L1, "sae.lp_norm": ("number", "lp_norm", 1.0)}),
    "gated": ("gated", _L1),
    "topk": ("topk", _TOPK),
    "batchtopk": ("batchtopk", _TOPK),
    "matryoshka_batchtopk": ("matryoshka", _TOPK),
    "jumprelu": ("jumprelu", {
        "sae.l0_coefficient": ("number", "l0_coefficient", 1.0),
        "sae.bandwidth": ("number", "jumprelu_bandwidth", 0.05),
        "sae.initial_threshold": ("number", "jumprelu_init_threshold", 0.01),
        "sae.sparsity_loss": (("step", "tanh", "quadratic"), "jumprelu_sparsity_loss_mode", "step"),
        "sae.tanh_scale": ("number", "jumprelu_tanh_scale", 4.0),
        "sae.pre_act_coefficient": ("number", "pre_act_loss_coefficient", None),
        "sae.ste_to_input": ("flag", "jumprelu_ste_to_input", False),
        "optimizer.sparsity_warm_up_steps": ("count", "l0_warm_up_steps", 0),
    }),
}  # fmt: skip
_UNSOUND = ("gated", "topk", "batchtopk", "matryoshka_batchtopk")
_SAID = {
    "chosen": "{chosen}, as chosen.",
    "decoder_init_norm": "rows start at √2, the mean norm of SAELens' random ones.",
    "normalize_activations": "inputs get one common scale (expected_average_only_in).",
    # What sae-lens does not do, or does with the input as it came.
    "gated": "the gate reads normalised activations in all terms of the loss; SAELens' auxiliary loss reads raw ones.",
    **dict.fromkeys(
        ("topk", "batchtopk"),
        "the auxiliary loss is in the units of the activations; SAELens stops once a latent is dead.",
    ),
    "matryoshka_batchtopk": "every width is brought back to the units of the activations; SAELens cannot train it.",
    "k": "rounded to {k}.",
    "rescale_acts_by_decoder_norm":
    "decoder rows are kept at norm one instead, which computes the same latents and reconstructions.",
    "transcoder": "the file does not record how it was trained, and SAELens trains none: the penalty is L1, with this "
    "package's defaults.",
    "use_chat_formatting": "give the text with chat=True.",
    "model_name": "not a known short name; it is taken as the name of a hub repository or folder.",
    "weights": "the weights are loaded in float32, unless model_dtype says otherwise.",
    "revision": "not the name of a revision; the model's main one is loaded.",
    "heads": "{place} has no heads.",
    "precision": "matrix products run in {found}; weights and Adam's moments stay float32.",
    "dtype": "the number format of activations that SAELens reads from its cache; here the shuffle window has that of "
    "the language model (model_dtype), and sae.dtype alone says how an SAE is computed.",
    "n_batches_for_norm_estimate":
    "this is {tokens} tokens; here activations are measured on at least {fewest}.",
    "training_tokens": "{tokens:,} tokens are trained on, as in SAELens, which fills the last batch.",
    "n_batches_in_buffer": "activations are shuffled within windows of {window:,} tokens, one after another, instead "
    "of a buffer that keeps a share of {mixing:g}.",
    "n_eval_batches":
    "{there}; here evaluations take at least {fewest} tokens. evaluation.every_steps sets how often.",
    "log_to_wandb": "metrics are kept in the workspace; on_event={call}, or {option}, sends them.",
    "lr": "an SAE's cfg.json does not record learning rate, batch size{more} and schedules: they have this package's "
    "defaults.",
    "training_architecture_details":
    "the file does not record all that its loss was trained with; SAELens' defaults are taken: {assumed}.",
}  # fmt: skip
"""The remark on a setting that is lost or changes its meaning, by its name where that is enough."""


_FIRST_LINEAR = (6, 48)
"""The version of sae-lens from which on thresholds are learned themselves, before it their logarithms."""


def _sae_of(settings: SettingsReader, chosen: str | None, version: object) -> dict[str, Any]:
    """The settings of our `sae`, what of `optimizer` belongs to it, and the input scaling.

    `chosen` is our architecture that is trained in place of one that is not trained here, if one was chosen; `version`
    that of sae-lens.
    """
    architecture = settings.take("name", "architecture")
    if architecture not in _ARCHITECTURES:
        if chosen is None:
            raise settings.error(
                "architecture", f"A SAELens training of {architecture} cannot be translated.",
                f"What can be translated: {', '.join(_ARCHITECTURES)}. sae.architecture=..., or --architecture, trains "
                "another in its place.",
            )
        settings.changed("architecture", "chosen", chosen=chosen)
        # One without a counterpart there has its own defaults, which take the place of these.
        architecture = next((theirs for theirs, (ours, _) in _ARCHITECTURES.items() if ours == chosen), "standard")
    settings.ignore(*_ELSEWHERE)
    ours, table = _ARCHITECTURES[architecture]
    config = {"sae.architecture": ours, **settings.rows(_EVERY_SAE), **settings.rows(table), **_FREE, "version": 1}
    if settings.null("decoder_init_norm"):
        config["sae.decoder_init_norm"] = _KAIMING_NORM
        settings.changed("decoder_init_norm")
    if "k" in ours:
        _top_k(settings, config)
    if architecture == "jumprelu":
        numbers = re.match(r"(\d{1,6})\.(\d{1,6})", str(version))
        is_log = numbers is not None and (int(numbers[1]), int(numbers[2])) < _FIRST_LINEAR
        config["sae.threshold_parameter"] = "log" if is_log else "linear"
        if config["sae.sparsity_loss"] == "quadratic":
            config["sae.target_l0"] = settings.take("number", "target_l0", None)
        settings.ignore("target_l0")  # of the other penalties
    scaling = settings.take("text", "normalize_activations", "none")
    if scaling not in _NORMALIZE:
        settings.lost("normalize_activations")
        scaling = "expected_average_only_in"
    if scaling in _BY_TOKEN and architecture in _UNSOUND:
        settings.changed("normalize_activations", architecture)
    settings.rest()
    return {**config, "activations.normalize": scaling}


def _top_k(settings: SettingsReader, config: dict[str, Any]) -> None:
    k, config["sae.k"] = config["sae.k"], round(config["sae.k"])
    if k != config["sae.k"]:
        settings.changed("k", k=config["sae.k"])
    if settings.take("flag", "rescale_acts_by_decoder_norm", True):
        for name in _FREE:
            del config[name]
        settings.changed("rescale_acts_by_decoder_norm")
    if config["sae.architecture"] != "topk":
        config["sae.threshold_momentum"] = 1 - settings.take("number", "topk_threshold_lr", 0.01)
    if config["sae.architecture"] == "matryoshka":
        config["sae.aux_per_width"] = settings.take("flag", "use_matryoshka_aux_loss", False)
        if widths := settings.take("any", "matryoshka_widths", None):
            config["sae.widths"] = widths


def _transcoder_of(settings: SettingsReader) -> dict[str, Any]:
    """The settings of a transcoder that SAELens runs; it trains none."""
    architecture = settings.take("name", "architecture")
    if architecture not in ("transcoder", "skip_transcoder"):
        raise settings.error(
            "architecture",
            f"{architecture} is only loaded and evaluated here: transcoders are trained with ReLU and an L1 penalty.",
            "Train a transcoder or skip_transcoder between the same hook points: set hook_name, hook_name_out and "
            "sae.architecture of a TrainingConfig.",
        )
    settings.changed("architecture", "transcoder")
    settings.ignore("d_out", "apply_b_dec_to_input", *_ELSEWHERE)
    config = {
        "sae.architecture": architecture, "sae.d_sae": settings.take("count", "d_sae"),
        "activations.normalize": settings.take(_NORMALIZE, "normalize_activations", "none"),
    }
    settings.rest()
    return config


# --- The text, the model and the machine -----------------------------------------------------------------------------

_DTYPES = ("float32", "bfloat16", "float16")
_PRECISIONS = {
    f"{prefix}{name}": name if name in _DTYPES else "float32"
    for prefix in ("", "torch.") for name in (*_DTYPES, "float64")
}  # fmt: skip
# Modules of transformers models, which SAELens reads where model_class_name is AutoModelForCausalLM.
_MODULE = re.compile(
    r"(?:transformer\.h|model\.layers|gpt_neox\.layers|model\.decoder\.layers)\.(\d+)"
    r"(?:\.(mlp|self_attn|attn|attention))?"
)
_PARTS = {None: "hook_resid_post", "mlp": "hook_mlp_out"}
_LOST_OF_THE_MODEL: Sentences = {
    "model_kwargs": ("transformers' defaults are used.", ({},)),
    "model_class_name": (
        "the model is loaded by transformers.",
        ("HookedTransformer", "AutoModelForCausalLM", "HookedTransformerBridge", "TransformerBridge"),
    ),
}
_LOST_OF_LOADING: Sentences = {
    "center_writing_weights": ("weights are those of the model; activations keep their mean.", (False,)),
    "trust_remote_code": (
        "a repository's code runs only if you allow it: saewidgets.allow_remote_code(model).", (False,)
    ),
}


def _positions(settings: SettingsReader) -> dict[str, Any]:
    """How documents fill the contexts, and which positions of these are read."""
    separator = "none" if settings.null("sequence_separator_token") else "bos"  # null says that there is none
    return {
        "activations.join_documents": not settings.take("flag", "disable_concat_sequences", False),
        "activations.separator": settings.take("separator", "sequence_separator_token", separator),
        "activations.prepend_bos": settings.take("flag", "prepend_bos", True),
        "activations.seqpos_slice": settings.take("any", "seqpos_slice", None),
        "activations.exclude_special_tokens": settings.take("ids", "exclude_special_tokens", False) or False,
    }


def _names_the_text(changes: Mapping[str, Any]) -> bool:
    """Whether `changes` say which text it is; ``corpus.text_field`` and the like only say more of it."""
    return "corpus" in changes or "corpus.kind" in changes


def _corpus_of(settings: SettingsReader, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The text, where `changes` do not say which it is."""
    path, tokenized = settings.take("text", "dataset_path", ""), settings.take("flag", "is_dataset_tokenized", True)
    chat = settings.take("flag", "use_chat_formatting", False)
    if _names_the_text(changes):
        if chat:
            settings.lost("use_chat_formatting")
        return {}
    if not path.strip():
        raise ConfigError(
            "The configuration names no dataset.", where="dataset_path",
            hint="Give one: from_saelens(..., corpus=...), or --corpus.",
        )
    corpus = {"kind": "tokens", "source": path} if tokenized and not chat else as_corpus(path)
    return {"corpus": {**corpus, "chat": True} if chat else corpus}


def _model_of(settings: SettingsReader, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The language model, how it is loaded, and the hook point; `changes` say which of these are given otherwise."""
    settings.ignore("model_name", "hook_name", "hook_head_index")  # a change takes their place, whatever they are
    config: dict[str, Any] = {}
    if "model" not in changes:
        name = settings.take("name", "model_name")
        config["model"] = hub_model(name) or name
        if name != "demo" and hub_model(name) is None and not Path(name).exists():
            settings.changed("model_name")
    settings.remark_on("lost", _LOST_OF_THE_MODEL)
    if "hook_name" not in changes:
        config["hook_name"] = _hook_of(settings, settings.take("name", "hook_name"), "hook_name", "hook_head_index")
    loading = settings.inner("model_from_pretrained_kwargs")
    for key in ("dtype", "torch_dtype"):
        if not loading.has(key):
            continue
        if (dtype := str(loading.take("any", key)).removeprefix("torch.")) in _DTYPES:
            config["model_dtype"] = dtype
        else:
            loading.lost(key, "weights")
    revision = loading.take("any", "revision", None)
    if revision is None or isinstance(revision, str):
        config["model_revision"] = revision
    else:
        loading.lost("revision")
    loading.remark_on("lost", _LOST_OF_LOADING)
    loading.rest("the model is loaded as it is.")
    return config


def _hook_of(settings: SettingsReader, name: str, key: str, head_key: str) -> str:
    """The hook point `name`, the value of `key`, by its name here, with the one head that `head_key` picks."""
    if (match := _MODULE.fullmatch(name)) is not None:
        name = f"blocks.{match[1]}.{_PARTS.get(match[2], 'hook_attn_out')}"
    elif not HOOK_NAME.fullmatch(name):
        raise settings.error(
            key, f"{name} is not a hook point that is known here.",
            "Of a block, resid_pre, resid_post, mlp_out, attn_out, attn.hook_z, ln2.hook_normalized, mlp.hook_in are.",
        )
    head = settings.take("any", head_key, None)
    if head is None or head == head_of(name):
        return name
    if not name.endswith(".attn.hook_z"):
        settings.lost(head_key, "heads", place=name)
        return name
    found = with_head(name, head) if type(head) is int else None
    if found is None:
        raise settings.wrong(head_key, "the number of a head", "Heads are counted from 0.")
    return found


def _precision_of(sae: SettingsReader, settings: SettingsReader) -> str:
    """In which number format an SAE is computed: that of the SAE, not of the activation store."""
    found: str = sae.take(_PRECISIONS, "dtype", "float32")
    if settings.take("flag", "autocast", False):
        found = "bfloat16"  # SAELens' autocast knows no other
    if sae.take("text", "dtype", "float32").removeprefix("torch.") != "float32":
        sae.changed("dtype", "precision", found=found)
    if settings.take("text", "dtype", "float32").removeprefix("torch.") != "float32":
        settings.changed("dtype")
    return found


def _hardware_of(settings: SettingsReader) -> dict[str, Any]:
    """Where things are, what is compiled, and the format of the language model under autocast."""
    device = settings.take("text", "device", "cpu")
    same = {"None": device, "": device}
    of_model = settings.take("text", "llm_device", device)
    of_model = same.get(of_model, of_model)
    of_store = settings.take("text", "act_store_device", device)
    of_store = (same | {"with_model": of_model}).get(of_store, of_store)
    config = {
        "device": "auto" if device == "cuda" else device, "model_device": None if of_model == device else of_model,
        "activations.buffer_device": None if of_store == device else of_store,
    }
    mode = settings.take("text", "llm_compilation_mode", "default")
    if settings.take("flag", "compile_llm", False):
        config["model_compile"] = mode
    if settings.take("flag", "autocast_lm", False):
        config["model_dtype"] = "bfloat16"
    return config


# --- A runner --------------------------------------------------------------------------------------------------------

_SCHEDULES = {"constant": "constant", "cosineannealing": "cosine", "cosineannealingwarmrestarts": "cosine_restarts"}
_ROWS: Rows = {
    "context_size": ("count", "context_size", 128), "batch_size": ("count", "train_batch_size_tokens", 4096),
    "seed": ("count", "seed", 42), "activations.model_batch_size": ("count", "store_batch_size_prompts", 32),
    "optimizer.lr": ("number", "lr", 3e-4), "optimizer.beta1": ("number", "adam_beta1", 0.9),
    "optimizer.beta2": ("number", "adam_beta2", 0.999),
    "optimizer.lr_schedule": (_SCHEDULES, "lr_scheduler_name", "constant"),
    "optimizer.lr_warm_up_steps": ("count", "lr_warm_up_steps", 0),
    "optimizer.lr_decay_steps": ("count", "lr_decay_steps", 0),
}
_FIXED = {"optimizer.eps": 1e-8, "optimizer.weight_decay": 0.0, "optimizer.grad_clip": 1.0}  # in SAELens
_LOST: Sentences = {
    "use_cached_activations": ("activations are computed again; see docs/activation-store.md.", (False,)),
    "compile_sae": ("the SAE's step is not compiled; on the CPU it has kernels of its own.", (False,)),
    "feature_sampling_window": (
        "densities are measured by evaluations and in the window of dead latents.", (2000,)
    ),
}
_CHANGED: Sentences = {
    "autocast_lm": ("the language model's weights are loaded in bfloat16.", (False,)),
    "resume_from_checkpoint": (
        "the run starts from the weights of the checkpoint; the optimiser and the text begin anew.", (None,)
    ),
}
# They say where files go and how much is printed, or do nothing in version 6.
_OUTPUTS = (
    "hook_eval", "dataset_trust_remote_code", "streaming", "checkpoint_path", "save_final_checkpoint", "output_path",
    "verbose", "sae_lens_version", "sae_lens_training_version", "dead_feature_threshold", "tokens_per_buffer",
    "cached_activations_path", "sae_compilation_mode",
)
_OF_THE_LOGGER = (
    "log_activations_store_to_wandb", "log_optimizer_state_to_wandb", "log_weights_to_wandb", "wandb_project",
    "wandb_id", "wandb_entity",
)
# What it calls a run that nobody named: f"{architecture}-{d_sae}-LR-{lr}-Tokens-{tokens:3.3e}"; of several "multi-…".
_OWN_NAME = re.compile(r"([a-z_]+-\d+|multi-[a-z_+]+-N\d+)-LR-[\d.e+-]+-Tokens-\d\.\d{3}e[+-]\d+")
_FEWEST = 256  # tokens that an evaluation, or a measurement of the activations, may have here


def _runner_of(settings: SettingsReader, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What `LanguageModelSAERunnerConfig` says, and in `settings` what was lost; `changes` say what is given
    otherwise."""
    of_the_sae = settings.inner("sae")
    config = {
        "precision": _precision_of(of_the_sae, settings), **settings.rows(_ROWS), **_FIXED,
        **_sae_of(of_the_sae, changes.get("sae.architecture"), settings.take("any", "sae_lens_version", None)),
    }
    batch, prompts = config["batch_size"], config["activations.model_batch_size"]
    tokens = settings.take("count", "training_tokens", 2_000_000)
    if batch and tokens % batch and changes.keys().isdisjoint(("tokens", "batch_size")):
        tokens = math.ceil(tokens / batch) * batch  # SAELens stops behind the number that is given, not before
        settings.changed("training_tokens", tokens=tokens)
    config["tokens"] = tokens
    # Dead there are latents silent for more than so many steps, here from so many tokens on.
    config["dead_window_tokens"] = max(1, (settings.take("count", "dead_feature_window", 1000) + 1) * batch)
    measured = settings.take("count", "n_batches_for_norm_estimate", 1000) * batch
    config["activations.norm_tokens"] = max(_FEWEST, measured)
    if measured < _FEWEST and config["activations.normalize"] in _MEASURED:
        settings.changed("n_batches_for_norm_estimate", tokens=measured, fewest=_FEWEST)
    config |= _positions(settings) | _model_of(settings, changes) | _corpus_of(settings, changes)

    end, cycles = settings.take("number", "lr_end", None), settings.take("count", "n_restart_cycles", 1)
    schedule = config["optimizer.lr_schedule"]
    if schedule != "constant" and end is not None and not math.isclose(end, config["optimizer.lr"] / 10):
        config["optimizer.lr_end"] = end
    if schedule == "cosine_restarts":
        config["optimizer.lr_cycles"] = cycles

    batches = settings.take("count", "n_batches_in_buffer", 20)
    config["activations.shuffle_tokens"] = 1
    if mixing := settings.take("share", "activations_mixing_fraction", 0.5):
        config["activations.shuffle_tokens"] = window = max(1, batches * prompts * config["context_size"])
        settings.changed("n_batches_in_buffer", window=window, mixing=mixing)
    if settings.take("batches", "prefetch_llm_batches", False):
        config["activations.read_ahead"] = "on"

    if wanted := settings.take("count", "n_checkpoints", 0):
        steps = tokens // batch if batch else 0
        config["checkpoints.every_steps"] = max(1, math.ceil(steps / (wanted + 1)))
        config["checkpoints.keep_every"] = True
    pretrained = settings.take("name", "from_pretrained_path", None)
    config["from_pretrained"] = settings.take("name", "resume_from_checkpoint", pretrained)
    _logging(settings, config)
    config |= _hardware_of(settings)
    settings.remark_on("lost", _LOST)
    settings.remark_on("changed", _CHANGED)
    settings.ignore(*_OUTPUTS)
    settings.rest()
    return config


def _logging(settings: SettingsReader, config: dict[str, Any]) -> None:
    logger, prompts = settings.inner("logger"), config["activations.model_batch_size"]
    every = max(1, logger.take("count", "wandb_log_frequency", 10))
    batches = settings.take("count", "n_eval_batches", 10)
    prompts = settings.take("count", "eval_batch_size_prompts", prompts) or prompts
    evaluated = batches * prompts * config["context_size"]
    config |= {
        "log_every_steps": every, "evaluation.tokens": max(_FEWEST, evaluated),
        "evaluation.every_steps": max(1, every * logger.take("count", "eval_every_n_wandb_logs", 100)),
    }
    if evaluated < _FEWEST:
        there = f"this is {evaluated} tokens" if batches else "SAELens stops at its first evaluation, of no tokens"
        settings.changed("n_eval_batches", there=there, fewest=_FEWEST)
    if logger.take("flag", "log_to_wandb", True):
        project = logger.take("text", "wandb_project", "sae_lens_training")
        entity = logger.take("text", "wandb_entity", "")
        call = f'WandbSink("{project}", entity="{entity}")' if entity else f'WandbSink("{project}")'
        option = f"--wandb {project}" + (f" with WANDB_ENTITY={entity} in the environment" if entity else "")
        logger.changed("log_to_wandb", call=call, option=option)
    name = logger.take("text", "run_name", "")
    if name and not _OWN_NAME.fullmatch(name):  # nor would its numbers hold where settings are changed
        config["name"] = name[:120]
    logger.ignore(*_OF_THE_LOGGER)
    logger.rest()


# --- An SAE's cfg.json -----------------------------------------------------------------------------------------------

# Of an SAE's metadata: what became of the run, and other names.
_RECORDED = (
    "sae_lens_version", "sae_lens_training_version", "saewidgets_version", "training_architecture",
    "training_architecture_details", "training_normalize_activations", "training_tokens", "started_from",
    "neuronpedia_id", "hf_hook_name", "hf_hook_name_out", "l0", "fvu", "mse", "ce_loss_score", "dead",
    "num_dead_features",
)


def _cfg_of(data: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[SettingsReader, dict[str, Any]]:
    """The training recorded in an SAE's cfg.json: its architecture, and its metadata."""
    meta = data.get("metadata")
    if not isinstance(meta, Mapping) or "architecture" not in data:
        raise ConfigError(
            "There is neither an `sae` nor an `architecture` with `metadata` in it.", where="sae",
            hint="Give a runner_cfg.json or cfg.json of SAELens.",
        )
    own = _own_sae(meta)
    if own is not None:  # the class is transformers' here, as it will be
        meta = {name: value for name, value in meta.items() if name != "model_class_name"}
    settings = SettingsReader(meta, "metadata.", said=_SAID)
    config = _positions(settings) | (own or _recorded_sae(data, meta, settings, changes))
    if own is not None and "sequence_separator_token" not in meta:  # this package's own, which it does not write
        del config["activations.separator"]
    if (out := settings.take("name", "hook_name_out", None)) is not None and "hook_name_out" not in changes:
        config["hook_name_out"] = _hook_of(settings, out, "hook_name_out", "hook_head_index_out")
    settings.ignore("hook_head_index_out")
    for name, theirs in (("seed", "seed"), ("context_size", "context_size"), ("tokens", "training_tokens")):
        if settings.has(theirs) and (own is not None or name != "tokens"):
            config[name] = settings.take("count", theirs)
    if settings.has("exclude_token_ids"):  # ours, where special tokens are left out as well
        config["activations.exclude_token_ids"] = settings.take("any", "exclude_token_ids")
    config |= _model_of(settings, changes)
    path = settings.take("any", "dataset_path", None)
    if not _names_the_text(changes):
        if not isinstance(path, str) or not path.strip():
            raise ConfigError(
                "This cfg.json does not say which text the SAE was trained on.", where="metadata.dataset_path",
                hint="Give it: from_saelens(..., corpus=...), or --corpus.",
            )
        config["corpus"] = as_corpus(path)
    settings.lost("lr", more="" if own else ", tokens")
    settings.ignore(*_RECORDED)
    settings.rest()
    return settings, config


def _recorded_sae(
    data: Mapping[str, Any], meta: Mapping[str, Any], settings: SettingsReader, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """The SAE as sae-lens records it, and the input scaling."""
    details = meta.get("training_architecture_details")
    merged = {**data, **(details if isinstance(details, Mapping) else {})}
    merged["architecture"] = meta.get("training_architecture") or data["architecture"]
    of_the_sae = SettingsReader(merged, said=_SAID, remarks=settings.remarks)
    config = {"precision": _precision_of(of_the_sae, SettingsReader({}, said=_SAID))}
    if str(merged["architecture"]).endswith("transcoder"):
        config |= _transcoder_of(of_the_sae)
    else:
        version = meta.get("sae_lens_training_version") or meta.get("sae_lens_version")
        config |= _sae_of(of_the_sae, changes.get("sae.architecture"), version)
    if assumed := ", ".join(f"{name} {value}" for name, value in of_the_sae.assumed.items()):
        settings.lost("training_architecture_details", assumed=assumed)
    return config


def _own_sae(metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """What this package wrote of the SAE beside its weights, in its own names, and the input scaling of the training
    (files of older versions tell it only where it is part of the SAE). None of a file that another package wrote."""
    details = metadata.get("training_architecture_details")
    if "saewidgets_version" not in metadata or not isinstance(details, Mapping) or "architecture" not in details:
        return None
    of_the_activations = ("normalize_activations", "reshape_activations")  # they follow from other settings of a run
    sae = {name: value for name, value in details.items() if name not in of_the_activations}
    scaling = metadata.get("training_normalize_activations")
    if scaling not in _NORMALIZE:
        scaling = details.get("normalize_activations")
    is_scaled = scaling in _NORMALIZE and scaling != "none"
    return {"sae": sae, **({"activations.normalize": scaling} if is_scaled else {})}


# --- Several SAEs -----------------------------------------------------------------------------------------------------


def _of_several(data: Mapping[str, Any], wanted: Sequence[str] | None, changes: Mapping[str, Any]) -> Translation:
    """The configuration of the first SAE, and in `over` what is another for the others. Each SAE is trained as
    `LanguageModelSAERunnerConfig` would alone, and is translated so."""
    saes = SettingsReader(data, said=_SAID).take("table", "saes", {})
    if not saes:
        raise ConfigError("There is no SAE in it.", where="saes", hint="Name each with its settings.")
    names = _chosen(saes, wanted)
    parts = {name: _alone(data, saes, name) for name in names}
    configs: dict[str, TrainingConfig] = {}
    remarks: list[Remark] = []
    for name, settings in parts.items():
        config = _runner_of(settings, changes)
        if settings.has("resume_from_checkpoint"):  # it has a folder for each
            config["from_pretrained"] = str(Path(config["from_pretrained"]) / name)
        try:
            translated = with_changes(nested(config), changes)
        except ConfigError as error:
            if error.where is None or not error.where.startswith("sae."):
                raise
            some = "It was given for all of its SAEs; --saes NAME,NAME, or saes=[...], takes some."
            hint = some if error.where in changes and len(names) > 1 else None
            raise ConfigError(error.what, where=f"saes.{name}.{error.where[4:]}", hint=error.hint or hint) from error
        if (first := next((other for other, known in configs.items() if known == translated), None)) is None:
            configs[name] = translated
            continue
        said = (
            f"the same as {first}, and a group has one seed: it would learn the same. saes=[{name!r}] with another "
            f"seed, or --saes {name} --seed 1, trains it apart."
        )
        remarks.append(Remark("lost", f"saes.{name}", translated.sae.architecture, said))
    remarks += _together({name: settings.remarks for name, settings in parts.items()})
    path = data.get("dataset_path")
    if not (_names_the_text(changes) or data.get("use_chat_formatting") or "is_dataset_tokenized" in data):
        said = (
            "it is read as text. SAELens looks whether it holds token ids; if it does, give corpus=TokensCorpus(...), "
            f"or --set corpus.kind=tokens --set corpus.source={path}."
        )
        remarks.append(Remark("changed", "dataset_path", path, said))
    if len(configs) > 1:
        said = f"{len(configs)} SAEs: a group, which create_many trains from one forward."
        remarks.append(Remark("changed", "saes", list(configs), said))
    remarks.sort(key=lambda each: each.setting)
    runs: list[str] = []  # names of the SAEs, behind the name of the whole where it has one
    for name, each in configs.items():
        runs.append(free_name("-".join(filter(None, [each.name, name])) or str(len(runs) + 1), runs))
    first_config = next(iter(configs.values()))
    if len(configs) == 1:
        return Translation(first_config.replace(name=first_config.name or runs[0]), tuple(remarks), "SAELens")
    return Translation(first_config, tuple(remarks), "SAELens", _over(configs, runs))


def _chosen(saes: Mapping[str, Any], wanted: Sequence[str] | None) -> list[str]:
    if wanted is None:
        return list(saes)
    if isinstance(wanted, str) or not isinstance(wanted, Sequence) or not wanted:
        refuse(wanted, "saes", "a list of SAE names", f'For example saes=["{next(iter(saes))}"].')
    if unknown := [name for name in wanted if name not in saes]:
        raise ConfigError(f"There is no SAE {unknown[0]!r} in it.", where="saes", hint=f"It has {', '.join(saes)}.")
    return [name for name in saes if name in wanted]


def _alone(data: Mapping[str, Any], saes: Mapping[str, Any], name: str) -> SettingsReader:
    """The settings of a runner that trains one of the SAEs, by the names that they have in the configuration of all."""
    found = {key: value for key, value in data.items() if key not in ("saes", *_OWN)}
    found["sae"], called = saes[name], {"sae": f"saes.{name}"}
    for key, own in _OWN.items():
        found[own], called[own] = data.get(key), key
        if isinstance(given := data.get(key), Mapping):
            if unknown := [each for each in given if each not in saes]:
                raise ConfigError(
                    f"It names {unknown[0]!r}, which is not one of the SAEs.", where=key,
                    hint=f"These are {', '.join(saes)}.",
                )
            found[own], called[own] = given.get(name), f"{key}.{name}"
    found.setdefault("is_dataset_tokenized", False)
    return SettingsReader(found, said=_SAID, called=called)


def _together(remarks: Mapping[str, Sequence[Remark]]) -> list[Remark]:
    """The remarks on all SAEs, each once; those on every SAE go to ``saes.*``."""
    if len(remarks) == 1:
        return list(*remarks.values())
    found: dict[str, list[Remark]] = {}
    for name, said in remarks.items():
        start = f"saes.{name}."
        for each in said:
            if each.setting.startswith(start):
                any_of_them = replace(each, setting=f"saes.*.{each.setting.removeprefix(start)}")
                found.setdefault(repr(any_of_them), [any_of_them]).append(each)
            else:
                found[repr(each)] = [each]
    return [one for same in found.values() for one in (same[:1] if len(same) in (1, len(remarks) + 1) else same[1:])]


def _over(configs: Mapping[str, TrainingConfig], names: Sequence[str]) -> dict[str, list[Any]]:
    """What differs between the configurations, as names that change together and their values. Raises `ConfigError`
    where the trainings of a group have it in common."""
    is_one_architecture = len({config.sae.architecture for config in configs.values()}) == 1
    flat = []
    for config in configs.values():
        data = config.to_data()
        whole = {} if is_one_architecture else {"sae": data.pop("sae")}
        flat.append({**dict(dotted(data)), **whole})
    differ = [key for key in flat[0] if any(each[key] != flat[0][key] for each in flat)]
    for key in differ:
        if key.split(".")[0] in SHARED:
            agree: dict[Any, list[str]] = {}
            for name, each in zip(configs, flat, strict=True):
                agree.setdefault(each[key], []).append(name)
            value, same = next(iter(agree.items()))
            said = "; ".join(f"{', '.join(each)}: {value}" for value, each in agree.items())
            raise ConfigError(
                f"Its SAEs differ in {key} ({said}), which the trainings of a group have in common.", where="saes",
                hint=f"Translate those that agree: saes={same!r}, or --saes {','.join(same)}. Or give all of them one: "
                f"--set {key}={value}.",
            )
    values = [[name, *(each[key] for key in differ)] for name, each in zip(names, flat, strict=True)]
    return {", ".join(["name", *differ]): values}
