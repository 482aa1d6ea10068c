"""The `sae` part of a SAELens configuration: which loss, in whose units.

SAELens sums the squared error over d_in and averages it over the batch, as we do, so coefficients keep their values.
Its decoder rows have free norms: the L1 penalty is weighted by them, and TopK and its kin multiply pre-activations by
them (`rescale_acts_by_decoder_norm`, the default).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from saewidgets.config.translate.source import Settings

_FREE = {"normalize_decoder_every": None, "project_decoder_grad": False}
_KAIMING_NORM = 2**0.5  # of a row of Kaiming's uniform numbers: their variance is 2 / d_in
_NORMALIZE = ("none", "expected_average_only_in", "layer_norm", "constant_norm_rescale", "covariance_whitening")
_OF_THE_ACTIVATIONS = ("normalize_activations", "reshape_activations")  # they follow from other settings of a run
_ELSEWHERE = ("device", "metadata", "reshape_activations")  # told by other settings
_BY_TOKEN = ("layer_norm", "constant_norm_rescale")


def sae_of(settings: Settings, chosen: str | None = None) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The settings of our `sae`, those that belong to our `optimizer`, and the input scaling.

    Args:
        settings: SAELens'.
        chosen: our architecture that is trained in place of one that is not trained here, if one was chosen.

    Raises:
        ConfigError: an architecture that is not trained here, or a value that cannot be.
    """
    architecture = settings.text("architecture")
    if architecture not in _ARCHITECTURES and chosen is not None:
        settings.remark("changed", "architecture", architecture, f"{chosen}, which was chosen.")
        architecture = {"matryoshka": "matryoshka_batchtopk"}.get(chosen, chosen)
        if architecture not in _ARCHITECTURES:  # one without a counterpart there: its own defaults take the place
            architecture = "standard"
    if architecture not in _ARCHITECTURES:
        raise settings.error(
            "architecture", f"A SAELens training of {architecture} cannot be translated.",
            f"What can be translated: {', '.join(_ARCHITECTURES)}. sae.architecture=..., or --architecture, trains "
            "another in its place.",
        )
    settings.ignore("d_in", "use_sparse_activations", *_ELSEWHERE)
    sae: dict[str, Any] = {
        "d_sae": settings.count("d_sae"),
        "apply_b_dec_to_input": settings.take("apply_b_dec_to_input", True),
    }
    optimizer: dict[str, Any] = {}
    if not settings.null("decoder_init_norm"):
        sae["decoder_init_norm"] = settings.number("decoder_init_norm", 0.1)
    else:
        sae["decoder_init_norm"] = _KAIMING_NORM
        settings.remark(
            "changed", "decoder_init_norm", None, "rows start at √2, the mean norm of SAELens' random ones."
        )
    settings.take("decoder_init_norm")
    _ARCHITECTURES[architecture](settings, sae, optimizer)
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


def transcoder_of(settings: Settings) -> tuple[dict[str, Any], str]:
    """The settings of our `sae` and the input scaling, of a transcoder that SAELens runs; it trains none.

    Raises:
        ConfigError: it is of a kind that is not trained here, either.
    """
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
    settings.ignore("d_in", "d_out", "apply_b_dec_to_input", *_ELSEWHERE)
    sae = {"architecture": architecture, "d_sae": settings.count("d_sae")}
    scaling = settings.choice("normalize_activations", {name: name for name in _NORMALIZE}, "none")
    settings.rest()
    return sae, scaling


def own_sae(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], str | None] | None:
    """What this package wrote of the SAE beside its weights, in its own names, and the input scaling of the training
    (files of older versions tell it only where it is part of the SAE). None of a file that another package wrote."""
    details = metadata.get("training_architecture_details")
    if "saewidgets_version" not in metadata or not isinstance(details, Mapping) or "architecture" not in details:
        return None
    sae = {name: value for name, value in details.items() if name not in _OF_THE_ACTIVATIONS}
    scaling = metadata.get("training_normalize_activations")
    if scaling not in _NORMALIZE:
        scaling = details.get("normalize_activations")
    return sae, scaling if scaling in _NORMALIZE and scaling != "none" else None


