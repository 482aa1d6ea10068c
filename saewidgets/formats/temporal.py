"""Temporal SAEs as published (canrager/temporalSAEs): ``conf.yaml`` and ``latest_ckpt.safetensors``.

`saewidgets.sae.temporal` says what they compute. D is the decoder [d_sae, d_in], b its bias, E the encoder
[d_in, d_sae] unless weights are tied; activations are multiplied by ``scaling_factor`` first and the output divided by
it. Model and layer are only in the path, ``gemma-2-2B/layer_12/temporal``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description, Format
from saewidgets.formats.foreign import Settings, Width, build, dtype_name, read, total
from saewidgets.formats.header import Header, read_header
from saewidgets.formats.jsonfile import checked
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.yamlfile import read_yaml
from saewidgets.sae import SAE

CONFIG_FILE = "conf.yaml"
WEIGHTS_FILE = "latest_ckpt.safetensors"
FILES = (CONFIG_FILE, WEIGHTS_FILE)
_MODELS = {"gemma-2-2b": "google/gemma-2-2b", "llama-3.1-8b": "meta-llama/Llama-3.1-8B"}
_PLACE = re.compile(r"(?:([\w.\-]{1,60})/)?layer_([0-9]{1,4})(?:/|$)")
_NOTE = "Model and layer are only in the path of the download, gemma-2-2B/layer_12/temporal."


class _Language(Settings):
    dimin: Width


class _Temporal(Settings):
    exp_factor: float = Field(gt=0, le=2**12)
    n_heads: int = Field(ge=1, le=2**12)
    n_attn_layers: int = Field(ge=1, le=64)
    bottleneck_factor: int = Field(ge=1, le=2**16)
    sae_diff_type: Literal["relu", "topk"]
    kval_topk: int | None = Field(default=None, ge=1)
    tied_weights: bool
    scaling_factor: float = Field(gt=0, lt=1e9)


class _File(Settings):
    llm: _Language
    sae: _Temporal

    @property
    def d_sae(self) -> int:
        return int(self.llm.dimin * self.sae.exp_factor)


def matches(source: Source) -> bool:
    """By the names of both files."""
    return all(name in source.files() for name in FILES)


def describe(source: Source) -> Description:
    """What configuration, header and path say."""
    file, data = _read(source)
    header = read_header(source, WEIGHTS_FILE)
    _check(header, file)
    sae, place = file.sae, _PLACE.search(source.label)
    settings = {
        "apply_b_dec_to_input": True, "normalize_activations": "constant_scalar_rescale",
        "activation_normalization_factor": sae.scaling_factor,
        **sae.model_dump(exclude={"exp_factor", "scaling_factor"}),
    }
    return Description(
        format=FORMAT.name, architecture="temporal", d_in=file.llm.dimin, d_sae=file.d_sae, d_out=file.llm.dimin,
        dtype=dtype_name(header, "D"), files=FILES, size_bytes=total(source, FILES),
        model=_MODELS.get((place[1] or "").lower()) if place else None,
        hook_name=f"blocks.{int(place[2])}.hook_resid_post" if place else None, settings=settings,
        config={key: data[key] for key in ("llm", "sae", "data") if key in data}, notes=() if place else (_NOTE,),
    )


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in `folder`, frozen."""
    source = FolderSource(folder)
    about = describe(source)
    header = read_header(source, WEIGHTS_FILE)
    names = {{"D": "W_dec", "E": "W_enc", "b": "b_dec"}.get(name, name): name for name in header.tensors}
    tensors = read(source, header, WEIGHTS_FILE, names, device=device)
    tensors["b_dec"] = tensors["b_dec"].reshape(-1)
    return build(about, tensors, where=header.where, device=device, dtype=dtype)


def _read(source: Source) -> tuple[_File, dict[str, Any]]:
    data = read_yaml(source, CONFIG_FILE)
    file = checked(_File, data, f"{source.label}/{CONFIG_FILE}")
    if not 1 <= file.d_sae <= 2**24 or file.d_sae % (file.sae.n_heads * file.sae.bottleneck_factor):
        raise FormatError(
            f"{file.d_sae:,} latents cannot be split into {file.sae.n_heads} heads of a bottleneck of "
            f"{file.sae.bottleneck_factor}.", where=f"{source.label}/{CONFIG_FILE}: sae",
        )
    return file, data


def _check(header: Header, file: _File) -> None:
    d_in, d_sae, narrow = file.llm.dimin, file.d_sae, file.d_sae // file.sae.bottleneck_factor
    row = header.tensors.get("b")
    expected: dict[str, tuple[int, ...]] = {
        "D": (d_sae, d_in), "b": (1, d_in) if row is not None and len(row.shape) == 2 else (d_in,)
    }
    if not file.sae.tied_weights:
        expected["E"] = (d_in, d_sae)
    for i in range(file.sae.n_attn_layers):
        for name, width in (("k_ctx", narrow), ("q_target", narrow), ("v_ctx", d_sae), ("c_proj", d_sae)):
            expected[f"attn_layers.{i}.{name}.weight"] = (width, d_sae)
            expected[f"attn_layers.{i}.{name}.bias"] = (width,)
    header.require(expected, source=CONFIG_FILE)


FORMAT = Format("temporal", "Temporal SAEs", matches, describe, load, config_file=CONFIG_FILE)
