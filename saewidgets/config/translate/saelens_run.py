"""Defines `runner_of` and `cfg_of`: one training of SAELens, as settings of a `TrainingConfig`. Tables say what each of
its settings is called here, and what has no counterpart.

SAELens sums the squared error over d_in and averages it over the batch, as we do, so coefficients keep their values.
Its decoder rows have free norms: the L1 penalty is weighted by them, and TopK and its kin multiply pre-activations by
them (`rescale_acts_by_decoder_norm`, the default).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saewidgets.config.corpus import as_corpus
from saewidgets.config.hook_names import HOOK_NAME, head_of, with_head
from saewidgets.config.names import hub_model
from saewidgets.config.translate.translation import Settings
from saewidgets.errors import ConfigError

# --- The SAE ---------------------------------------------------------------------------------------------------------

_NORMALIZE = ("none", "expected_average_only_in", "layer_norm", "constant_norm_rescale", "covariance_whitening")
_BY_TOKEN = ("layer_norm", "constant_norm_rescale")
_FREE = {"normalize_decoder_every": None, "project_decoder_grad": False}
_KAIMING_NORM = 2**0.5  # of a row of Kaiming's uniform numbers: their variance is 2 / d_in
_ELSEWHERE = ("d_in", "device", "metadata", "reshape_activations")  # told by other settings
_L1 = {"l1_coefficient": ("number", "l1_coefficient", 1.0)}
_TOPK = {"k": ("number", "k", 100), "aux_coefficient": ("number", "aux_loss_coefficient", 1.0)}
# SAELens' architecture → ours, and our settings of it: how each is taken, its name there, SAELens' default.
_ARCHITECTURES: dict[str, tuple[str, Mapping[str, tuple[Any, ...]]]] = {
    "standard": ("standard", _L1 | {"lp_norm": ("number", "lp_norm", 1.0)}),
    "gated": ("gated", _L1),
    "topk": ("topk", _TOPK),
    "batchtopk": ("batchtopk", _TOPK),
    "matryoshka_batchtopk": ("matryoshka", _TOPK),
    "jumprelu": ("jumprelu", {
        "l0_coefficient": ("number", "l0_coefficient", 1.0), "bandwidth": ("number", "jumprelu_bandwidth", 0.05),
        "initial_threshold": ("number", "jumprelu_init_threshold", 0.01),
        "sparsity_loss": (
            "choice", "jumprelu_sparsity_loss_mode", {name: name for name in ("step", "tanh", "quadratic")}, "step"
        ),
        "tanh_scale": ("number", "jumprelu_tanh_scale", 4.0),
        "pre_act_coefficient": ("number", "pre_act_loss_coefficient", None),
        "ste_to_input": ("take", "jumprelu_ste_to_input", False),
    }),
}  # fmt: skip
_WARM_UP = {"standard": "l1_warm_up_steps", "gated": "l1_warm_up_steps", "jumprelu": "l0_warm_up_steps"}
# What sae-lens does not do, or does with the input as it came.
_UNSOUND = {
    "gated": "the gate reads normalised activations in all terms of the loss; SAELens' auxiliary loss reads raw ones.",
    **dict.fromkeys(
        ("topk", "batchtopk"),
        "the auxiliary loss is in the units of the activations; SAELens stops once a latent is dead.",
    ),
    "matryoshka_batchtopk": "every width is brought back to the units of the activations; SAELens cannot train it.",
}


def _sae_of(settings: Settings, chosen: str | None) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The settings of our `sae`, those that belong to our `optimizer`, and the input scaling.

    `chosen` is our architecture that is trained in place of one that is not trained here, if one was chosen.
    """
    architecture = settings.text("architecture")
    if architecture not in _ARCHITECTURES:
        if chosen is None:
            raise settings.error(
                "architecture", f"A SAELens training of {architecture} cannot be translated.",
                f"What can be translated: {', '.join(_ARCHITECTURES)}. sae.architecture=..., or --architecture, trains "
                "another in its place.",
            )
        settings.remark("changed", "architecture", architecture, f"{chosen}, which was chosen.")
        architecture = {"matryoshka": "matryoshka_batchtopk"}.get(chosen, chosen)
        if architecture not in _ARCHITECTURES:  # one without a counterpart there: its own defaults take the place
            architecture = "standard"
    settings.ignore("use_sparse_activations", *_ELSEWHERE)
    ours, table = _ARCHITECTURES[architecture]
    sae = {"architecture": ours} | settings.rows({
        "d_sae": ("count", "d_sae"), "apply_b_dec_to_input": ("take", "apply_b_dec_to_input", True),
        "decoder_init_norm": ("number", "decoder_init_norm", 0.1), **table,
    })  # fmt: skip
    optimizer: dict[str, Any] = dict(_FREE)
    if settings.null("decoder_init_norm"):
        sae["decoder_init_norm"] = _KAIMING_NORM
        settings.remark(
            "changed", "decoder_init_norm", None, "rows start at √2, the mean norm of SAELens' random ones."
        )
    if (steps := _WARM_UP.get(architecture)) is not None:
        optimizer["sparsity_warm_up_steps"] = settings.count(steps, 0)
    else:
        _top_k(settings, sae, optimizer)
    if architecture == "jumprelu":
        if sae["sparsity_loss"] == "quadratic":
            sae["target_l0"] = settings.number("target_l0", None)
        settings.ignore("target_l0")  # of the other penalties
        settings.remark(
            "changed", "jumprelu_init_threshold", sae["initial_threshold"],
            "thresholds learn ten times as fast as the weights (docs/sae.md says why).",
        )
    scaling = settings.take("normalize_activations", "none")
    if scaling not in _NORMALIZE:
        settings.remark(
            "lost", "normalize_activations", scaling,
            "inputs get one common scale (expected_average_only_in).",
        )
        scaling = "expected_average_only_in"
    if scaling in _BY_TOKEN and architecture in _UNSOUND:
        settings.remark("changed", "normalize_activations", scaling, _UNSOUND[architecture])
    settings.rest()
    return sae, optimizer, scaling


