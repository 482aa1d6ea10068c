"""Kissane and Krzyzanowski's attention SAEs: ``gpt2-small_L5_Hcat_z_….pt``, one SAE per pickled file.

    f = relu((z − b_dec) @ W_enc + b_enc)          ẑ = f @ W_dec + b_dec

on the outputs z of all heads side by side (`hook_z`), matrices in SAELens' orientation. ``…_cfg.json`` beside a file
(same name) says widths and hook point; without it the name of the file says layer and site (Kissane et al. 2024,
arXiv:2406.17759).
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from pydantic import Field

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description, Format
from saewidgets.formats.foreign import Settings, Width, beside, build, dtype_name, only, read, total
from saewidgets.formats.header import Header
from saewidgets.formats.jsonfile import checked, read_json
from saewidgets.formats.pickled import read_pickled
from saewidgets.formats.source import FolderSource, Source
from saewidgets.sae import SAE

_FILE = re.compile(r"([A-Za-z0-9\-]{1,60})_L([0-9]{1,4})_Hcat_z_[\w.+\-]{1,200}\.pt")
_NAMES = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
_MODELS = {"gpt2-small": "gpt2"}


class _Config(Settings):
    act_size: Width
    dict_size: Width
    act_name: str | None = Field(default=None, pattern=r"^blocks\.[0-9]{1,4}\.attn\.hook_z$")


def matches(source: Source) -> bool:
    """By the name of a file."""
    return any(_FILE.fullmatch(name) for name in source.files())


def describe(source: Source) -> Description:
    """What the name and the configuration beside the file say, and on this machine its tensors."""
    file = only(source, _FILE, "…_L…_Hcat_z_….pt")
    match = _FILE.fullmatch(file)
    if match is None:
        raise FormatError(
            "The file's name does not say which layer.", where=f"{source.label}/{file}",
            hint="Call it as on the hub, gpt2-small_L5_Hcat_z_….pt.",
        )
    hook_name: str = f"blocks.{int(match[2])}.attn.hook_z"
    widths: tuple[int | None, int | None] = (None, None)
    dtype, data = None, None
    [config_file] = _beside(file)
    around = beside(source)
    if around is not None and config_file in around.files():
        data = read_json(around, config_file)
    if isinstance(source, FolderSource):
        header = read_pickled(source, file).header()
        widths, dtype = _widths(header), dtype_name(header, "W_enc")
    if data is not None:
        config = checked(_Config, data, f"{source.label}/{config_file}")
        widths = (config.act_size, config.dict_size) if widths == (None, None) else widths
        if (config.act_size, config.dict_size) != widths:
            raise FormatError(
                f"It says {config.act_size:,} → {config.dict_size:,}, but the weights are {widths[0]:,} → "
                f"{widths[1]:,}.", where=f"{source.label}/{config_file}: act_size, dict_size",
                hint="Configuration and weights belong to different SAEs, or one of them was altered.",
            )
        hook_name = config.act_name or hook_name
    return Description(
        format=FORMAT.name, architecture="standard", d_in=widths[0], d_sae=widths[1], d_out=widths[0], dtype=dtype,
        files=(file,), size_bytes=total(source, [file]), model=_MODELS.get(match[1], match[1]), hook_name=hook_name,
        settings={"apply_b_dec_to_input": True, "reshape_activations": "hook_z"}, config=data or {},
    )


def _beside(file: str) -> tuple[str, ...]:
    return (file.removesuffix(".pt") + "_cfg.json",)


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in the file `folder`, frozen."""
    source = FolderSource(folder)
    about = describe(source)
    found = read_pickled(source, about.files[0])
    tensors = read(source, found.header(), about.files[0], _NAMES, device=device)
    return build(about, tensors, where=found.where, device=device, dtype=dtype)


def _widths(header: Header) -> tuple[int, int]:
    d_in, d_sae = header.shape("W_enc", 2)
    header.require(
        {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)},
        source="the other tensors",
    )
    return d_in, d_sae


FORMAT = Format(
    "connor_rob", "Attention SAEs (connor_rob)", matches, describe, load, single_file=True, beside=_beside
)  # fmt: skip
