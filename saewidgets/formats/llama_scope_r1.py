"""Llama Scope R1: JumpReLU SAEs of DeepSeek-R1-Distill-Llama-8B in ``config.json`` and ``sae_weights.safetensors``.

    f = p where p = s·x @ W_enc + b_enc > exp(log_jumprelu_threshold), else 0         x̂ = (f @ W_dec + b_dec) / s

with s = √d / average norm of the activations. The published files do not hold that norm: s is taken from SAELens' table
of facts, by the folders' names on the hub (``800M-Slimpajama-0-OpenR1-Math-220k/L12R``).
Where the configuration says that thresholds compare ``p·‖W_dec‖``, they are divided by the norms.
"""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path, PurePath
from typing import Any, Literal

import torch
from pydantic import Field

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description, Format
from saewidgets.formats.foreign import Settings, Width, build, dtype_name, fold_scales, read, total
from saewidgets.formats.header import read_header
from saewidgets.formats.jsonfile import checked, read_json
from saewidgets.formats.llama_scope import LINEAR_NAMES, require_linear
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.tensors import check_finite
from saewidgets.sae import SAE

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "sae_weights.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
MODEL = "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"
THRESHOLD = "log_jumprelu_threshold"


class _Norms(Settings):
    into: float = Field(alias="in", gt=1e-6, lt=1e9)


class _File(Settings):
    d_model: Width
    expansion_factor: float = Field(gt=0, le=2**12)
    hook_point_in: str
    hook_point_out: str | None = None
    norm_activation: Literal["dataset-wise", "inference"] = "dataset-wise"
    sparsity_include_decoder_norm: bool = False
    dataset_average_activation_norm: _Norms | None = None

    @property
    def d_sae(self) -> int:
        return int(self.d_model * self.expansion_factor)


def matches(source: Source) -> bool:
    """By the names of the files, which llamascopium shares, and then by the names of the tensors."""
    if not all(name in source.files() for name in FILES):
        return False
    try:
        return THRESHOLD in read_header(source, WEIGHTS_FILE).tensors
    except FormatError:  # llamascopium, which has the same files, says what is wrong
        return False


def describe(source: Source) -> Description:
    """What configuration and header say."""
    file, data = _read(source)
    header = read_header(source, WEIGHTS_FILE)
    require_linear(header, file.d_model, file.d_sae, CONFIG_FILE, **{THRESHOLD: (file.d_sae,)})
    scale = _scale(file, source.label)
    if scale is None:
        note = (
            "The scale of activations that the SAE was trained on is neither in its files nor known for this path: it "
            "cannot be loaded from here."
        )
    else:
        note = f"The scale of activations that the SAE was trained on ({scale:.4g}) was moved into its weights."
    return Description(
        format=FORMAT.name, architecture="jumprelu", d_in=file.d_model, d_sae=file.d_sae, d_out=file.d_model,
        dtype=dtype_name(header, "encoder.weight"), files=FILES, size_bytes=total(source, FILES), model=MODEL,
        hook_name=file.hook_point_in, settings={"apply_b_dec_to_input": False}, config=data, notes=(note,),
    )


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in `folder`, frozen."""
    source = FolderSource(folder)
    description = describe(source)
    file, _ = _read(source)
    scale = _scale(file, source.label)
    if scale is None:
        raise FormatError(
            "The scale of activations that this SAE was trained on is neither in its files nor known for this path.",
            where=source.label, hint="Keep the names of the folders as they are on the hub.",
        )
    header = read_header(source, WEIGHTS_FILE)
    names = LINEAR_NAMES | {"threshold": THRESHOLD}
    tensors = read(source, header, WEIGHTS_FILE, names, device=device, transposed=("W_enc", "W_dec"))
    tensors["threshold"] = tensors["threshold"].float().exp()
    if file.sparsity_include_decoder_norm:
        tensors["threshold"] /= tensors["W_dec"].float().norm(dim=1)
    check_finite(header.where, {THRESHOLD: tensors["threshold"]})
    fold_scales(tensors, scale, scale)
    return build(description, tensors, where=header.where, device=device, dtype=dtype)


def _scale(file: _File, label: str) -> float | None:
    """s; None if nothing tells."""
    if file.norm_activation == "inference":
        return 1.0
    if file.dataset_average_activation_norm is not None:
        return math.sqrt(file.d_model) / file.dataset_average_activation_norm.into
    return _table().get("/".join(PurePath(label).parts[-2:]))


@cache
def _table() -> dict[str, float]:
    """Folder on the hub → s."""
    text = (package_files("saewidgets.formats") / "llama_scope_r1_scales.json").read_text(encoding="utf-8")
    scales: dict[str, float] = json.loads(text)["scales"]
    return scales


def _read(source: Source) -> tuple[_File, dict[str, Any]]:
    data = read_json(source, CONFIG_FILE)
    where = f"{source.label}/{CONFIG_FILE}"
    file = checked(_File, data, where)
    if file.hook_point_out not in (None, file.hook_point_in):
        raise FormatError(
            f"It reads {file.hook_point_in[:60]} and writes {str(file.hook_point_out)[:60]}; only SAEs are in this "
            "format.", where=f"{where}: hook_point_out",
        )
    return file, data


FORMAT = Format("llama_scope_r1", "Llama Scope R1", matches, describe, load, config_file=CONFIG_FILE)
