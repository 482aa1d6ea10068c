"""GhostTrack: JumpReLU SAEs in pickled checkpoints ``sae_layer_{L}_best.pt`` and ``…_final.pt``, one SAE each.

    f = p where p = x @ W_enc.weightᵀ + W_enc.bias > θ, else 0          x̂ = f @ W_dec.weightᵀ + W_dec.bias

with one θ for all latents, which never gets a gradient and so is what training began with. The model is in no file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description, Format
from saewidgets.formats.foreign import build, dtype_name, only, read, renamed, total
from saewidgets.formats.header import Header
from saewidgets.formats.pickled import Pickled, read_pickled
from saewidgets.formats.source import FolderSource, Source
from saewidgets.sae import SAE

_FILE = re.compile(r"sae_layer_(\d{1,4})_(?:best|final)\.pt")
_STATE = "model_state_dict"
_NAMES = {"W_enc": "W_enc.weight", "b_enc": "W_enc.bias", "W_dec": "W_dec.weight", "b_dec": "W_dec.bias"}
_NOTE = "GhostTrack's files do not say which model the SAE belongs to."


def matches(source: Source) -> bool:
    """By the name of a file; one file on this machine may be called otherwise."""
    return any(_FILE.fullmatch(name) for name in source.files()) or renamed(source, {_STATE, "layer_idx"})


def describe(source: Source) -> Description:
    """What the name says, and for a file on this machine what the file says."""
    file = only(source, _FILE, "sae_layer_….pt")
    match = _FILE.fullmatch(file)
    layer = int(match[1]) if match else None
    widths: tuple[int | None, int | None] = (None, None)
    dtype, config = None, {}
    if isinstance(source, FolderSource):
        found = read_pickled(source, file)
        header = found.within(_STATE).header()
        widths, dtype = _widths(header), dtype_name(header, "W_enc.weight")
        config = _config(found)
        layer = config.get("layer_idx", layer)
    return Description(
        format=FORMAT.name, architecture="jumprelu", d_in=widths[1], d_sae=widths[0], d_out=widths[1], dtype=dtype,
        files=(file,), size_bytes=total(source, [file]),
        hook_name=None if layer is None else f"blocks.{layer}.hook_resid_post",
        settings={"apply_b_dec_to_input": False}, config=config, notes=(_NOTE,),
    )


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in the file `folder`, frozen."""
    source = FolderSource(folder)
    description = describe(source)
    file = description.files[0]
    state = read_pickled(source, file).within(_STATE)
    threshold = float(read(source, state.header(), file, {"threshold": "threshold"}, device=torch.device("cpu"))["threshold"])
    if threshold < 0:
        raise FormatError(
            f"The threshold is {threshold:.4g}: latents would be negative, which a JumpReLU cannot express.",
            where=f"{state.where}: {_STATE}.threshold",
        )
    tensors = read(source, state.header(), file, _NAMES, device=device, transposed=("W_enc", "W_dec"))
    tensors["threshold"] = torch.full_like(tensors["b_enc"], threshold)
    return build(description, tensors, where=state.where, device=device, dtype=dtype)


def _widths(header: Header) -> tuple[int, int]:
    d_sae, d_in = header.shape("W_enc.weight", 2)
    header.require(
        {
            "W_enc.weight": (d_sae, d_in), "W_enc.bias": (d_sae,), "W_dec.weight": (d_in, d_sae), "W_dec.bias": (d_in,),
            "threshold": (),
        },
        source="the other tensors",
    )
    return d_sae, d_in


def _config(found: Pickled) -> dict[str, Any]:
    """What the checkpoint says of its training, without optimiser, schedule and history."""
    data = found.plain()
    config: dict[str, Any] = {key: data[key] for key in ("layer_idx", "epoch", "best_loss", "config") if key in data}
    if "layer_idx" in config and type(config["layer_idx"]) is not int:
        raise FormatError(
            f"The layer is {str(config['layer_idx'])[:40]!r}, expected a number.", where=f"{found.where}: layer_idx"
        )
    return config


FORMAT = Format("ghosttrack", "GhostTrack", matches, describe, load, single_file=True)