def _top_k(settings: Settings, sae: dict[str, Any], optimizer: dict[str, Any]) -> None:
    k, sae["k"] = sae["k"], round(sae["k"])
    if k != round(k):
        settings.remark("changed", "k", k, f"rounded to {round(k)}.")
    if settings.take("rescale_acts_by_decoder_norm", True):
        optimizer.clear()
        settings.remark(
            "changed", "rescale_acts_by_decoder_norm", True,
            "decoder rows are kept at norm one instead, which computes the same latents and reconstructions.",
        )
    if sae["architecture"] != "topk":
        sae["threshold_momentum"] = 1 - settings.number("topk_threshold_lr", 0.01)
    if sae["architecture"] == "matryoshka":
        sae["aux_per_width"] = settings.take("use_matryoshka_aux_loss", False)
        sae |= {"widths": widths} if (widths := settings.take("matryoshka_widths")) else {}


def _transcoder_of(settings: Settings) -> tuple[dict[str, Any], str]:
    """The settings of our `sae` and the input scaling, of a transcoder that SAELens runs; it trains none."""
    architecture = settings.text("architecture")
    if architecture not in ("transcoder", "skip_transcoder"):
        raise settings.error(
            "architecture",
            f"{architecture} is only loaded and evaluated here: transcoders are trained with ReLU and an L1 penalty.",
            "Train a transcoder or skip_transcoder between the same hook points: set hook_name, hook_name_out and "
            "sae.architecture of a TrainingConfig.",
        )
    settings.remark(
        "changed", "architecture", architecture,
        "the file says nothing of how it was trained, and SAELens trains none: the penalty is L1, with this package's "
        "defaults.",
    )
    settings.ignore("d_out", "apply_b_dec_to_input", *_ELSEWHERE)
    sae = {"architecture": architecture, "d_sae": settings.count("d_sae")}
    scaling = settings.choice("normalize_activations", {name: name for name in _NORMALIZE}, "none")
    settings.rest()
    return sae, scaling


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
_CLASSES = ("HookedTransformer", "AutoModelForCausalLM", "HookedTransformerBridge", "TransformerBridge")
_LOST_OF_LOADING = {
    "center_writing_weights": ("weights are those of the model; activations keep their mean.", (False,)),
    "trust_remote_code": (
        "a repository's code runs only where you say so yourself: saewidgets.allow_remote_code(model).", (False,)
    ),
}


