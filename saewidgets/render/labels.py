"""Short names of choices, hook points, SAEs and architectures, for cards and tables."""

from collections.abc import Mapping
from typing import Any

from saewidgets.config.hook_names import head_of
from saewidgets.config.sae import usual_target

ARCHITECTURES = {
    "topk": "TopK",
    "batchtopk": "BatchTopK",
    "jumprelu": "JumpReLU",
    "abstopk": "AbsTopK",
    "groupmax": "GroupMax",
}
"""The first words of their names that `name_of` would write in another way."""

SOURCES = {"trained": "Trained", "huggingface": "Hugging Face", "gemma_scope": "Gemma Scope", "local": "Local"}
FORMATS = {
    "saelens": "SAELens",
    "saelens_legacy": "SAELens before version 6",
    "mistudio": "miStudio",
    "mistudio_community": "miStudio export",
    "gemma_scope": "Gemma Scope",
    "gemma_scope_2": "Gemma Scope 2",
    "sparsify": "sparsify",
    "dictionary_learning": "dictionary_learning",
    "dictionary_learning_checkpoint": "dictionary_learning checkpoint",
    "llama_scope": "Llama Scope",
    "llama_scope_r1": "Llama Scope R1",
    "llamascopium": "llamascopium",
    "qwen_scope": "Qwen Scope",
    "openai": "OpenAI sparse_autoencoder",
    "ghosttrack": "GhostTrack",
    "goodfire": "Goodfire",
    "deepseek_r1": "DeepSeek R1 (qresearch)",
    "connor_rob": "Attention SAEs (connor_rob)",
    "circuit_tracer": "circuit-tracer transcoders",
    "temporal": "Temporal SAEs",
}
WRITTEN_FORMATS = ("saelens", "gemma_scope", "sparsify", "dictionary_learning", "mistudio")
"""Formats that SAEs can be exported to; all others are only read. (Asking `formats` would cost the import of torch.)"""

_DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
CHOICES: dict[str, Mapping[str, str]] = {
    "sae.architecture": ARCHITECTURES,
    "sae.sparsity_loss": {"step": "Step (L0)", "l1": "L1", "quadratic": "Quadratic (target L0)"},
    "precision": _DTYPES,
    "model_dtype": _DTYPES,
    "activations.normalize": {
        "expected_average_only_in": "E‖x‖ = √d_in",
        "layer_norm": "Layer norm of every token",
        "constant_norm_rescale": "Norm √d_in for every token",
        "covariance_whitening": "Whitened",
    },
    "model_compile": {mode: mode for mode in ("reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")},
    "activations.read_ahead": {"auto": "With two devices"},
    "checkpoints.best_metric": {"fvu": "FVU", "ce_loss_score": "CE recovered", "mse": "MSE"},
}
"""Dotted name of a setting → what its choices are called, where that is not the choice itself (see `name_of`)."""

_SITES = {
    "hook_resid_post": "residual",
    "hook_resid_pre": "residual before",
    "hook_resid_mid": "residual after attention",
    "hook_mlp_out": "MLP output",
    "mlp.hook_in": "MLP input",
    "hook_mlp_in": "MLP input",
    "mlp.hook_post": "MLP latents",
    "hook_attn_out": "attention output",
    "attn.hook_z": "attention heads",
    "ln1.hook_normalized": "normalised residual before attention",
    "ln2.hook_normalized": "normalised residual before the MLP",
    "hook_embed": "embedding",
}


def name_of(table: Mapping[str, str], value: str) -> str:
    """What a reader calls `value`, or else its first word: "JumpReLU transcoder"; an unknown one in its own words
    ("my_format" → "My format")."""
    first, *others = value.split("_")
    return table.get(value) or " ".join([table.get(first) or first[:1].upper() + first[1:], *others])


def choice_label(setting: str, value: str) -> str:
    """What a reader calls one choice of a setting: "Step (L0)" for ``step`` of ``sae.sparsity_loss``."""
    return name_of(CHOICES.get(setting, {}), value)


def site_label(hook_name: str | None) -> str:
    """ "residual" for ``blocks.12.hook_resid_post``, "attention head 5" for ``blocks.12.attn.hook_z.5``; a hook point
    without a word for it is its own label."""
    if not hook_name:
        return ""
    if (head := head_of(hook_name)) is not None:
        return f"attention head {head}"
    place = hook_name.split(".", 2)[2] if hook_name.startswith("blocks.") and hook_name.count(".") > 1 else hook_name
    return _SITES.get(place, hook_name)


def sae_label(architecture: str, k: int | None = None, l0: float | None = None) -> str:
    """ "TopK, k 32", "JumpReLU, L0 82"."""
    label = name_of(ARCHITECTURES, architecture)
    if k is not None:
        return f"{label}, k {k:,}"
    return label if l0 is None else f"{label}, L0 {short_float(l0)}"


def short_float(value: float) -> str:
    """1.5e-3 for 0.0015, 0.05 for 0.05, 5 for 5.0."""
    if value == 0 or 0.01 <= abs(value) < 10_000:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def architecture_label(sae: Mapping[str, Any], fallback: str = "") -> str:
    """ "TopK k 32", "JumpReLU λ 1.5e-3", "Standard L1 5"."""
    label = name_of(ARCHITECTURES, str(sae.get("architecture", fallback)))
    if sae.get("k") is not None:
        return f"{label} k {int(sae['k']):,}"
    if sae.get("l1_coefficient") is not None:
        return f"{label} L1 {short_float(float(sae['l1_coefficient']))}"
    if sae.get("l0_coefficient") is not None:
        return f"{label} λ {short_float(float(sae['l0_coefficient']))}"
    return f"{label} L0 {short_float(target)}" if (target := target_of(sae)) is not None else label


def target_of(sae: Mapping[str, Any]) -> float | None:
    """The L0 that an autoencoder, as plain data, is trained to; None where that is no setting of it."""
    is_usual = sae.get("target_l0", 0) is None and "d_sae" in sae
    target = usual_target(sae["d_sae"]) if is_usual else sae.get("target_l0")
    return None if target is None else float(target)
