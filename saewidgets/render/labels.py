"""Settings in a few words, as cards and tables show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ARCHITECTURES = {"standard": "Standard", "topk": "TopK", "batchtopk": "BatchTopK", "jumprelu": "JumpReLU"}


def short_float(value: float) -> str:
    """1.5e-3 for 0.0015, 0.05 for 0.05, 5 for 5.0."""
    if value == 0 or 0.01 <= abs(value) < 10_000:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def architecture_label(sae: Mapping[str, Any], fallback: str = "") -> str:
    """ "TopK k 32", "JumpReLU λ 1.5e-3", "Standard L1 5"."""
    name = str(sae.get("architecture", fallback))
    label = ARCHITECTURES.get(name, name)
    if sae.get("k") is not None:
        return f"{label} k {int(sae['k']):,}"
    if sae.get("l1_coefficient") is not None:
        return f"{label} L1 {short_float(float(sae['l1_coefficient']))}"
    if sae.get("l0_coefficient") is not None:
        return f"{label} λ {short_float(float(sae['l0_coefficient']))}"
    return label
