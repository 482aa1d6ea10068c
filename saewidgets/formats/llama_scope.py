"""Llama Scope 1: JumpReLU SAEs of Llama 3.1 8B in ``hyperparams.json`` and ``checkpoints/final.safetensors``.

The files are those of a TopK training whose result was made a JumpReLU with one threshold. It takes activations scaled
to an average norm of √d, so with s = √d / average norm (both in ``hyperparams.json``)

    f = p where p = s·x @ W_enc + b_enc > s·θ, else 0           x̂ = (f @ W_dec + b_dec) / s_out

That θ is to be multiplied by s follows SAELens' loader (its pull request 483), which reaches the published L0 that way.
The factors are moved into the weights, so that the SAE takes raw activations (He et al. 2024, arXiv:2410.20526).
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description, Format
from saewidgets.formats.foreign import Settings, Width, build, dtype_name, fold_scales, read, total
from saewidgets.formats.header import Header, read_header
from saewidgets.formats.jsonfile import checked, read_json
from saewidgets.formats.source import FolderSource, Source
from saewidgets.sae import SAE

CONFIG_FILE = "hyperparams.json"
WEIGHTS_FILE = "checkpoints/final.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
MODEL = "meta-llama/Llama-3.1-8B"
LINEAR_NAMES = {
    "W_enc": "encoder.weight", "b_enc": "encoder.bias", "W_dec": "decoder.weight", "b_dec": "decoder.bias",
}


class _Norms(Settings):
    into: float = Field(alias="in", gt=1e-6, lt=1e9)
    out: float | None = Field(default=None, gt=1e-6, lt=1e9)


class _File(Settings):
    d_model: Width
    d_sae: Width
    hook_point_in: str
    hook_point_out: str | None = None
    jump_relu_threshold: float = Field(ge=0, lt=1e9)
    dataset_average_activation_norm: _Norms
    act_fn: str = "jumprelu"
    use_glu_encoder: bool = False


def matches(source: Source) -> bool:
    """By the names of both files."""
    return all(name in source.files() for name in FILES)


def describe(source: Source) -> Description:
    """What configuration and header say."""
    file, data = _read(source)
    header = read_header(source, WEIGHTS_FILE)
    require_linear(header, file.d_model, file.d_sae, CONFIG_FILE)
    transcoder = file.hook_point_out not in (None, file.hook_point_in)
    notes = ["The scale of activations that the SAE was trained on was moved into its weights."]
    return Description(
        format=FORMAT.name, architecture="jumprelu_transcoder" if transcoder else "jumprelu", d_in=file.d_model,
        d_sae=file.d_sae, d_out=file.d_model, dtype=dtype_name(header, "encoder.weight"), files=FILES,
        size_bytes=total(source, FILES), model=MODEL, hook_name=file.hook_point_in,
        settings={"apply_b_dec_to_input": False}, config=data, notes=tuple(notes),
    )


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in `folder`, frozen."""
    source = FolderSource(folder)
    description = describe(source)
    file, _ = _read(source)
    header = read_header(source, WEIGHTS_FILE)
    tensors = read(source, header, WEIGHTS_FILE, LINEAR_NAMES, device=device, transposed=("W_enc", "W_dec"))
    norms = file.dataset_average_activation_norm
    scale = math.sqrt(file.d_model) / norms.into
    scale_out = scale
    metadata: dict[str, Any] = {}
    if "transcoder" in str(description.architecture):
        if norms.out is None:
            raise FormatError(
                "The value is missing.", where=f"{source.label}/{CONFIG_FILE}: dataset_average_activation_norm.out",
                hint="Without it the output of this transcoder cannot be scaled back.",
            )
        scale_out = math.sqrt(file.d_model) / norms.out
        metadata["hook_name_out"] = file.hook_point_out
    fold_scales(tensors, scale, scale_out)
    tensors["threshold"] = torch.full((file.d_sae,), file.jump_relu_threshold * scale, device=device)
    return build(description, tensors, where=header.where, device=device, dtype=dtype, metadata=metadata)


def _read(source: Source) -> tuple[_File, dict[str, Any]]:
    data = read_json(source, CONFIG_FILE)
    where = f"{source.label}/{CONFIG_FILE}"
    file = checked(_File, data, where)
    if re.sub("[^a-z]", "", file.act_fn.lower()) != "jumprelu" or file.use_glu_encoder:
        found = "a gated encoder" if file.use_glu_encoder else f"the activation function {file.act_fn[:40]!r}"
        raise FormatError(f"The SAE has {found}; only JumpReLU is read.", where=where)
    return file, data


def require_linear(header: Header, d_in: int, d_sae: int, source: str, **more: tuple[int, ...]) -> None:
    """Check the tensors of two torch linear layers, whose matrices are [outputs, inputs], and `more` besides."""
    header.require(
        {
            "encoder.weight": (d_sae, d_in), "encoder.bias": (d_sae,), "decoder.weight": (d_in, d_sae),
            "decoder.bias": (d_in,), **more,
        },
        source=source,
    )


FORMAT = Format("llama_scope", "Llama Scope", matches, describe, load, config_file=CONFIG_FILE)
