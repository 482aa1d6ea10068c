"""Defines `from_mistudio`: miStudio → `TrainingConfig`, the hyper-parameters of a training or of a training template.

miStudio averages the squared error over all elements, we sum it over d_in, so its sparsity coefficients are multiplied
by d_in (`hidden_dim`): with the mean over tokens on both sides,

    d_in · (mean_elements (x̂ − x)² + α Σ|z|) = Σ_d (x̂ − x)² + (d_in · α) Σ|z|.

It brings every token to norm √d_in before encoding and measures the error after undoing that, as our
``constant_norm_rescale`` does. Only a skip autoencoder cannot be trained so: its inputs share one scale
s = √d_in / mean ‖x‖ and the error is measured in scaled units, s² times as large. Where the mean norm of the
activations is known, its coefficient is multiplied by s² as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saewidgets.config.changed import with_changes
from saewidgets.config.translate.translation import Settings, Translation, read
from saewidgets.errors import ConfigError

WHAT = "miStudio's training hyper-parameters"
_HOOKS = {"residual": "hook_resid_post", "mlp": "hook_mlp_out", "attention": "hook_attn_out"}
_OURS = {"learning_rate": "optimizer.lr", "batch_size": "batch_size", "latent_dim": "sae.d_sae"}
_SMALL = 64  # tokens: miStudio accumulates the gradients of smaller batches
_SECOND = frozenset({"top_k", "aux_k", "aux_loss_alpha", "adam_epsilon", "sparsity_warmup_steps"})
_SECOND_NAMES = frozenset({"standard_saelens", "standard_anthropic", "topk"})
_LOST = {
    "ghost_gradient_penalty": ("dead latents are resampled, or learn by an auxiliary loss.", (0, False)),
    "tied_weights": ("encoder and decoder are learned apart.", (False,)),
}
_ARCHITECTURES = {
    "standard": "standard", "standard_saelens": "standard", "standard_anthropic": "standard", "skip": "skip",
    "transcoder": "transcoder", "jumprelu": "jumprelu", "topk": "topk",
}  # fmt: skip
_SAE_SETTINGS = (
    "hidden_dim", "architecture_type", "l1_alpha", "sparsity_coeff", "bandwidth", "initial_threshold", "top_k", "aux_k",
    "aux_loss_alpha", "top_k_sparsity", "normalize_decoder", "normalize_activations",
)  # every architecture has some of them
_SCALINGS = {
    "none": "none", "constant_norm_rescale": "constant_norm_rescale", "layer_norm": "layer_norm",
    "anthropic_rescale": "constant_norm_rescale",
}
_L1 = ("standard", "skip")
_TOP_K = 64  # where neither a number nor a share is said
_ALPHA = {"standard_anthropic": 5.0}
_USUAL_ALPHA = 5e-4  # of all others; in the first generation it has to be said



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
    if wanted is not None and wanted != (_ARCHITECTURES.get(named) if isinstance(named, str) else None):
        settings.remark(
            "changed", "architecture_type", named, f"{wanted}, which was chosen; it has this package's defaults."
        )
        architecture = wanted
    else:
        wanted, architecture = None, settings.choice("architecture_type", _ARCHITECTURES, "standard")
    second = named in _SECOND_NAMES or any(settings.has(name) for name in _SECOND)
    batch, steps = settings.count("batch_size"), settings.count("total_steps")
    scaling = _scaling_of(settings, architecture, changes)
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
        _of_sae(settings, sae, optimizer, norm, scaling, second, changes)
    settings.ignore(*_SAE_SETTINGS)
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
    settings.lost(_LOST)
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


def _scaling_of(settings: Settings, architecture: str, changes: Mapping[str, Any]) -> str:
    """How inputs are scaled; what `changes` say of it comes first."""
    if isinstance(given := changes.get("activations.normalize"), str):
        return given
    if architecture == "transcoder":
        settings.lost({"normalize_activations": ("miStudio does not scale the inputs of a transcoder.", ("none",))})
        return "none"
    scaling: str = settings.choice("normalize_activations", _SCALINGS, "constant_norm_rescale")
    if scaling == "none" or architecture != "skip":
        return scaling
    settings.remark(
        "changed", "normalize_activations", scaling,
        "inputs get one common scale (expected_average_only_in) in place of one per token.",
    )
    return "expected_average_only_in"


def _of_sae(
    settings: Settings, sae: dict[str, Any], optimizer: dict[str, Any], norm: float | None, scaling: str, second: bool,
    changes: Mapping[str, Any],
) -> None:
    """Complete `sae`, which has its architecture and size, and what of `optimizer` belongs to it. `norm` is the mean
    norm of the activations, where it is known; `second`: the settings are of miStudio's second generation."""
    named, architecture = settings.take("architecture_type", "standard"), sae["architecture"]
    share = settings.number("top_k_sparsity", None)
    if architecture == "transcoder":
        sae["architecture"] = "standard"
        settings.remark(
            "changed", "architecture_type", "transcoder",
            "a standard SAE: miStudio gives a transcoder one place for both input and target.",
        )
    if architecture == "topk" or (share is not None and architecture != "jumprelu"):
        _topk(settings, sae, share, architecture, changes)
    elif architecture == "jumprelu":
        _jumprelu(settings, sae, optimizer, second, changes)
        _multiply(settings, sae, "l0_coefficient", norm, scaling, changes)
    else:
        alpha = settings.number("l1_alpha", _ALPHA.get(named, _USUAL_ALPHA) if second else None)
        _coefficient(sae, "l1_coefficient", alpha, "l1_alpha", changes)
        _multiply(settings, sae, "l1_coefficient", norm, scaling, changes)
        if architecture == "skip":
            settings.remark(
                "changed", "architecture_type", "skip",
                "half of the input is added to the reconstruction; all of it, as in miStudio, leaves latents nothing.",
            )
    _rows(settings, sae["architecture"], optimizer, second)