def _positions(settings: Settings) -> dict[str, Any]:
    """How documents fill the contexts, and which positions of these are read."""
    separator, excluded = settings.take("sequence_separator_token"), settings.take("exclude_special_tokens")
    if separator is None:
        separator = "none" if settings.null("sequence_separator_token") else "bos"
    elif type(separator) not in (int, str):
        raise settings.wrong("sequence_separator_token", "bos, eos, sep or a token id")
    if excluded is not None and not isinstance(excluded, bool | list):
        raise settings.wrong("exclude_special_tokens", "true, false or a list of token ids")
    return {
        "join_documents": not settings.take("disable_concat_sequences", False), "separator": separator,
        "prepend_bos": settings.take("prepend_bos", True), "seqpos_slice": settings.take("seqpos_slice"),
        "exclude_special_tokens": excluded or False,
    }  # fmt: skip


def names_the_text(changes: Mapping[str, Any]) -> bool:
    """Whether `changes` say which text it is; ``corpus.text_field`` and the like only say more of it."""
    return "corpus" in changes or "corpus.kind" in changes


def _corpus_of(settings: Settings, config: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """The text, where `changes` do not say which it is."""
    path, tokenized = settings.take("dataset_path", ""), settings.take("is_dataset_tokenized", True)
    chat = settings.take("use_chat_formatting", False)
    if names_the_text(changes):
        if chat:
            settings.remark("lost", "use_chat_formatting", True, "say chat=True of the text that you give.")
        return
    if not path.strip():
        raise ConfigError(
            "The configuration names no dataset.", where="dataset_path",
            hint="Give one: from_saelens(..., corpus=...), or --corpus.",
        )
    config["corpus"] = {"kind": "tokens", "source": path} if tokenized and not chat else as_corpus(path)
    if chat and isinstance(config["corpus"], dict):
        config["corpus"]["chat"] = True


def _model_of(settings: Settings, config: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """The language model, how it is loaded, and the hook point; `changes` say which of these are given otherwise."""
    settings.ignore("model_name", "hook_name", "hook_head_index")  # a change takes their place, whatever they are
    if "model" not in changes:
        name = settings.text("model_name")
        config["model"] = hub_model(name) or name
        if name != "demo" and hub_model(name) is None and not Path(name).exists():
            settings.remark(
                "changed", "model_name", name,
                "not a short name that is known here; it is taken as the name of a hub repository or folder.",
            )
    kind = settings.take("model_class_name", "HookedTransformer")
    if kind not in _CLASSES:
        settings.remark("lost", "model_class_name", kind, "the model is loaded by transformers.")
    if "hook_name" not in changes:
        config["hook_name"] = _hook_of(settings, settings.text("hook_name"), "hook_name", "hook_head_index")
    settings.lost({"model_kwargs": ("transformers' defaults are used.", ({},))})
    loading = settings.inner("model_from_pretrained_kwargs")
    for key in ("dtype", "torch_dtype"):
        if not loading.has(key):
            continue
        if (dtype := str(loading.take(key)).removeprefix("torch.")) in _DTYPES:
            config["model_dtype"] = dtype
        else:
            loading.remark("lost", key, dtype, "the weights are loaded in float32, unless model_dtype says otherwise.")
    revision = loading.take("revision")
    if revision is None or isinstance(revision, str):
        config["model_revision"] = revision
    else:
        loading.remark("lost", "revision", revision, "not the name of a revision; the model's main one is loaded.")
    loading.lost(_LOST_OF_LOADING)
    loading.rest("the model is loaded as it is.")


def _hook_of(settings: Settings, name: str, key: str, head_key: str) -> str:
    """The hook point `name`, which stands under `key`, by its name here, with the one head that `head_key` picks."""
    if (match := _MODULE.fullmatch(name)) is not None:
        name = f"blocks.{match[1]}.{_PARTS.get(match[2], 'hook_attn_out')}"
    elif not HOOK_NAME.fullmatch(name):
        raise settings.error(
            key, f"{name} is not a hook point that is known here.",
            "Of a block, resid_pre, resid_post, mlp_out, attn_out, attn.hook_z, ln2.hook_normalized, mlp.hook_in are.",
        )
    head = settings.take(head_key)
    if head is None or head == head_of(name):
        return name
    if not name.endswith(".attn.hook_z"):
        settings.remark("lost", head_key, head, f"{name} has no heads.")
        return name
    found = with_head(name, head) if type(head) is int else None
    if found is None:
        raise settings.wrong(head_key, "the number of a head", "Heads are counted from 0.")
    return found


def _precision_of(sae: Settings, settings: Settings) -> str:
    """In which number format an SAE is computed: that of the SAE, not of the activation store."""
    found: str = sae.choice("dtype", _PRECISIONS, "float32")
    if settings.take("autocast", False):
        found = "bfloat16"  # SAELens' autocast knows no other
    if (given := sae.take("dtype", "float32").removeprefix("torch.")) != "float32":
        sae.remark(
            "changed", "dtype", given, f"matrix products run in {found}; weights and Adam's moments stay float32."
        )
    stored = settings.take("dtype", "float32").removeprefix("torch.")
    if stored != "float32":
        settings.remark(
            "changed", "dtype", stored,
            "the number format of activations that SAELens reads from its cache; here the shuffle window has that of "
            "the language model (model_dtype), and sae.dtype alone says how an SAE is computed.",
        )
    return found


def _hardware_of(settings: Settings, config: dict[str, Any]) -> None:
    """Where things are, what is compiled, and the format of the language model under autocast."""
    device = settings.take("device", "cpu")

    def second(name: str) -> str:  # "None" or nothing where it is `device`
        found: str = settings.take(name, device)
        return device if found in ("None", "") else found

    of_model, of_store = second("llm_device"), second("act_store_device")
    of_store = of_model if of_store == "with_model" else of_store
    config["device"] = "auto" if device == "cuda" else device
    config["model_device"] = None if of_model == device else of_model
    config["activations"]["buffer_device"] = None if of_store == device else of_store
    mode = settings.take("llm_compilation_mode", "default")
    if settings.take("compile_llm", False):
        config["model_compile"] = mode
    if settings.take("autocast_lm", False):
        config["model_dtype"] = "bfloat16"
        settings.remark("changed", "autocast_lm", True, "the language model's weights are loaded in bfloat16.")


# --- A runner --------------------------------------------------------------------------------------------------------

_SCHEDULES = {"constant": "constant", "cosineannealing": "cosine", "cosineannealingwarmrestarts": "cosine_restarts"}
_OPTIMIZER = {
    "lr": ("number", "lr", 3e-4), "beta1": ("number", "adam_beta1", 0.9), "beta2": ("number", "adam_beta2", 0.999),
    "lr_schedule": ("choice", "lr_scheduler_name", _SCHEDULES, "constant"),
    "lr_warm_up_steps": ("count", "lr_warm_up_steps", 0), "lr_decay_steps": ("count", "lr_decay_steps", 0),
}
_FIXED = {"eps": 1e-8, "weight_decay": 0.0, "grad_clip": 1.0}  # in SAELens
_LOST = {
    "use_cached_activations": ("activations are computed again; see docs/activation-store.md.", (False,)),
    "compile_sae": ("the SAE's step is not compiled; on the CPU it has kernels of its own.", (False,)),
    "feature_sampling_window": (
        "densities are measured by evaluations and in the window of dead latents.", (2000,)
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


def runner_of(settings: Settings, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a `TrainingConfig` for `LanguageModelSAERunnerConfig`, and in `settings` what was lost; `changes` say
    what is given otherwise."""
    of_the_sae = settings.inner("sae")
    precision = _precision_of(of_the_sae, settings)
    sae, optimizer, scaling = _sae_of(of_the_sae, changes.get("sae.architecture"))
    context = settings.count("context_size", 128)
    batch, prompts = settings.count("train_batch_size_tokens", 4096), settings.count("store_batch_size_prompts", 32)
    tokens = _tokens(settings, batch, changes)
    norm = settings.count("n_batches_for_norm_estimate", 1000) * batch
    config: dict[str, Any] = {
        "sae": sae, "context_size": context, "tokens": tokens, "batch_size": batch, "seed": settings.count("seed", 42),
        "precision": precision,
        "optimizer": {**settings.rows(_OPTIMIZER), **_FIXED, **optimizer},
        "activations": {
            "model_batch_size": prompts, "normalize": scaling, **_positions(settings),
            **_buffer(settings, prompts, context), "norm_tokens": max(_FEWEST, norm),
        },
        # Dead there are latents silent for more than so many steps, here from so many tokens on.
        "dead_window_tokens": max(1, (settings.count("dead_feature_window", 1000) + 1) * batch),
    }  # fmt: skip
    _end_of_schedule(settings, config["optimizer"])
    if norm < _FEWEST and scaling in ("expected_average_only_in", "covariance_whitening"):
        settings.remark(
            "changed", "n_batches_for_norm_estimate", norm // max(1, batch),
            f"these are {norm} tokens; the activations are measured on {_FEWEST} here, the fewest.",
        )
    _model_of(settings, config, changes)
    _corpus_of(settings, config, changes)
    _logging(settings, config, prompts, context)
    _checkpoints(settings, config, tokens // batch if batch else 0)
    _hardware_of(settings, config)
    settings.lost(_LOST)
    settings.ignore(*_OUTPUTS)
    settings.rest()
    return config


def _tokens(settings: Settings, batch: int, changes: Mapping[str, Any]) -> int:
    """The tokens of the whole batches that SAELens trains: it stops behind the number that is given, not before."""
    tokens: int = settings.count("training_tokens", 2_000_000)
    if batch == 0 or tokens % batch == 0 or not changes.keys().isdisjoint(("tokens", "batch_size")):
        return tokens
    whole = math.ceil(tokens / batch) * batch
    settings.remark(
        "changed", "training_tokens", tokens,
        f"{whole:,} tokens are trained on, as there: the last batch is a whole one.",
    )
    return whole


def _end_of_schedule(settings: Settings, optimizer: dict[str, Any]) -> None:
    end, cycles = settings.number("lr_end", None), settings.count("n_restart_cycles", 1)
    if optimizer["lr_schedule"] != "constant" and end is not None and not math.isclose(end, optimizer["lr"] / 10):
        optimizer["lr_end"] = end
    if optimizer["lr_schedule"] == "cosine_restarts":
        optimizer["lr_cycles"] = cycles


def _buffer(settings: Settings, prompts: int, context: int) -> dict[str, Any]:
    batches, mixing = settings.count("n_batches_in_buffer", 20), settings.share("activations_mixing_fraction", 0.5)
    found: dict[str, Any] = {"shuffle_tokens": 1 if mixing == 0 else max(1, batches * prompts * context)}
    if mixing != 0:
        settings.remark(
            "changed", "n_batches_in_buffer", batches,
            f"activations are shuffled within windows of {found['shuffle_tokens']:,} tokens, one after another, in "
            f"place of a buffer that keeps a share of {mixing:g}.",
        )
    ahead = settings.take("prefetch_llm_batches")
    if ahead is not None and (not isinstance(ahead, int) or ahead < 0):
        raise settings.wrong("prefetch_llm_batches", "true, false or a number of batches")
    return found | ({"read_ahead": "on"} if ahead else {})


def _logging(settings: Settings, config: dict[str, Any], prompts: int, context: int) -> None:
    logger = settings.inner("logger")
    every = max(1, logger.count("wandb_log_frequency", 10))
    config["log_every_steps"] = every
    batches = settings.count("n_eval_batches", 10)
    evaluated = batches * (settings.count("eval_batch_size_prompts", prompts) or prompts) * context
    config["evaluation"] = {
        "every_steps": max(1, every * logger.count("eval_every_n_wandb_logs", 100)), "tokens": max(_FEWEST, evaluated)
    }
    if evaluated < _FEWEST:
        there = f"these are {evaluated} tokens" if batches else "SAELens stops at its first evaluation, of nothing"
        settings.remark(
            "changed", "n_eval_batches", batches,
            f"{there}; evaluations are of {_FEWEST} tokens here, the fewest. evaluation.every_steps says how often.",
        )
    if logger.take("log_to_wandb", True):
        project, entity = logger.take("wandb_project", "sae_lens_training"), logger.take("wandb_entity", "")
        call = f'WandbSink("{project}", entity="{entity}")' if entity else f'WandbSink("{project}")'
        option = f"--wandb {project}" + (f" with WANDB_ENTITY={entity} in the environment" if entity else "")
        said = f"metrics are kept in the workspace; on_event={call}, or {option}, sends them."
        logger.remark("changed", "log_to_wandb", True, said)
    name = logger.take("run_name", "")
    if name and not _OWN_NAME.fullmatch(name):  # nor would its numbers hold where settings are changed
        config["name"] = name[:120]
    logger.ignore(*_OF_THE_LOGGER)
    logger.rest()


def _checkpoints(settings: Settings, config: dict[str, Any], steps: int) -> None:
    wanted = settings.count("n_checkpoints", 0)
    if wanted:
        config["checkpoints"] = {"every_steps": max(1, math.ceil(steps / (wanted + 1))), "keep_every": True}
    begun, pretrained = settings.text("resume_from_checkpoint", None), settings.text("from_pretrained_path", None)
    if begun is not None:
        settings.remark(
            "changed", "resume_from_checkpoint", begun,
            "the run starts from the weights of the checkpoint; the optimiser and the text begin anew.",
        )
    if begun is not None or pretrained is not None:
        config["from_pretrained"] = begun if begun is not None else pretrained


# --- An SAE's cfg.json -----------------------------------------------------------------------------------------------

# Of an SAE's metadata: what became of the run, and other names.
_RECORDED = (
    "sae_lens_version", "sae_lens_training_version", "saewidgets_version", "training_architecture",
    "training_architecture_details", "training_normalize_activations", "training_tokens", "started_from",
    "neuronpedia_id", "hf_hook_name", "hf_hook_name_out", "l0", "fvu", "mse", "ce_loss_score", "dead",
    "num_dead_features",
)


def cfg_of(data: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """What an SAE's cfg.json says of its training: its architecture, and its metadata."""
    meta = data.get("metadata")
    if not isinstance(meta, Mapping) or "architecture" not in data:
        raise ConfigError(
            "There is neither an `sae` nor an `architecture` with `metadata` in it.", where="sae",
            hint="Give a runner_cfg.json or cfg.json of SAELens.",
        )
    own = _own_sae(meta)
    if own is not None:  # the class is transformers' here, as it will be
        meta = {name: value for name, value in meta.items() if name != "model_class_name"}
    settings = Settings(meta, "metadata.")
    config: dict[str, Any] = {"activations": _positions(settings)}
    if own is not None:
        config["sae"], scaling = own
        if "sequence_separator_token" not in meta:  # this package's own, which it does not write
            del config["activations"]["separator"]
        if settings.has("training_tokens"):
            config["tokens"] = settings.count("training_tokens")
    else:
        scaling = _recorded_sae(data, meta, settings, config, changes)
    if (out := settings.text("hook_name_out", None)) is not None and "hook_name_out" not in changes:
        config["hook_name_out"] = _hook_of(settings, out, "hook_name_out", "hook_head_index_out")
    settings.ignore("hook_head_index_out")
    if scaling is not None:
        config["activations"]["normalize"] = scaling
    if settings.has("exclude_token_ids"):  # ours, where special tokens are left out as well
        config["activations"]["exclude_token_ids"] = settings.take("exclude_token_ids")
    config |= {name: settings.count(name) for name in ("seed", "context_size") if settings.has(name)}
    _model_of(settings, config, changes)
    path = settings.take("dataset_path")
    if not names_the_text(changes):
        if not isinstance(path, str) or not path.strip():
            raise ConfigError(
                "This cfg.json does not say which text the SAE was trained on.", where="metadata.dataset_path",
                hint="Give it: from_saelens(..., corpus=...), or --corpus.",
            )
        config["corpus"] = as_corpus(path)
    settings.remark(
        "lost", "lr", None,
        f"an SAE's cfg.json does not record learning rate, batch size{'' if own else ', tokens'} and schedules: they "
        "have this package's defaults.",
    )
    settings.ignore(*_RECORDED)
    settings.rest()
    return settings, config


def _recorded_sae(
    data: Mapping[str, Any], meta: Mapping[str, Any], settings: Settings, config: dict[str, Any],
    changes: Mapping[str, Any],
) -> str:
    """Puts the SAE as sae-lens records it into `config`; returns the input scaling."""
    details = meta.get("training_architecture_details")
    merged = {**data, **(details if isinstance(details, Mapping) else {})}
    merged["architecture"] = meta.get("training_architecture") or data["architecture"]
    of_the_sae = Settings(merged, "", settings.remarks)
    config["precision"] = _precision_of(of_the_sae, Settings({}))
    if str(merged["architecture"]).endswith("transcoder"):
        config["sae"], scaling = _transcoder_of(of_the_sae)
    else:
        config["sae"], config["optimizer"], scaling = _sae_of(of_the_sae, changes.get("sae.architecture"))
    if assumed := of_the_sae.assumed:
        settings.remark(
            "lost", "training_architecture_details", None,
            "the file does not record all that its loss was trained with; SAELens' defaults are taken: "
            f"{', '.join(f'{name} {value}' for name, value in assumed.items())}.",
        )
    return scaling


def _own_sae(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], str | None] | None:
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
    return sae, scaling if scaling in _NORMALIZE and scaling != "none" else None
