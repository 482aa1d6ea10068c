"""SAELens' format, version 6: ``cfg.json`` and ``sae_weights.safetensors``.

Outputs of a training and checkpoints from within one are both read as what they are for inference (saelens_read.py);
what is written (saelens_write.py) the `sae-lens` package opens as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from saewidgets.config.sae import SAEConfig
from saewidgets.errors import FormatError
from saewidgets.formats import saelens_read, saelens_write
from saewidgets.formats.base import Description, Format
from saewidgets.formats.jsonfile import checked, read_json
from saewidgets.formats.saelens_read import CONFIG_FILE, DTYPES, FILES, TRAINING_ONLY, WEIGHTS_FILE, Reading
from saewidgets.formats.source import FolderSource, Source
from saewidgets.sae import SAE

NAME = "saelens"
__all__ = ["CONFIG_FILE", "FILES", "FORMAT", "WEIGHTS_FILE", "is_modern", "read_config"]

# Settings of one architecture or the other, passed on under their own names.
_OWN = {
    "topk": ("k",),
    "abstopk": ("k",),
    "matching_pursuit": ("residual_threshold", "max_iterations", "stop_on_duplicate_support"),
    "temporal": (
        "n_heads", "n_attn_layers", "bottleneck_factor", "sae_diff_type", "kval_topk", "tied_weights",
        "activation_normalization_factor",
    ),
}
_TRANSCODER = ("d_out",)


class Shared(BaseModel):
    """What decides the maths of every architecture. Unknown keys are ignored, as SAELens does."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    architecture: str
    d_in: int = Field(ge=1, le=2**20)
    d_sae: int = Field(ge=1, le=2**24)
    dtype: str = "float32"
    apply_b_dec_to_input: bool = True
    normalize_activations: Literal[
        "none", "expected_average_only_in", "constant_norm_rescale", "layer_norm", "covariance_whitening",
        "constant_scalar_rescale",
    ] = "none"
    reshape_activations: Literal["none", "hook_z"] = "none"
    rescale_acts_by_decoder_norm: bool | None = None


class _File(Shared):
    metadata: dict[str, Any] = Field(default_factory=dict)


def is_modern(data: Mapping[str, Any]) -> bool:
    """Whether SAELens 6 reads `data` as its own format, not as one of the versions before."""
    metadata = data.get("metadata")
    version = data.get("sae_lens_version") or (metadata.get("sae_lens_version") if isinstance(metadata, dict) else None)
    major = re.match(r"\d+", str(version)) if version is not None else None
    return major is not None and int(major[0][:6]) >= 6


def _matches(source: Source) -> bool:
    if not all(name in source.files() for name in FILES):
        return False
    try:
        return is_modern(read_json(source, CONFIG_FILE))
    except FormatError:  # no other format reads it either: reading it for good says what is wrong
        return True


def reading(source: Source) -> Reading:
    """What cfg.json says."""
    data = read_json(source, CONFIG_FILE)
    where = f"{source.label}/{CONFIG_FILE}"
    return saelens_read.with_heads(from_shared(checked(_File, data, where), data, where))


def from_shared(file: Shared, data: Mapping[str, Any], where: str) -> Reading:
    """The reading of a checked configuration, for version 6 and what is brought into its form."""
    stored = file.architecture
    if stored not in saelens_read.known_architectures():
        raise saelens_read.architecture_error(where, stored)
    dtype = DTYPES.get(file.dtype.removeprefix("torch."))
    if dtype is None:
        raise FormatError(
            f"The dtype is {file.dtype[:40]!r}, expected one of {', '.join(DTYPES)}.", where=f"{where}: dtype"
        )
    normalize = file.normalize_activations
    folded = normalize in ("expected_average_only_in", "covariance_whitening")
    settings: dict[str, Any] = {
        "d_sae": file.d_sae, "apply_b_dec_to_input": file.apply_b_dec_to_input,
        "normalize_activations": "none" if folded else normalize, "reshape_activations": file.reshape_activations,
    }
    own = _TRANSCODER if "transcoder" in stored else _OWN.get(stored, ())
    given = file.model_extra or {}
    settings |= {key: given[key] for key in own if key in given}
    if stored in ("topk", "abstopk") and settings.get("k") is None:
        raise FormatError("The value is missing.", where=f"{where}: k", hint=f"A {stored} SAE needs k.")
    rescale = file.rescale_acts_by_decoder_norm
    metadata = given.get("metadata") if not isinstance(file, _File) else file.metadata
    return Reading(
        where=where, stored=stored, d_in=file.d_in, dtype=dtype, settings=settings, normalize=normalize,
        rescale=stored in TRAINING_ONLY if rescale is None else rescale,  # SAELens' defaults
        config=data, metadata=dict(metadata) if isinstance(metadata, dict) else {},
    )


def read_config(folder: Path) -> tuple[dict[str, Any], SAEConfig]:
    """cfg.json as data, and the configuration it stands for; weights are not touched."""
    found = reading(FolderSource(folder))
    return dict(found.config), saelens_read.to_config(found)


def _describe(source: Source) -> Description:
    return saelens_read.describe(source, reading(source), NAME)


def _load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    source = FolderSource(folder)
    return saelens_read.load(source, reading(source), device=device, dtype=dtype)


FORMAT = Format(NAME, "SAELens", _matches, _describe, _load, saelens_write.save, config_file=CONFIG_FILE)
