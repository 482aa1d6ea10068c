"""What the cfg.json of an SAE says of its training: its architecture, and its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saewidgets.config.corpus import as_corpus
from saewidgets.config.translate.saelens_model import at_head, hook_of, model_of, precision_of
from saewidgets.config.translate.saelens_sae import own_sae, sae_of, transcoder_of
from saewidgets.config.translate.saelens_text import names_the_text, positions
from saewidgets.config.translate.source import Settings
from saewidgets.errors import ConfigError

_RECORDED = (
    "sae_lens_version", "sae_lens_training_version", "saewidgets_version", "training_architecture",
    "training_architecture_details", "training_normalize_activations", "training_tokens", "started_from",
    "neuronpedia_id", "hf_hook_name", "hf_hook_name_out", "l0", "fvu", "mse", "ce_loss_score", "dead",
    "num_dead_features",
)  # of an SAE's metadata: what became of the run, and other names


def of_sae(data: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """An SAE's cfg.json: its architecture, and what its metadata says of where it was trained."""
    meta = data.get("metadata")
    if not isinstance(meta, Mapping) or "architecture" not in data:
        raise ConfigError(
            "There is neither an `sae` nor an `architecture` with `metadata` in it.", where="sae",
            hint="Give a runner_cfg.json or cfg.json of SAELens.",
        )
    remarks = Settings({}).remarks
    own = own_sae(meta)
    if own is not None:  # the class is transformers' here, as it will be
        meta = {name: value for name, value in meta.items() if name != "model_class_name"}
    settings = Settings(meta, "metadata.", remarks)
    config: dict[str, Any] = {"activations": positions(settings)}
    if own is not None:
        config["sae"], scaling = own
        if "sequence_separator_token" not in meta:  # this package's own, which it does not write
            del config["activations"]["separator"]
        if settings.has("training_tokens"):
            config["tokens"] = settings.count("training_tokens")
    else:
        details = meta.get("training_architecture_details")
        merged = {**data, **(details if isinstance(details, Mapping) else {})}
        merged["architecture"] = meta.get("training_architecture") or data["architecture"]
        of_the_sae = Settings(merged, "", remarks)
        config["precision"] = precision_of(of_the_sae, Settings({}))
        if str(merged["architecture"]).endswith("transcoder"):
            config["sae"], scaling = transcoder_of(of_the_sae)
        else:
            config["sae"], config["optimizer"], scaling = sae_of(
                of_the_sae, changes.get("sae.architecture")
            )
        if assumed := of_the_sae.assumed:
            settings.remark(
                "lost", "training_architecture_details", None,
                "the file does not record all that its loss was trained with; SAELens' defaults are taken: "
                f"{', '.join(f'{name} {value}' for name, value in assumed.items())}.",
            )
    if (out := settings.text("hook_name_out", None)) is not None and "hook_name_out" not in changes:
        config["hook_name_out"] = at_head(settings, hook_of(out, "metadata.hook_name_out"), "hook_head_index_out")
    settings.ignore("hook_head_index_out")
    if scaling is not None:
        config["activations"]["normalize"] = scaling
    if settings.has("exclude_token_ids"):  # ours, where special tokens are left out as well
        config["activations"]["exclude_token_ids"] = settings.take("exclude_token_ids")
    if settings.has("seed"):
        config["seed"] = settings.count("seed")
    if settings.has("context_size"):
        config["context_size"] = settings.count("context_size")
    model_of(settings, config, changes)
    path = settings.take("dataset_path")
    if not names_the_text(changes):
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
