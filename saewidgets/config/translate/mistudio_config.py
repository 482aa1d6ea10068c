"""Defines `from_mistudio`: miStudio → `TrainingConfig`, the hyper-parameters of a training or of a training template.

miStudio averages the squared error over all elements, we sum it over d_in, so its sparsity coefficients are multiplied
by d_in (`hidden_dim`): with the mean over tokens on both sides,

    d_in · (mean_elements (x̂ − x)² + α Σ|z|) = Σ_d (x̂ − x)² + (d_in · α) Σ|z|.

It brings every token to norm √d_in before encoding and measures the error after undoing that, as our
``constant_norm_rescale`` does. Only a skip autoencoder cannot be trained so: its inputs share one scale
s = √d_in / mean ‖x‖ and the error is measured in scaled units, s² times as large. Where the mean norm of the
activations is known, its coefficient is multiplied by s² as well.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from saewidgets.config.base import nested
from saewidgets.config.training import with_changes
from saewidgets.config.translate.translation import Rows, SettingsReader, Translation, is_number, read
from saewidgets.errors import ConfigError

WHAT = "miStudio's training hyper-parameters"
_HOOKS = {"residual": "hook_resid_post", "mlp": "hook_mlp_out", "attention": "hook_attn_out"}
_SMALL = 64  # tokens: miStudio accumulates the gradients of smaller batches
# Settings and architectures of its second generation.
_SECOND = ("top_k", "aux_k", "aux_loss_alpha", "adam_epsilon", "sparsity_warmup_steps")
_SECOND_NAMES = ("standard_saelens", "standard_anthropic", "topk")
_ARCHITECTURES = {
    "standard": "standard", "standard_saelens": "standard", "standard_anthropic": "standard", "skip": "skip",
    "transcoder": "transcoder", "jumprelu": "jumprelu", "topk": "topk",
}  # fmt: skip
_SCALINGS = {
    "none": "none", "constant_norm_rescale": "constant_norm_rescale", "layer_norm": "layer_norm",
    "anthropic_rescale": "constant_norm_rescale",
}
_ROWS: Rows = {
    "batch_size": ("count", "batch_size"), "sae.d_sae": ("size", "latent_dim"),
    "optimizer.lr": ("number", "learning_rate"), "optimizer.lr_warm_up_steps": ("count", "warmup_steps", 0),
    "optimizer.weight_decay": ("number", "weight_decay", 0.0),
    "optimizer.grad_clip": ("number", "grad_clip_norm", None),
    "log_every_steps": ("count", "log_interval", 100),
    "checkpoints.every_steps": ("count", "checkpoint_interval", 1000),
}
_OF_THE_SAE = (
    "hidden_dim", "architecture_type", "l1_alpha", "sparsity_coeff", "bandwidth", "initial_threshold", "top_k", "aux_k",
    "aux_loss_alpha", "top_k_sparsity", "normalize_decoder", "normalize_activations",
)  # every architecture has some of them
_LOST = {
    "ghost_gradient_penalty": ("dead latents are resampled, or learn by an auxiliary loss.", (0, False)),
    "tied_weights": ("encoder and decoder are learned apart.", (False,)),
}
_UNSCALED = {"normalize_activations": ("miStudio does not scale the inputs of a transcoder.", ("none",))}
_DECOUPLED = {"weight_decay": ("decoupled from the gradient (AdamW) instead of added to it.", (0.0,))}
_CHANGED = {
    "architecture_type": "{wanted}, as chosen, with this package's defaults.",
    "batch_size": "miStudio takes a step every {batches} batches of this size; here it takes one every batch.",
    "resample_interval": "latents that did not fire in {window:,} tokens are dead, instead of in one batch.",
    "target_l0": "a share of the latents in miStudio; here the log warns of an L0 above {most:g} per token.",
    "training_layers": "{number} SAEs: one configuration each, which create_many trains from one forward.",
    "normalize_activations": "inputs get one common scale (expected_average_only_in) instead of one per token.",
    "transcoder": "a standard SAE: miStudio gives a transcoder one place for both input and target.",
    "topk": "topk: the effect of top_k_sparsity.",
    "top_k_sparsity": "a percentage in miStudio; k is {k:,}.",
    "bandwidth": "the width of a rectangular kernel, not a Gaussian; thresholds learn ten times as fast as weights.",
    "skip": "half of the input is added to the reconstruction; all of it would leave nothing to the latents.",
    "hidden_dim": "the sparsity coefficient is multiplied by it: right where the activations of the model have this "
    "width, which is not looked up.",
    "one scale": "coefficients are multiplied by d_in, as if the activations had norm √d_in; the exact factor is "
    "d_in · s² with the input scale s, which the log of a run states (or give activation_norm, or --activation-norm).",
    "free rows": "decoder rows have free norms in both; here the penalty weighs latents by them, or rows would "
    "grow instead of latents.",
    "rows": "decoder rows are kept at norm one; miStudio's first generation does so for jumprelu only.",
}
"""Remarks on settings that mean something else here, by the setting's name where that is enough."""
_TOP_K = 64  # where neither a number nor a share is given
_ALPHA = {"standard_anthropic": 5.0}
_USUAL_ALPHA = 5e-4  # of all others; in the first generation it must be given


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
        changes: settings of `TrainingConfig` by dotted name, which replace what is wrong or missing.
            `model` and `corpus` are always needed: miStudio's files name both by ids of its database.

    Returns:
        the configuration, every setting that was lost or changed its meaning, and in `over` the hook points where the
        training had several.

    Raises:
        ConfigError: a setting is missing or invalid.
        NotFoundError, StorageError: there is no such file, or it cannot be read.
    """
    data = _hyperparameters(read(source, WHAT), template)
    if "latent_dim" not in data and ("sae" in data or "d_sae" in data):
        raise ConfigError(
            "This is a configuration of SAELens, not of miStudio.", hint="Give it to from_saelens, or --from-saelens."
        )
    for name, what in (("model", "model"), ("corpus", "text")):
        if name not in changes and f"{name}.kind" not in changes:
            raise ConfigError(
                f"miStudio's hyper-parameters do not say which {what} was used.", where=name,
                hint=f"Give it: from_mistudio(..., {name}=...), or --{name}.",
            )
    if activation_norm is not None and not 0 < activation_norm < math.inf:
        raise ConfigError(
            f"The mean norm is {activation_norm}.", where="activation_norm", hint="Give a positive number."
        )
    settings = SettingsReader(_supplied(data, changes), said=_CHANGED)
    config = _translated(settings, activation_norm, changes)
    hooks = [] if "hook_name" in changes else _hooks(settings)
    if hooks:
        config["hook_name"] = hooks[0]
    settings.ignore("training_layers", "hook_types")
    settings.rest()
    over = {"hook_name": hooks} if len(hooks) > 1 else {}
    return Translation(with_changes(nested(config), changes), tuple(settings.remarks), "miStudio", over)


def _hyperparameters(data: dict[str, Any], template: str | None) -> dict[str, Any]:
    """The table itself, wherever the file has it."""
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
    """The data with `changes` in place of numbers that are missing or null."""
    found = dict(data)
    for name, ours in (("learning_rate", "optimizer.lr"), ("batch_size", "batch_size"), ("latent_dim", "sae.d_sae")):
        if is_number(changes.get(ours)) and not is_number(found.get(name)):
            found[name] = changes[ours]
    batch, tokens = found.get("batch_size"), changes.get("tokens")
    if is_number(tokens) and is_number(batch) and batch and not is_number(found.get("total_steps")):
        found["total_steps"] = int(tokens // batch)
    return found


def _translated(settings: SettingsReader, norm: float | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings by dotted name, but for the hook points."""
    named, wanted = settings.take("text", "architecture_type", "standard"), changes.get("sae.architecture")
    is_chosen = wanted is not None and wanted != _ARCHITECTURES.get(named)
    if is_chosen:
        settings.changed("architecture_type", wanted=wanted)
    architecture: str = wanted or settings.take(_ARCHITECTURES, "architecture_type", "standard")
    second = named in _SECOND_NAMES or any(settings.has(name) for name in _SECOND)
    config = settings.rows(_ROWS)
    batch = config["batch_size"]
    if 0 < batch < _SMALL:
        settings.changed("batch_size", batches=_SMALL // batch)
    settings.remark_on("changed", _DECOUPLED)
    if isinstance(scaling := changes.get("activations.normalize"), str):
        pass  # what was chosen comes first
    elif architecture == "transcoder":
        settings.remark_on("lost", _UNSCALED)
        scaling = "none"
    else:
        scaling = settings.take(_SCALINGS, "normalize_activations", "constant_norm_rescale")
        if scaling != "none" and architecture == "skip":
            scaling = "expected_average_only_in"
            settings.changed("normalize_activations")
    warm_up = 10_000 if architecture == "jumprelu" else 5000
    window = max(1, settings.take("count", "dead_neuron_threshold", 1000) * batch)
    config |= {
        "version": 1, "sae.architecture": architecture, "activations.normalize": scaling, "optimizer.lr_decay_steps": 0,
        "optimizer.eps": settings.take("number", "adam_epsilon", 6.25e-10 if architecture == "topk" else 1e-8),
        "optimizer.sparsity_warm_up_steps": settings.take("count", "sparsity_warmup_steps", warm_up if second else 0),
        "tokens": settings.take("count", "total_steps") * batch, "dead_window_tokens": window,
        **{name: max(1, config[name]) for name in ("log_every_steps", "checkpoints.every_steps")},
    }  # fmt: skip
    if not is_chosen:
        config["sae.apply_b_dec_to_input"] = second
        _of_sae(settings, config, named, norm, second, changes)
    settings.ignore(*_OF_THE_SAE)
    interval = settings.take("count", "resample_interval", 5000)
    if settings.take("flag", "resample_dead_neurons", True) and interval:
        config |= {"resampling.every_steps": interval, "resampling.until_share": 1.0}
        settings.changed("resample_interval", window=window)
    if (target := settings.take("share", "target_l0", None)) is not None:
        config["targets.l0_max"] = target * config["sae.d_sae"]
        settings.changed("target_l0", most=config["targets.l0_max"])
    settings.remark_on("lost", _LOST)
    settings.ignore("extraction_ids", "extraction_id")
    return config


def _hooks(settings: SettingsReader) -> list[str]:
    layers, kinds = settings.take("layers", "training_layers", [0]), settings.take("any", "hook_types", ["residual"])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(kinds, list) or not kinds or not all(each in list(_HOOKS) for each in kinds):
        raise settings.wrong("hook_types", f"a list of {', '.join(_HOOKS)}")
    hooks = [f"blocks.{layer}.{_HOOKS[kind]}" for layer in layers for kind in kinds]
    if len(hooks) > 1:
        settings.changed("training_layers", number=len(hooks))
    return hooks


def _of_sae(
    settings: SettingsReader, config: dict[str, Any], named: str, norm: float | None, second: bool,
    changes: Mapping[str, Any],
) -> None:  # fmt: skip
    """Complete `config` by what the architecture, `named` so there, has of its own. `norm` is the mean norm of the
    activations, where it is known; `second`: the settings are of miStudio's second generation."""
    architecture, share = config["sae.architecture"], settings.take("number", "top_k_sparsity", None)
    if architecture == "transcoder":
        config["sae.architecture"] = "standard"
        settings.changed("architecture_type", "transcoder")
    if architecture == "topk" or (share is not None and architecture != "jumprelu"):
        k, chosen = settings.take("count", "top_k", None), changes.get("sae.k")
        if type(chosen) is int:
            k = chosen
        elif k is None and share is None:
            k = _TOP_K
        elif k is None:
            k = max(1, int(share / 100 * config["sae.d_sae"]))
            settings.changed("top_k_sparsity", k=k)
        config |= {
            "sae.architecture": "topk", "sae.k": k, "sae.aux_k": settings.take("count", "aux_k", 2 * k),
            "sae.aux_coefficient": settings.take("number", "aux_loss_alpha", 1 / 32),
        }
        if architecture != "topk":
            settings.changed("architecture_type", "topk")
    elif architecture == "jumprelu":
        usual = 1e-3 if second else settings.take("number", "l1_alpha", None)
        _coefficient(settings, config, "l0_coefficient", ("sparsity_coeff", usual), norm, changes)
        config |= {
            "sae.bandwidth": settings.take("number", "bandwidth", 0.01 if second else 0.001), "optimizer.beta1": 0.0,
            "sae.initial_threshold": settings.take("number", "initial_threshold", 0.5 if second else 0.001),
        }
        settings.changed("bandwidth")
    else:
        usual = _ALPHA.get(named, _USUAL_ALPHA) if second else None
        _coefficient(settings, config, "l1_coefficient", ("l1_alpha", usual), norm, changes)
    if config["sae.architecture"] == "skip":
        settings.changed("architecture_type", "skip")
    if not settings.take("flag", "normalize_decoder", True):
        config |= {"optimizer.normalize_decoder_every": None, "optimizer.project_decoder_grad": False}
        if config["sae.architecture"] in ("standard", "skip"):
            settings.changed("normalize_decoder", "free rows")
    elif not second and config["sae.architecture"] != "jumprelu":
        settings.changed("normalize_decoder", "rows")


def _coefficient(
    settings: SettingsReader, config: dict[str, Any], name: str, theirs: tuple[str, float | None], norm: float | None,
    changes: Mapping[str, Any],
) -> None:  # fmt: skip
    """The sparsity coefficient in our units (see the module); `theirs` is its name there, and the default."""
    alpha = settings.take("number", *theirs)
    if f"sae.{name}" in changes:  # it is in our units
        return
    if alpha is None:
        hint = f"Give sae.{name}, or --{name.replace('_', '-')}."
        raise settings.error(theirs[0], "There is no sparsity coefficient.", hint)
    d_in = settings.take("size", "hidden_dim")
    config[f"sae.{name}"] = alpha * float(d_in)
    if config["activations.normalize"] != "expected_average_only_in":
        settings.changed("hidden_dim")
    elif norm is None:
        settings.changed("hidden_dim", "one scale")
    else:
        config[f"sae.{name}"] *= d_in / norm**2
