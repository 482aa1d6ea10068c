"""Files that are known and not read: why, and what to do instead."""

from __future__ import annotations

import re
from collections.abc import Iterable

_CROSS_LAYER = (
    "This is a cross-layer transcoder: its latents write into all later layers, so it is no transcoder by itself.",
    "Per-layer transcoders (layer_….safetensors) of the same model can be read.",
)
_REASONS = (
    (re.compile(r"(?:.*/)?W_(?:enc|dec)_[0-9]+\.safetensors"), *_CROSS_LAYER),
    (
        re.compile(r"(?:.*/)?sae_weights\.dcp/.*"),
        "The weights are a distributed checkpoint of torch, which is made of pickles.",
        "Save them as sae_weights.safetensors with the package they come from.",
    ),
)


def reason(files: Iterable[str]) -> tuple[str, str] | None:
    """Why files with these names are not read, and the way out; None where nothing is known about them."""
    for name in files:
        for pattern, why, hint in _REASONS:
            if pattern.fullmatch(name):
                return why, hint
    return None