def _coefficient(
    sae: dict[str, Any], name: str, value: float | None, theirs: str, changes: Mapping[str, Any]
) -> None:
    if value is not None:
        sae[name] = value
    elif f"sae.{name}" not in changes:
        raise ConfigError(
            "There is no sparsity coefficient.", where=theirs, hint=f"Give sae.{name}, or --{name.replace('_', '-')}."
        )


def _multiply(
    settings: Settings, sae: dict[str, Any], name: str, norm: float | None, scaling: str, changes: Mapping[str, Any]
) -> None:
    """Bring a sparsity coefficient to our units (see the module)."""
    if norm is not None and not 0 < norm < math.inf:
        raise ConfigError(f"The mean norm is {norm}.", where="activation_norm", hint="Give a positive number.")
    if name not in sae or f"sae.{name}" in changes:  # it is in our units
        return
    d_in = settings.count("hidden_dim", least=1)
    sae[name] *= float(d_in)
    if scaling != "expected_average_only_in":
        settings.remark(
            "changed", "hidden_dim", d_in,
            "the sparsity coefficient is multiplied by it: right where the activations of the model have this width, "
            "which is not looked up.",
        )
    elif norm is not None:
        sae[name] *= d_in / norm**2
    else:
        settings.remark(
            "changed", "hidden_dim", d_in,
            "coefficients are multiplied by d_in, as if the activations had norm √d_in; the exact factor is d_in · s² "
            "with the input scale s, which the log of a run states (or give activation_norm, or --activation-norm).",
        )


def _topk(
    settings: Settings, sae: dict[str, Any], share: float | None, architecture: str, changes: Mapping[str, Any]
) -> None:
    k = settings.count("top_k", None)
    if type(changes.get("sae.k")) is int:
        k = changes["sae.k"]
    elif k is None and share is None:
        k = _TOP_K
    elif k is None and share is not None:
        k = max(1, int(share / 100 * sae["d_sae"]))
        settings.remark("changed", "top_k_sparsity", share, f"a percentage there; k is {k:,}.")
    if architecture != "topk":
        settings.remark("changed", "architecture_type", architecture, "topk: what top_k_sparsity made of it.")
    sae.update(
        architecture="topk", k=k, aux_k=settings.count("aux_k", 2 * k),
        aux_coefficient=settings.number("aux_loss_alpha", 1 / 32),
    )


def _jumprelu(
    settings: Settings, sae: dict[str, Any], optimizer: dict[str, Any], second: bool, changes: Mapping[str, Any]
) -> None:
    usual = 1e-3 if second else settings.number("l1_alpha", None)
    _coefficient(sae, "l0_coefficient", settings.number("sparsity_coeff", usual), "sparsity_coeff", changes)
    sae.update(
        bandwidth=settings.number("bandwidth", 0.01 if second else 0.001),
        initial_threshold=settings.number("initial_threshold", 0.5 if second else 0.001),
    )
    optimizer["beta1"] = 0.0
    settings.remark(
        "changed", "bandwidth", sae["bandwidth"],
        "the width of a rectangular kernel, not of a Gaussian one; thresholds learn ten times as fast as weights.",
    )


def _rows(settings: Settings, architecture: str, optimizer: dict[str, Any], second: bool) -> None:
    """Whether decoder rows are kept at norm one."""
    normalized = settings.take("normalize_decoder", True)
    if not normalized:
        optimizer.update(normalize_decoder_every=None, project_decoder_grad=False)
        if architecture in _L1:
            settings.remark(
                "changed", "normalize_decoder", False,
                "decoder rows have free norms there and here; here the penalty weighs latents by them, or rows would "
                "grow in place of latents.",
            )
    elif not second and architecture != "jumprelu":
        settings.remark(
            "changed", "normalize_decoder", normalized,
            "decoder rows are kept at norm one; miStudio's first generation does so for jumprelu only.",
        )
