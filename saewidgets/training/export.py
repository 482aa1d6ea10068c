"""Exports the SAE of a run: in inference form, for raw activations, with its history in the metadata."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from saewidgets.config.hook_names import head_of
from saewidgets.config.training import ActivationsConfig, TrainingConfig
from saewidgets.formats import save_sae
from saewidgets.sae import SAE, build_sae
from saewidgets.sae.scaler import Scaler
from saewidgets.training.checkpoint import EVALUATED, SAMPLES, Checkpoint, newest_whole
from saewidgets.version import __version__


def exported(sae: SAE, scaler: Scaler, *, hook_name: str = "") -> SAE:
    """A frozen copy in inference form with the `scaler` of its training folded in; `sae` itself is not changed.

    One that reads at ``attn.hook_z`` says, as SAELens has it, that its input may come with a dimension of heads, as
    TransformerLens gives it; one on a single head has no such dimension.
    """
    copy = sae.to_inference()
    if scaler.whitening is not None:
        copy.fold_whitening(scaler.whitening)
    elif copy.cfg.normalize_activations == "none":  # else it scales every token by itself
        copy.fold_scales(scaler.factor, scaler.out)
    if hook_name.endswith("attn.hook_z") and not copy.is_transcoder:
        copy.cfg = copy.cfg.model_copy(update={"reshape_activations": "hook_z"})
    return copy


def metadata(
    config: TrainingConfig, *, model_name: str, model_class: str, tokens: int, metrics: Mapping[str, float],
    dataset: str | None = None,
) -> dict[str, Any]:
    """The metadata beside the weights: SAELens' keys, then ours.

    `metrics` are those of the exported SAE on held-out text (``val_*`` and ``ce_loss_score``); `dataset` is what the
    text is called, if not as in the configuration.
    """
    measured = {ours: float(metrics[name]) for ours, name in EVALUATED.items() if name in metrics}
    measured |= {name: int(metrics[name]) for name in SAMPLES.values() if name in metrics}
    dead = {}
    if "val_dead" in metrics:
        share = float(metrics["val_dead"])
        dead = {"dead": share, "num_dead_features": round(share * config.sae.d_sae)}
    return {
        "model_name": model_name,
        "model_class_name": model_class,
        "hook_name": config.hook_name,
        "hook_head_index": head_of(config.hook_name),  # SAELens' name for it
        **({} if config.hook_name_out is None else {"hook_name_out": config.hook_name_out}),
        "context_size": config.context_size,
        **config.activations.packing.to_data(),
        **_counted(config.activations),
        "dataset_path": dataset or getattr(config.corpus, "path", config.corpus.label),  # the hub's name of a dataset
        "training_architecture": config.sae.architecture,
        "training_architecture_details": config.autoencoder.model_dump(mode="json"),
        "training_normalize_activations": config.activations.normalize,  # what is folded in, cfg.json cannot tell
        **({} if config.from_pretrained is None else {"started_from": config.from_pretrained}),
        "training_tokens": tokens,
        "seed": config.seed,
        "saewidgets_version": __version__,
        **measured,
        **dead,
    }


def _counted(settings: ActivationsConfig) -> dict[str, Any]:
    """Which positions it was trained on, as SAELens has it: a list of ids takes the place of special tokens."""
    ids = list(settings.exclude_token_ids or ())
    found: dict[str, Any] = {"exclude_special_tokens": settings.exclude_special_tokens or ids or False}
    if ids and settings.exclude_special_tokens:
        found["exclude_token_ids"] = ids  # SAELens has either
    if settings.seqpos_slice is not None:
        found["seqpos_slice"] = list(settings.seqpos_slice)
    return found


def export_checkpoint(config: TrainingConfig, folder: Path) -> tuple[Path, int] | None:
    """Export the SAE of a run's newest whole checkpoint without running it: the path of the SAE and the step it is of.

    None if the run has no checkpoint. The language model is not loaded, so the metrics in the metadata are those that
    the checkpoint recorded. Raises `FormatError` where every checkpoint is damaged.
    """
    checkpoint, problems = newest_whole(folder / "checkpoints")
    if checkpoint is None:
        if problems:
            raise problems[0]
        return None
    return save_final(sae_of(config, checkpoint), folder), checkpoint.step


def sae_of(config: TrainingConfig, checkpoint: Checkpoint) -> SAE:
    """The SAE of one checkpoint, frozen and fed with raw activations; its metrics are those the checkpoint recorded."""
    state = checkpoint.state
    d_in = int(state["d_in"])
    d_out = int(state["d_out"]) if config.hook_name_out is not None else None
    sae = build_sae(config.autoencoder, d_in, d_out=d_out, generator=torch.Generator().manual_seed(config.seed))
    sae.load_state_dict(checkpoint.weights())
    frozen = exported(sae, checkpoint.scaler(), hook_name=config.hook_name)
    frozen.metadata = metadata(
        config, model_name=config.model, model_class="AutoModelForCausalLM", tokens=int(state["tokens"]),
        metrics=state["metrics"],
    )
    return frozen


def save_final(sae: SAE, folder: Path) -> Path:
    """Write the exported SAE to `folder/sae`, whole or not at all; returns that folder's absolute path."""
    return save_sae(sae, folder / "sae", format="saelens").absolute()
