"""The `sae` part of miStudio's hyper-parameters: which loss, in whose units.

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
from typing import Any

from saewidgets.config.translate.source import Settings
from saewidgets.errors import ConfigError

ARCHITECTURES = {
    "standard": "standard", "standard_saelens": "standard", "standard_anthropic": "standard", "skip": "skip",
    "transcoder": "transcoder", "jumprelu": "jumprelu", "topk": "topk",
}  # fmt: skip
"""What miStudio calls an architecture → here."""
SAE_SETTINGS = (
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


def scaling_of(settings: Settings, architecture: str, changes: Mapping[str, Any]) -> str:
    """How inputs are scaled; what `changes` say of it comes first."""
    if isinstance(given := changes.get("activations.normalize"), str):
        return given
    if architecture == "transcoder":
        settings.lost("normalize_activations", "miStudio does not scale the inputs of a transcoder.", "none")
        return "none"
    scaling: str = settings.choice("normalize_activations", _SCALINGS, "constant_norm_rescale")
    if scaling == "none" or architecture != "skip":
        return scaling
    settings.remark(
        "changed", "normalize_activations", scaling,
        "inputs get one common scale (expected_average_only_in) in place of one per token.",
    )
    return "expected_average_only_in"


def of_sae(
    settings: Settings, sae: dict[str, Any], optimizer: dict[str, Any], norm: float | None, scaling: str, second: bool,
    changes: Mapping[str, Any],
) -> None:
    """Complete `sae`, which has its architecture and size, and what of `optimizer` belongs to it.

    Args:
        norm: mean norm of the activations, where it is known.
        scaling: how inputs are scaled.
        second: the settings are of miStudio's second generation.
        changes: settings by dotted name; a coefficient among them need not be in `settings`.

    Raises:
        ConfigError: a setting is missing or makes no sense.
    """
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
