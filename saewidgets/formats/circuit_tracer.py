"""Transcoders as circuit-tracer reads them, one layer per file: ``layer_{L}.safetensors`` (mwhanna's and mntss').

    f = relu(x @ W_encᵀ + b_enc)          ŷ = f @ W_dec + b_dec [+ x @ W_skipᵀ]

W_enc is [d_sae, d_in]. W_dec is [d_sae, d_out] today and was the other way in the first files; where both widths are
the same, nothing tells which. ``config.yaml`` beside the files says model and hook points. Without it the name of the
repository says the model of mwhanna's, which read what goes into the MLP.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description, Format
from saewidgets.formats.foreign import Settings, beside, build, dtype_name, only, read, total
from saewidgets.formats.header import Header, read_header
from saewidgets.formats.jsonfile import checked
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.yamlfile import read_yaml
from saewidgets.sae import SAE

CONFIG_FILE = "config.yaml"
_FILE = re.compile(r"layer_([0-9]{1,4})\.safetensors")
_QWEN = re.compile(r"mwhanna[/+\-]+qwen3-([0-9]{1,3}(?:\.[0-9])?)b-transcoders")
_HOOK = r"^[a-zA-Z_][\w.]{0,60}$"
_NOTE = "Model and hook points are in config.yaml of the repository, which is not here."


class _Config(Settings):
    model_name: str | None = Field(default=None, max_length=200)
    feature_input_hook: str | None = Field(default=None, pattern=_HOOK)
    feature_output_hook: str | None = Field(default=None, pattern=_HOOK)


def matches(source: Source) -> bool:
    """By the name of a file."""
    return any(_FILE.fullmatch(name) for name in source.files())


def describe(source: Source) -> Description:
    """What header, names and the configuration beside the file say."""
    file, layer = _file(source)
    header = read_header(source, file)
    d_in, d_sae, d_out, _ = _widths(header)
    config, data = _config(source)
    hook = config.feature_input_hook
    return Description(
        format=FORMAT.name, architecture="skip_transcoder" if "W_skip" in header.tensors else "transcoder", d_in=d_in,
        d_sae=d_sae, d_out=d_out, dtype=dtype_name(header, "W_enc"), files=(file,), size_bytes=total(source, [file]),
        model=config.model_name, hook_name=f"blocks.{layer}.{hook}" if hook else None,
        settings={"apply_b_dec_to_input": False}, config=data, notes=() if hook else (_NOTE,),
    )


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The transcoder in the file `folder`, frozen."""
    source = FolderSource(folder)
    about = describe(source)
    file, layer = _file(source)
    header = read_header(source, file)
    names = {name: name for name in header.tensors}
    matrices = ("W_enc", "W_dec") if _widths(header)[3] else ("W_enc",)
    tensors = read(source, header, file, names, device=device, transposed=matrices)
    config, _ = _config(source)
    # LayerNorm's weights must not be moved into the model's matrices: the transcoder was trained on what comes then.
    metadata: dict[str, Any] = {"model_from_pretrained_kwargs": {"fold_ln": False}}
    if config.feature_output_hook:
        metadata["hook_name_out"] = f"blocks.{layer}.{config.feature_output_hook}"
    return build(about, tensors, where=header.where, device=device, dtype=dtype, metadata=metadata)


def _file(source: Source) -> tuple[str, int]:
    file = only(source, _FILE, "layer_….safetensors")
    match = _FILE.fullmatch(file)
    if match is None:
        raise FormatError(
            "The file's name does not say which layer.", where=f"{source.label}/{file}",
            hint="Call it layer_….safetensors, as on the hub.",
        )
    return file, int(match[1])


def _widths(header: Header) -> tuple[int, int, int, bool]:
    """d_in, d_sae, d_out, and whether W_dec lies [d_out, d_sae]."""
    d_sae, d_in = header.shape("W_enc", 2)
    (d_out,) = header.shape("b_dec", 1)
    turned = header.shape("W_dec", 2) == (d_out, d_sae)
    if turned and d_out == d_sae:
        raise FormatError(
            f"W_dec is {d_out:,} by {d_sae:,}: which of both are the latents differs between versions of this format.",
            where=f"{header.where}: W_dec",
        )
    expected: dict[str, tuple[int, ...]] = {
        "W_enc": (d_sae, d_in), "b_enc": (d_sae,), "W_dec": (d_out, d_sae) if turned else (d_sae, d_out),
        "b_dec": (d_out,),
    }
    if "W_skip" in header.tensors:
        expected["W_skip"] = (d_out, d_in)
    header.require(expected, source="the other tensors")
    return d_in, d_sae, d_out, turned


def _config(source: Source) -> tuple[_Config, dict[str, Any]]:
    around = beside(source)
    data: dict[str, Any] = {}
    if around is not None and CONFIG_FILE in around.files():
        data = read_yaml(around, CONFIG_FILE)
    known = {key: data.get(key) for key in _Config.model_fields}
    config = checked(_Config, known, f"{source.label}/{CONFIG_FILE}")
    if not data and (qwen := _QWEN.search(source.label.replace("--", "/"))):
        config = _Config(
            model_name=f"Qwen/Qwen3-{qwen[1]}B", feature_input_hook="mlp.hook_in", feature_output_hook="hook_mlp_out"
        )
    return config, {key: value for key, value in known.items() if value is not None}


FORMAT = Format(
    "circuit_tracer", "circuit-tracer transcoders", matches, describe, load, single_file=True,
    beside=lambda _: (CONFIG_FILE,),
)  # fmt: skip
