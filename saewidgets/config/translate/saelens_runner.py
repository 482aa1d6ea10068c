"""What trains one SAE in SAELens (version 6): `LanguageModelSAERunnerConfig`, as settings of a `TrainingConfig`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from saewidgets.config.translate.saelens_model import hardware_of, model_of, precision_of
from saewidgets.config.translate.saelens_sae import sae_of
from saewidgets.config.translate.saelens_text import corpus_of, positions
from saewidgets.config.translate.source import Settings

_SCHEDULES = {"constant": "constant", "cosineannealing": "cosine", "cosineannealingwarmrestarts": "cosine_restarts"}
# What it calls a run that nobody named: f"{architecture}-{d_sae}-LR-{lr}-Tokens-{tokens:3.3e}"; of several "multi-…".
_OWN_NAME = re.compile(r"([a-z_]+-\d+|multi-[a-z_+]+-N\d+)-LR-[\d.e+-]+-Tokens-\d\.\d{3}e[+-]\d+")
_FEWEST = 256  # tokens that an evaluation, or a measurement of the activations, may have here
_OUTPUTS = (
    "hook_eval", "dataset_trust_remote_code", "streaming", "checkpoint_path", "save_final_checkpoint", "output_path",
    "verbose", "sae_lens_version", "sae_lens_training_version", "dead_feature_threshold", "tokens_per_buffer",
    "cached_activations_path", "sae_compilation_mode",
)  # they say where files go and how much is printed, or do nothing in version 6


def runner_of(settings: Settings, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The data of a `TrainingConfig`, and in `settings` what was lost; `changes` say what is given otherwise."""
    of_the_sae = settings.inner("sae")
    precision = precision_of(of_the_sae, settings)
    sae, optimizer, scaling = sae_of(of_the_sae, changes.get("sae.architecture"))
    context = settings.count("context_size", 128)
    batch, prompts = settings.count("train_batch_size_tokens", 4096), settings.count("store_batch_size_prompts", 32)
    tokens = _tokens(settings, batch, changes)
    config: dict[str, Any] = {
        "sae": sae, "context_size": context, "tokens": tokens, "batch_size": batch, "seed": settings.count("seed", 42),
        "precision": precision,
        "optimizer": {**_optimizer(settings), **optimizer},
        "activations": {"model_batch_size": prompts, "normalize": scaling, **_activations(settings, prompts, context)},
        # Dead there are latents silent for more than so many steps, here from so many tokens on.
        "dead_window_tokens": max(1, (settings.count("dead_feature_window", 1000) + 1) * batch),
    }
    norm = settings.count("n_batches_for_norm_estimate", 1000) * batch
    config["activations"]["norm_tokens"] = max(_FEWEST, norm)
    if norm < _FEWEST and scaling in ("expected_average_only_in", "covariance_whitening"):
        settings.remark(
            "changed", "n_batches_for_norm_estimate", norm // max(1, batch),
            f"these are {norm} tokens; the activations are measured on {_FEWEST} here, the fewest.",
        )
    model_of(settings, config, changes)
    corpus_of(settings, config, changes)
    _logging(settings, config, prompts, context)
    _checkpoints(settings, config, tokens // batch if batch else 0)
    hardware_of(settings, config)
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
    found = positions(settings)
    batches, mixing = settings.count("n_batches_in_buffer", 20), settings.share("activations_mixing_fraction", 0.5)
    if mixing == 0:
        found["shuffle_tokens"] = 1
    else:
        found["shuffle_tokens"] = max(1, batches * prompts * context)
        settings.remark(
            "changed", "n_batches_in_buffer", batches,
            f"activations are shuffled within windows of {found['shuffle_tokens']:,} tokens, one after another, in "
            f"place of a buffer that keeps a share of {mixing:g}.",
        )
    ahead = settings.take("prefetch_llm_batches")
    if ahead is not None and (not isinstance(ahead, int) or ahead < 0):
        raise settings.wrong("prefetch_llm_batches", "true, false or a number of batches")
    if ahead:
        found["read_ahead"] = "on"
    return found


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
        logger.remark("changed", "log_to_wandb", True, _sink(logger))
    name = logger.take("run_name", "")
    if name and not _OWN_NAME.fullmatch(name):  # nor would its numbers hold where settings are changed
        config["name"] = name[:120]
    logger.ignore(
        "log_activations_store_to_wandb", "log_optimizer_state_to_wandb", "log_weights_to_wandb", "wandb_project",
        "wandb_id", "wandb_entity",
    )
    logger.rest()
    settings.lost(
        "feature_sampling_window", "densities are measured by evaluations and in the window of dead latents.", 2000
    )


def _sink(logger: Settings) -> str:
    """How metrics get to W&B, as they do there."""
    project, entity = logger.take("wandb_project", "sae_lens_training"), logger.take("wandb_entity", "")
    call = f'WandbSink("{project}", entity="{entity}")' if entity else f'WandbSink("{project}")'
    option = f"--wandb {project}" + (f" with WANDB_ENTITY={entity} in the environment" if entity else "")
    return f"metrics are kept in the workspace; on_event={call}, or {option}, sends them."


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
