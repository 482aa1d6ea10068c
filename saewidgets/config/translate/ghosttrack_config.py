"""Defines `from_ghosttrack`: GhostTrack → `TrainingConfig`, the YAML of its SAE training guide; the commands recognise
such a file by `is_ghosttrack`.

GhostTrack averages the squared error over all elements and the absolute latents over all of them; we sum both. Times
d_in, with the mean over tokens on both sides,

    d_in · (mean_elements (x̂ − x)² + λ mean |f|) = Σ_d (x̂ − x)² + (λ d_in / d_sae) Σ |f|,

where f is p for a pre-activation p > θ, else 0. Gradients are d_in times as large, so Adam's epsilon and the gradient
clip are multiplied as well.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saewidgets.config.base import nested, require
from saewidgets.config.training import with_changes
from saewidgets.config.translate.translation import Remark, Rows, SettingsReader, Translation, read

_ROWS: Rows = {
    "epochs": ("size", "epochs", 20), "batch_size": ("size", "batch_size", 2048),
    "optimizer.lr": ("number", "learning_rate", 1e-4), "optimizer.weight_decay": ("number", "weight_decay", 0.0),
    "targets.l0_min": ("number", "target_sparsity_min", None),
    "targets.l0_max": ("number", "target_sparsity_max", None),
}
_FIXED: Mapping[str, Any] = {
    "sae.architecture": "jumprelu", "sae.sparsity_loss": "l1", "sae.pre_act_coefficient": None,
    "sae.apply_b_dec_to_input": False, "sae.start_from_data": False, "sae.decoder_init_norm": 1.0,
    "activations.normalize": "none", "activations.validation_share": 0.05, "optimizer.normalize_decoder_every": 100,
    "optimizer.lr_schedule": "cosine", "optimizer.lr_end": 0.0, "optimizer.lr_warm_up_steps": 0,
    "optimizer.lr_decay_steps": 0, "optimizer.sparsity_warm_up_steps": 0,
}  # fmt: skip
"""What its code does, whatever the file says."""
_DECOUPLED = {"weight_decay": ("decoupled from the gradient (AdamW) instead of added to it.", (0.0,))}
_CORPUS = {"kind": "hub", "path": "wikimedia/wikipedia", "name": "20231101.en"}
_WIKIPEDIA = "its code reads Wikipedia of 1 March 2022 through a script of the hub; here that of 1 November 2023."
_SAID = {
    "d_model": "coefficient, target and gradient clip are multiplied by it: right where the activations of the model "
    "have this width.",
    "threshold": "where thresholds start: each latent learns its own. There is one for all there, without a gradient.",
    "lambda_sparse": "times a mean over latents there, a sum here: {value:.3g}. A latent weighs as much as its decoder "
    "row is long, which is one after every normalisation.",
    "target_recon_loss": "a mean over elements there, summed over d_model here: {value:.4g}.",
    "gradient_clip": "of gradients that are d_model times as large here: {value:g}.",
    "num_tokens": "how much is captured for every layer: num_tokens of a pipeline, or --num-tokens.",
    "epochs": "passes over what a pipeline captured; a single training reads the whole dataset so often, unless tokens "
    "replaces it.",
}
_OTHER = (
    "project", "environment", "paths", "tracking", "detection", "dataset", "evaluation", "logging", "testing",
    "visualization",
)  # parts of the file that are not about SAEs


def is_ghosttrack(data: Mapping[str, Any]) -> bool:
    """Whether the settings of a file are GhostTrack's."""
    sae = data.get("sae")
    return "sae_training" in data or (isinstance(sae, Mapping) and "d_hidden" in sae)


def from_ghosttrack(source: str | Path | Mapping[str, Any], **changes: Any) -> Translation:
    """Translate the configuration of GhostTrack's SAE training guide.

    Args:
        source: its YAML with the tables ``sae`` and ``sae_training`` (and ``model``), a file or a dictionary.
        changes: settings of `TrainingConfig` by dotted name. The guide's file names no model; without one it is the
            demo's. Models other than that read Wikipedia unless `corpus` says otherwise.

    Returns:
        the configuration, and every setting that was lost or changed its meaning. What belongs to one layer, trained
        layer by layer with `Workspace.pipeline`.

    Raises:
        ConfigError: a setting is invalid.
        NotFoundError, StorageError: there is no such file, or it cannot be read.
    """
    data = read(source, "GhostTrack's configuration", "YAML")
    said = "Not GhostTrack's configuration: it has neither sae_training nor sae.d_hidden."
    require((is_ghosttrack(data), "source", said, "Give the file with its tables sae and sae_training."))
    settings = SettingsReader(data, said=_SAID)
    model, sae, training = (settings.inner(name) for name in ("model", "sae", "sae_training"))
    d_in, d_sae = sae.take("size", "d_model", 768), sae.take("size", "d_hidden", 4096)
    width = wanted if type(wanted := changes.get("sae.d_sae")) is int and wanted > 0 else d_sae
    config = training.rows(_ROWS) | dict(_FIXED) | {
        "sae.d_sae": d_sae, "sae.initial_threshold": sae.take("number", "threshold", 0.1),
        "sae.l0_coefficient": sae.take("number", "lambda_sparse", 0.01) * d_in / width, "optimizer.eps": d_in / 1e8,
        "optimizer.grad_clip": training.take("number", "gradient_clip", 1.0) * d_in or None,
        "targets.mse": (training.take("number", "target_recon_loss", 0.0) * d_in) or None,
    }  # fmt: skip
    if (length := training.take("size", "max_length", None)) is not None:
        config["context_size"] = length
    if (name := changes.get("model") or model.take("name", "base_model", None)) is not None:
        config["model"] = name
    if name not in (None, "demo") and "corpus" not in changes and "corpus.kind" not in changes:
        config["corpus"] = _CORPUS
        settings.remarks.append(Remark("changed", "model.base_model", name, _WIKIPEDIA))
    sae.changed("d_model")
    sae.changed("threshold")
    sae.changed("lambda_sparse", value=config["sae.l0_coefficient"])
    for ours, theirs in (("targets.mse", "target_recon_loss"), ("optimizer.grad_clip", "gradient_clip")):
        if config[ours] is not None:
            training.changed(theirs, value=config[ours])
    training.remark_on("changed", _DECOUPLED)
    if training.has("num_tokens"):
        training.lost("num_tokens")
    sae.ignore("architecture")
    training.ignore("validation_every", "num_tokens")
    model.ignore("d_model", "n_layers", "device", "base_model")
    settings.ignore(*_OTHER)
    for each in (model, sae, training, settings):
        each.rest()
    found = with_changes(nested(config), changes)
    if found.corpus.kind == "hub" and found.epochs:
        training.changed("epochs")
    remarks = tuple(sorted(settings.remarks, key=lambda each: each.setting))
    return Translation(found, remarks, "GhostTrack", d_in=d_in)
