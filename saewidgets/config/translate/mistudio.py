"""miStudio → `TrainingConfig`: the hyper-parameters of a training or of a training template."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saewidgets.config.changed import with_changes
from saewidgets.config.translate.mistudio_sae import ARCHITECTURES, SAE_SETTINGS, of_sae, scaling_of
from saewidgets.config.translate.result import Translation
from saewidgets.config.translate.source import Settings, read
from saewidgets.errors import ConfigError

WHAT = "miStudio's training hyper-parameters"
_HOOKS = {"residual": "hook_resid_post", "mlp": "hook_mlp_out", "attention": "hook_attn_out"}
_OURS = {"learning_rate": "optimizer.lr", "batch_size": "batch_size", "latent_dim": "sae.d_sae"}
_SMALL = 64  # tokens: miStudio accumulates the gradients of smaller batches
_SECOND = frozenset({"top_k", "aux_k", "aux_loss_alpha", "adam_epsilon", "sparsity_warmup_steps"})
_SECOND_NAMES = frozenset({"standard_saelens", "standard_anthropic", "topk"})


def from_mistudio(
    source: str | Path | Mapping[str, Any],
    *,
    template: str | None = None,
    activation_norm: float | None = None,
    **changes: Any,
) -> Translation:
    """Translate miStudio's training hyper-parameters.

    Args:
        source: the hyper-parameters as JSON: by themselves, or in a training, a training template, an export of
            templates or a ``training_metadata.json``; a file or a dictionary.
        template: which template of an export that holds several.
        activation_norm: mean norm of the activations at the hook point; the coefficient of a skip autoencoder is exact
            with it (see docs/translation.md).
        changes: settings of `TrainingConfig` by dotted name, which stand in for what is wrong or missing.
            `model` and `corpus` are always needed: miStudio's files name both by ids of its database.

    Returns:
        the configuration, every setting that was lost or changed its meaning, and in `over` the hook points where the
        training had several.

    Raises:
        ConfigError: a setting is missing or makes no sense.
        NotFoundError, StorageError: there is no such file, or it cannot be read.
    """
    data = _hyperparameters(read(source, WHAT), template)
    if "latent_dim" not in data and ("sae" in data or "d_sae" in data):
        raise ConfigError(
            "This is a configuration of SAELens, not of miStudio.", hint="Give it to from_saelens, or --from-saelens."
        )
    settings = Settings(_supplied(data, changes))
    for name in ("model", "corpus"):
        if name not in changes and f"{name}.kind" not in changes:
            raise ConfigError(
                f"miStudio's hyper-parameters do not say which {'model' if name == 'model' else 'text'} was used.",
                where=name, hint=f"Give it: from_mistudio(..., {name}=...), or --{name}.",
            )
    config, hooks = _translated(settings, activation_norm, changes)
    over = {"hook_name": hooks} if len(hooks) > 1 else {}
    return Translation(with_changes(config, changes), tuple(settings.remarks), "miStudio", over)


def _hyperparameters(data: dict[str, Any], template: str | None) -> dict[str, Any]:
    """The table itself, wherever it stands."""
    if isinstance(listed := data.get("templates"), list):
        named = {str(each.get("name")): each for each in listed if isinstance(each, Mapping)}
        wanted = template if template is not None or len(named) != 1 else next(iter(named))
        if wanted not in named:
            raise ConfigError(
                f"The file has {len(named)} templates" + (f", none called {template!r}." if template else "."),
                where="template",
                hint=f"Choose one with template=..., or --template: {', '.join(named)}." if named else None,
            )
        data = dict(named[wanted])
    elif template is not None:
        raise ConfigError(
            "There are no templates in it to choose from.", where="template",
            hint="Leave out template, or --template: the settings are one training's.",
        )
    inner = data.get("hyperparameters")
    if not isinstance(inner, Mapping):
        return data
    found = dict(inner)
    if isinstance(kind := data.get("encoder_type"), str):
        found.setdefault("architecture_type", kind)
    return found


def _supplied(data: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """With `changes` in the place of numbers that are missing or none."""
    found = dict(data)
    for name, ours in _OURS.items():
        if _is_number(changes.get(ours)) and not _is_number(found.get(name)):
            found[name] = changes[ours]
    batch, tokens = found.get("batch_size"), changes.get("tokens")
    if _is_number(tokens) and _is_number(batch) and batch and not _is_number(found.get("total_steps")):
        found["total_steps"] = int(tokens // batch)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _translated(
    settings: Settings, norm: float | None, changes: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    d_sae, named = settings.count("latent_dim", least=1), settings.take("architecture_type", "standard")
    wanted = changes.get("sae.architecture")
    if wanted is not None and wanted != (ARCHITECTURES.get(named) if isinstance(named, str) else None):
        settings.remark(
            "changed", "architecture_type", named, f"{wanted}, which was chosen; it has this package's defaults."
        )
        architecture = wanted
    else:
        wanted, architecture = None, settings.choice("architecture_type", ARCHITECTURES, "standard")
    second = named in _SECOND_NAMES or any(settings.has(name) for name in _SECOND)
    batch, steps = settings.count("batch_size"), settings.count("total_steps")
    scaling = scaling_of(settings, architecture, changes)
    warm_up = 10_000 if architecture == "jumprelu" else 5000
    sae: dict[str, Any] = {"architecture": architecture, "d_sae": d_sae}
    optimizer: dict[str, Any] = {
        "lr": settings.number("learning_rate"), "lr_warm_up_steps": settings.count("warmup_steps", 0),
        "lr_decay_steps": 0, "weight_decay": settings.number("weight_decay", 0.0),
        "grad_clip": settings.number("grad_clip_norm", None),
        "eps": settings.number("adam_epsilon", 6.25e-10 if architecture == "topk" else 1e-8),
        "sparsity_warm_up_steps": settings.count("sparsity_warmup_steps", warm_up if second else 0),
    }
    if 0 < batch < _SMALL:
        settings.remark(
            "changed", "batch_size", batch,
            f"miStudio takes a step every {_SMALL // batch} batches of so few tokens; here every batch is one.",
        )
    if optimizer["weight_decay"]:
        settings.remark(
            "changed", "weight_decay", optimizer["weight_decay"],
            "decoupled from the gradient (AdamW) in place of added to it.",
        )
    if wanted is None:
        sae["apply_b_dec_to_input"] = second
        of_sae(settings, sae, optimizer, norm, scaling, second, changes)
    settings.ignore(*SAE_SETTINGS)
    interval, threshold = settings.count("resample_interval", 5000), settings.count("dead_neuron_threshold", 1000)
    config = {
        "sae": sae, "optimizer": optimizer, "batch_size": batch, "tokens": steps * batch,
        "activations": {"normalize": scaling}, "dead_window_tokens": max(1, threshold * batch),
        "log_every_steps": max(1, settings.count("log_interval", 100)),
        "checkpoints": {"every_steps": max(1, settings.count("checkpoint_interval", 1000))},
    }
    if settings.take("resample_dead_neurons", True) and interval:
        config["resampling"] = {"every_steps": interval, "until_share": 1.0}
        settings.remark(
            "changed", "resample_interval", interval,
            f"latents are dead that did not fire in {config['dead_window_tokens']:,} tokens, in place of one batch.",
        )
    if (target := settings.share("target_l0", None)) is not None:
        config["targets"] = {"l0_max": target * d_sae}
        settings.remark(
            "changed", "target_l0", target,
            f"a share of the latents there; here the log warns of an L0 above {target * d_sae:g} per token.",
        )
    settings.lost("ghost_gradient_penalty", "dead latents are resampled, or learn by an auxiliary loss.", 0, False)
    settings.lost("tied_weights", "encoder and decoder are learned apart.", False)
    settings.ignore("extraction_ids", "extraction_id")
    hooks = [] if "hook_name" in changes else _hooks(settings)
    if hooks:
        config["hook_name"] = hooks[0]
    settings.ignore("training_layers", "hook_types")
    settings.rest()
    return config, hooks


def _hooks(settings: Settings) -> list[str]:
    layers, kinds = settings.take("training_layers", [0]), settings.take("hook_types", ["residual"])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(layers, list) or not layers or not all(type(each) is int and each >= 0 for each in layers):
        raise ConfigError(f"training_layers is {layers!r}.", where="training_layers", hint="It lists layers: [0, 6].")
    known = isinstance(kinds, list) and all(isinstance(each, str) and each in _HOOKS for each in kinds)
    if not kinds or not known:
        raise ConfigError(f"hook_types is {kinds!r}.", where="hook_types", hint=f"It lists {', '.join(_HOOKS)}.")
    hooks = [f"blocks.{layer}.{_HOOKS[kind]}" for layer in layers for kind in kinds]
    if len(hooks) > 1:
        settings.remark(
            "changed", "training_layers", layers,
            f"{len(hooks)} SAEs: one configuration each, which create_many trains from one forward.",
        )
    return hooks