def _standard(settings: Settings, sae: dict[str, Any], optimizer: dict[str, Any]) -> None:
    sae.update(architecture="standard", l1_coefficient=settings.number("l1_coefficient", 1.0))
    sae["lp_norm"] = settings.number("lp_norm", 1.0)
    optimizer.update(_FREE, sparsity_warm_up_steps=settings.count("l1_warm_up_steps", 0))


def _gated(settings: Settings, sae: dict[str, Any], optimizer: dict[str, Any]) -> None:
    sae.update(architecture="gated", l1_coefficient=settings.number("l1_coefficient", 1.0))
    optimizer.update(_FREE, sparsity_warm_up_steps=settings.count("l1_warm_up_steps", 0))


def _topk(settings: Settings, sae: dict[str, Any], optimizer: dict[str, Any]) -> None:
    k = settings.number("k", 100)
    sae.update(architecture="topk", k=round(k), aux_coefficient=settings.number("aux_loss_coefficient", 1.0))
    if k != round(k):
        settings.remark("changed", "k", k, f"rounded to {round(k)}.")
    if settings.take("rescale_acts_by_decoder_norm", True):
        settings.remark(
            "changed", "rescale_acts_by_decoder_norm", True,
            "decoder rows are kept at norm one instead, which computes the same latents and reconstructions.",
        )
    else:
        optimizer.update(_FREE)


def _batchtopk(settings: Settings, sae: dict[str, Any], optimizer: dict[str, Any]) -> None:
    _topk(settings, sae, optimizer)
    sae.update(architecture="batchtopk", threshold_momentum=1 - settings.number("topk_threshold_lr", 0.01))


def _matryoshka(settings: Settings, sae: dict[str, Any], optimizer: dict[str, Any]) -> None:
    _batchtopk(settings, sae, optimizer)
    sae.update(architecture="matryoshka", aux_per_width=settings.take("use_matryoshka_aux_loss", False))
    if widths := settings.take("matryoshka_widths"):
        sae["widths"] = widths


def _jumprelu(settings: Settings, sae: dict[str, Any], optimizer: dict[str, Any]) -> None:
    sae.update(
        architecture="jumprelu",
        l0_coefficient=settings.number("l0_coefficient", 1.0),
        bandwidth=settings.number("jumprelu_bandwidth", 0.05),
        initial_threshold=settings.number("jumprelu_init_threshold", 0.01),
        sparsity_loss=settings.choice(
            "jumprelu_sparsity_loss_mode", {name: name for name in ("step", "tanh", "quadratic")}, "step"
        ),
        tanh_scale=settings.number("jumprelu_tanh_scale", 4.0),
        pre_act_coefficient=settings.number("pre_act_loss_coefficient", None),
        ste_to_input=settings.take("jumprelu_ste_to_input", False),
    )
    if sae["sparsity_loss"] == "quadratic":
        sae["target_l0"] = settings.number("target_l0", None)
    settings.ignore("target_l0")  # of the other penalties
    optimizer.update(_FREE, sparsity_warm_up_steps=settings.count("l0_warm_up_steps", 0))
    settings.remark(
        "changed", "jumprelu_init_threshold", sae["initial_threshold"],
        "thresholds learn ten times as fast as the weights (docs/sae.md says why).",
    )


# What sae-lens does not do, or does with the input as it came.
_UNSOUND = {
    "gated": "the gate reads normalised activations in all terms of the loss; SAELens' auxiliary loss reads raw ones.",
    **dict.fromkeys(
        ("topk", "batchtopk"),
        "the auxiliary loss is in the units of the activations; SAELens stops once a latent is dead.",
    ),
    "matryoshka_batchtopk": "every width is brought back to the units of the activations; SAELens cannot train it.",
}
_ARCHITECTURES: dict[str, Callable[[Settings, dict[str, Any], dict[str, Any]], None]] = {
    "standard": _standard,
    "gated": _gated,
    "topk": _topk,
    "batchtopk": _batchtopk,
    "matryoshka_batchtopk": _matryoshka,
    "jumprelu": _jumprelu,
}
