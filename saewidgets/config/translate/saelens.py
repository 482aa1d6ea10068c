"""SAELens (version 6) → `TrainingConfig`: the runner's configuration, or what an SAE's own cfg.json records of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saewidgets.config.changed import with_changes
from saewidgets.config.corpus import as_corpus
from saewidgets.config.hook_names import HOOK_NAME, head_of, with_head
from saewidgets.config.model_names import hub_model
from saewidgets.config.translate.result import Translation
from saewidgets.config.translate.saelens_sae import own_sae, sae_of
from saewidgets.config.translate.source import Settings, read
from saewidgets.errors import ConfigError

WHAT = "a SAELens configuration (runner_cfg.json or cfg.json)"
_SCHEDULES = {"constant": "constant", "cosineannealing": "cosine", "cosineannealingwarmrestarts": "cosine_restarts"}
_DTYPES = {"float32": "float32", "bfloat16": "bfloat16", "float16": "float16"}
# Modules of transformers models, which SAELens reads where model_class_name is AutoModelForCausalLM.
_MODULE = re.compile(
    r"(?:transformer\.h|model\.layers|gpt_neox\.layers|model\.decoder\.layers)\.(\d+)"
    r"(?:\.(mlp|self_attn|attn|attention))?"
)
_PARTS = {None: "hook_resid_post", "mlp": "hook_mlp_out"}
_OUTPUTS = (
    "hook_eval", "dataset_trust_remote_code", "streaming", "checkpoint_path", "save_final_checkpoint", "output_path",
    "verbose", "sae_lens_version", "sae_lens_training_version", "dead_feature_threshold", "tokens_per_buffer",
    "cached_activations_path", "sae_compilation_mode",
)  # they say where files go and how much is printed, or do nothing in version 6

_RECORDED = (
    "sae_lens_version", "sae_lens_training_version", "saewidgets_version", "training_architecture",
    "training_architecture_details", "training_normalize_activations", "training_tokens", "started_from",
    "neuronpedia_id", "hf_hook_name", "l0", "fvu", "mse", "ce_loss_score", "dead", "num_dead_features",
)  # of an SAE's metadata: what became of the run, and other names


def from_saelens(source: str | Path | Mapping[str, Any], **changes: Any) -> Translation:
    """Translate a SAELens training configuration.

    Args:
        source: ``runner_cfg.json`` as SAELens writes it beside checkpoints and outputs, the ``cfg.json`` of an SAE
            (which records less: what is missing gets this package's defaults), the path of either, or
            ``LanguageModelSAERunnerConfig.to_dict()``.
        changes: settings of `TrainingConfig` by dotted name that replace what was translated, or supply what the
            source lacks: ``from_saelens(path, corpus="notes.txt", tokens=1_000_000)``.

    Returns:
        the configuration, and every setting that was lost or changed its meaning.

    Raises:
        ConfigError: an architecture or hook point that cannot be trained here, or a value that makes no sense; `where`
            is the name in SAELens' configuration, or in ours.
        NotFoundError, StorageError: there is no such file, or it cannot be read.
    """
    data = read(source, WHAT)
    if isinstance(data.get("saes"), list | dict):
        raise ConfigError(
            "This is the configuration of several SAEs at once.", where="saes",
            hint="Translate them one by one: from_saelens({**shared, 'sae': one}).",
        )
    found = _runner(data, changes) if isinstance(data.get("sae"), Mapping) else _sae_only(data, changes)
    settings, config = found
    return Translation(with_changes(config, changes), tuple(settings.remarks), "SAELens")


def _runner(data: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    settings = Settings(data)
    sae, optimizer, scaling = sae_of(Settings(settings.take("sae"), "sae.", settings.remarks))
    context = settings.count("context_size", 128)
    batch, prompts = settings.count("train_batch_size_tokens", 4096), settings.count("store_batch_size_prompts", 32)
    tokens = settings.count("training_tokens", 2_000_000)
    config: dict[str, Any] = {
        "sae": sae, "context_size": context, "tokens": tokens, "batch_size": batch, "seed": settings.count("seed", 42),
        "optimizer": {**_optimizer(settings), **optimizer},
        "activations": {"model_batch_size": prompts, "normalize": scaling, **_activations(settings, prompts, context)},
        "dead_window_tokens": max(1, settings.count("dead_feature_window", 1000) * batch),
    }
    norm = settings.count("n_batches_for_norm_estimate", 1000) * batch
    config["activations"]["norm_tokens"] = max(256, norm)
    _model(settings, config)
    _corpus(settings, config, changes)
    _precision(settings, config)
    _logging(settings, config, prompts, context)
    _checkpoints(settings, config, tokens // batch if batch else 0)
    _hardware(settings, config)
    settings.ignore(*_OUTPUTS)
    settings.rest()
    return settings, config


def _optimizer(settings: Settings) -> dict[str, Any]:
    lr = settings.number("lr", 3e-4)
    found = {
        "lr": lr, "beta1": settings.number("adam_beta1", 0.9), "beta2": settings.number("adam_beta2", 0.999),
        "eps": 1e-8, "weight_decay": 0.0, "grad_clip": 1.0,  # fixed in SAELens
        "lr_schedule": settings.choice("lr_scheduler_name", _SCHEDULES, "constant"),
        "lr_warm_up_steps": settings.count("lr_warm_up_steps", 0),
        "lr_decay_steps": settings.count("lr_decay_steps", 0),
    }
    end, cycles = settings.number("lr_end", None), settings.count("n_restart_cycles", 1)
    if found["lr_schedule"] != "constant" and end is not None and not math.isclose(end, lr / 10):
        found["lr_end"] = end
    if found["lr_schedule"] == "cosine_restarts":
        found["lr_cycles"] = cycles
    return found


def _activations(settings: Settings, prompts: int, context: int) -> dict[str, Any]:
    found = _positions(settings)
    batches, mixing = settings.count("n_batches_in_buffer", 20), settings.number("activations_mixing_fraction", 0.5)
    if mixing == 0:
        found["shuffle_tokens"] = 1
    else:
        found["shuffle_tokens"] = max(1, batches * prompts * context)
        settings.remark(
            "changed", "n_batches_in_buffer", batches,
            f"activations are shuffled within windows of {found['shuffle_tokens']:,} tokens, one after another, in "
            f"place of a buffer that keeps a share of {mixing:g}.",
        )
    if settings.take("prefetch_llm_batches", False):
        found["read_ahead"] = "on"
    return found


def _positions(settings: Settings) -> dict[str, Any]:
    """How documents fill the contexts, and which positions of these are read."""
    unseparated = settings.null("sequence_separator_token")
    return {
        "join_documents": not settings.take("disable_concat_sequences", False),
        "separator": settings.take("sequence_separator_token", "none" if unseparated else "bos"),
        "prepend_bos": bool(settings.take("prepend_bos", True)), "seqpos_slice": settings.take("seqpos_slice"),
        "exclude_special_tokens": settings.take("exclude_special_tokens", False),
    }  # fmt: skip


def _model(settings: Settings, config: dict[str, Any]) -> None:
    name = settings.text("model_name")
    config["model"] = hub_model(name) or name
    if name != "demo" and hub_model(name) is None and not Path(name).exists():
        settings.remark(
            "changed", "model_name", name,
            "not a short name that is known here; it is taken as the name of a hub repository or folder.",
        )
    kind = settings.take("model_class_name", "HookedTransformer")
    if kind not in ("HookedTransformer", "AutoModelForCausalLM", "HookedTransformerBridge", "TransformerBridge"):
        settings.remark("lost", "model_class_name", kind, "the model is loaded by transformers.")
    config["hook_name"] = _at_head(settings, _hook(settings.text("hook_name")), "hook_head_index")
    settings.lost("model_kwargs", "transformers' defaults are used.", {})
    loading = settings.table("model_from_pretrained_kwargs")
    dtype = str(loading.pop("torch_dtype", loading.pop("dtype", "float32"))).removeprefix("torch.")
    if dtype in _DTYPES:
        config["model_dtype"] = dtype
    if isinstance(revision := loading.pop("revision", None), str):
        config["model_revision"] = revision
    if loading.pop("center_writing_weights", False):
        settings.remark(
            "lost", "model_from_pretrained_kwargs.center_writing_weights", True,
            "weights are those of the model; activations keep their mean.",
        )
    if loading.pop("trust_remote_code", False):
        settings.remark(
            "lost", "model_from_pretrained_kwargs.trust_remote_code", True,
            "a repository's code runs only where you say so yourself: saewidgets.allow_remote_code(model).",
        )
    for key, value in loading.items():
        settings.remark("lost", f"model_from_pretrained_kwargs.{key}", value, "the model is loaded as it is.")


def _hook(name: str) -> str:
    if HOOK_NAME.fullmatch(name):
        return name
    if match := _MODULE.fullmatch(name):
        return f"blocks.{match[1]}.{_PARTS.get(match[2], 'hook_attn_out')}"
    raise ConfigError(
        f"{name} is not a hook point that is known here.", where="hook_name",
        hint="Of a block, resid_pre, resid_post, mlp_out, attn_out, attn.hook_z, ln2.hook_normalized, mlp.hook_in are.",
    )


def _at_head(settings: Settings, hook: str, key: str) -> str:
    """The hook name of the one head that `key` picks, where it does."""
    head = settings.take(key)
    if head is None or head == head_of(hook):
        return hook
    if not hook.endswith(".attn.hook_z"):
        settings.remark("lost", key, head, f"{hook} has no heads.")
        return hook
    found = with_head(hook, head) if type(head) is int else None
    if found is None:
        raise ConfigError(
            f"{key} is {head!r}, not the number of a head.", where=key, hint="Count from 0: the last of 12 heads is 11."
        )
    return found


def _corpus(settings: Settings, config: dict[str, Any], changes: Mapping[str, Any]) -> None:
    path, tokenized = settings.take("dataset_path", ""), settings.take("is_dataset_tokenized", True)
    chat = settings.take("use_chat_formatting", False) is True
    settings.lost("use_cached_activations", "activations are computed again; see docs/activation-store.md.", False)
    if _replaced(changes):
        if chat:
            settings.remark("lost", "use_chat_formatting", True, "say chat=True of the text that you give.")
        return
    if not isinstance(path, str) or not path.strip():
        raise ConfigError(
            "The configuration names no dataset.", where="dataset_path",
            hint="Give one: from_saelens(..., corpus=...), or --corpus.",
        )
    config["corpus"] = {"kind": "tokens", "source": path} if tokenized and not chat else as_corpus(path)
    if chat and isinstance(config["corpus"], dict):
        config["corpus"]["chat"] = True


def _replaced(changes: Mapping[str, Any]) -> bool:
    """Whether `changes` say which text it is; ``corpus.text_field`` and the like only say more of it."""
    return "corpus" in changes or "corpus.kind" in changes


def _precision(settings: Settings, config: dict[str, Any]) -> None:
    dtype = str(settings.take("dtype", "float32")).removeprefix("torch.")
    config["precision"] = _DTYPES.get(dtype, "float32")
    if dtype != "float32":
        settings.remark(
            "changed", "dtype", dtype,
            f"matrix products run in {config['precision']}; weights and Adam's moments stay float32.",
        )
    if settings.take("autocast", False):
        config["precision"] = "bfloat16"
    if settings.take("autocast_lm", False):
        config["model_dtype"] = "bfloat16"
        settings.remark("changed", "autocast_lm", True, "the language model's weights are loaded in bfloat16.")


def _logging(settings: Settings, config: dict[str, Any], prompts: int, context: int) -> None:
    logger = Settings(settings.table("logger"), "logger.", settings.remarks)
    every = max(1, logger.count("wandb_log_frequency", 10))
    config["log_every_steps"] = every
    evaluated = settings.count("n_eval_batches", 10) * settings.count("eval_batch_size_prompts", prompts) * context
    config["evaluation"] = {
        "every_steps": max(1, every * logger.count("eval_every_n_wandb_logs", 100)), "tokens": max(256, evaluated)
    }
    if logger.take("log_to_wandb", True):
        project = logger.take("wandb_project", "sae_lens_training")
        logger.remark(
            "changed", "log_to_wandb", True,
            f'metrics are kept in the workspace; on_event=WandbSink("{project}"), or --wandb {project}, sends them.',
        )
    if isinstance(name := logger.take("run_name"), str):
        config["name"] = name[:120]
    logger.ignore(
        "log_activations_store_to_wandb", "log_optimizer_state_to_wandb", "log_weights_to_wandb", "wandb_project",
        "wandb_id", "wandb_entity",
    )
    logger.rest()
    settings.lost(
        "feature_sampling_window", "densities are measured by evaluations and in the window of dead latents.", 2000
    )


def _checkpoints(settings: Settings, config: dict[str, Any], steps: int) -> None:
    wanted = settings.count("n_checkpoints", 0)
    if wanted:
        config["checkpoints"] = {"every_steps": max(1, math.ceil(steps / (wanted + 1))), "keep_every": True}
    begun, pretrained = settings.take("resume_from_checkpoint"), settings.take("from_pretrained_path")
    if begun is not None:
        settings.remark(
            "changed", "resume_from_checkpoint", begun,
            "the run starts from the weights of the checkpoint; the optimiser and the text begin anew.",
        )
    if begun is not None or pretrained is not None:
        config["from_pretrained"] = begun if begun is not None else pretrained


def _hardware(settings: Settings, config: dict[str, Any]) -> None:
    device = str(settings.take("device", "cpu"))
    config["device"] = "auto" if device == "cuda" else device
    of_model = _device(settings, "llm_device", device)
    of_store = _device(settings, "act_store_device", device)
    config["model_device"] = None if of_model == device else of_model
    of_store = of_model if of_store == "with_model" else of_store
    config["activations"]["buffer_device"] = None if of_store == device else of_store
    mode = settings.take("llm_compilation_mode", "default")
    if settings.take("compile_llm", False):
        config["model_compile"] = mode
    settings.lost("compile_sae", "the SAE's step is not compiled; on the CPU it has kernels of its own.", False)


def _device(settings: Settings, name: str, device: str) -> str:
    """A second device, as SAELens writes it: "None" or nothing where it is `device`."""
    found = str(settings.take(name, device))
    return device if found in ("None", "") else found


def _sae_only(data: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """An SAE's cfg.json: its architecture, and what its metadata says of where it was trained."""
    meta = data.get("metadata")
    if not isinstance(meta, Mapping) or "architecture" not in data:
        raise ConfigError(
            "There is neither an `sae` nor an `architecture` with `metadata` in it.", where="sae", hint=f"Give {WHAT}."
        )
    remarks = Settings({}).remarks
    own = own_sae(meta)
    if own is not None:  # the class is transformers' here, as it will be
        meta = {name: value for name, value in meta.items() if name != "model_class_name"}
    settings = Settings(meta, "metadata.", remarks)
    config: dict[str, Any] = {"activations": _positions(settings)}
    if own is not None:
        config["sae"], scaling = own
        if "sequence_separator_token" not in meta:  # this package's own, which it does not write
            del config["activations"]["separator"]
        if settings.has("training_tokens"):
            config["tokens"] = settings.count("training_tokens")
        out = settings.take("hook_name_out")
        config["hook_name_out"] = _at_head(settings, out, "hook_head_index_out") if isinstance(out, str) else out
    else:
        details = meta.get("training_architecture_details")
        merged = {**data, **(details if isinstance(details, Mapping) else {})}
        merged["architecture"] = meta.get("training_architecture") or data["architecture"]
        config["sae"], config["optimizer"], scaling = sae_of(Settings(merged, "", remarks))
    if scaling is not None:
        config["activations"]["normalize"] = scaling
    if settings.has("exclude_token_ids"):  # ours, where special tokens are left out as well
        config["activations"]["exclude_token_ids"] = settings.take("exclude_token_ids")
    if settings.has("seed"):
        config["seed"] = settings.count("seed")
    if settings.has("context_size"):
        config["context_size"] = settings.count("context_size")
    _model(settings, config)
    path = settings.take("dataset_path")
    if not _replaced(changes):
        if isinstance(path, str) and path.strip():
            config["corpus"] = as_corpus(path)
        else:
            raise ConfigError(
                "This cfg.json does not say which text the SAE was trained on.", where="metadata.dataset_path",
                hint="Give it: from_saelens(..., corpus=...), or --corpus.",
            )
    settings.remark(
        "lost", "lr", None,
        f"an SAE's cfg.json does not record learning rate, batch size{'' if own else ', tokens'} and schedules: they "
        "have this package's defaults.",
    )
    settings.ignore(*_RECORDED)
    settings.rest()
    return settings, config
