"""Qwen Scope: TopK SAEs of Qwen 3 in pickled files ``layer{L}.sae.pt``, one SAE each, without a configuration.

    f = the k largest of relu(x @ W_encᵀ + b_enc)          x̂ = f @ W_decᵀ + b_dec

Matrices are stored [d_sae, d_in] and [d_in, d_sae]. k, the model and the width are only in the repository's name,
``Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description, Format
from saewidgets.formats.foreign import build, dtype_name, only, read, total
from saewidgets.formats.header import Header
from saewidgets.formats.pickled import read_pickled
from saewidgets.formats.source import FolderSource, Source
from saewidgets.sae import SAE

_FILE = re.compile(r"layer(\d{1,4})\.sae\.pt")
_REPO = re.compile(r"SAE-Res-([\w.\-]{1,80}?)-W(\d{1,5})K-L0_(\d{1,6})")


@dataclass(frozen=True, slots=True)
class _Name:
    model: str | None
    d_sae: int | None
    k: int | None
    layer: int


def matches(source: Source) -> bool:
    """By the name of a file."""
    return any(_FILE.fullmatch(name) for name in source.files())


def describe(source: Source) -> Description:
    """What the names of file and repository say, and for a file on this machine what its tensors say."""
    file, name = _name(source)
    notes = []
    if name.k is None:
        notes.append(
            "How many latents are active is only in the repository's name (…-W32K-L0_50), which is not known here: the "
            "SAE cannot be loaded from here."
        )
    d_in, d_sae, dtype = None, name.d_sae, None
    if isinstance(source, FolderSource):
        header = _checked(read_pickled(source, file).header(), name)
        (d_sae, d_in), dtype = header.shape("W_enc", 2), dtype_name(header, "W_enc")
    return Description(
        format=FORMAT.name, architecture="topk", d_in=d_in, d_sae=d_sae, d_out=d_in, dtype=dtype, files=(file,),
        size_bytes=total(source, [file]), model=name.model, hook_name=f"blocks.{name.layer}.hook_resid_post",
        settings={"apply_b_dec_to_input": False} | ({"k": name.k} if name.k else {}), notes=tuple(notes),
    )


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in the file `folder`, frozen."""
    source = FolderSource(folder)
    file, name = _name(source)
    if name.k is None:
        raise FormatError(
            "How many latents are active is only in the repository's name, which is not known here.",
            where=f"{source.label}/{file}",
            hint="Keep the file in a folder called as its repository, SAE-Res-…-W…K-L0_….",
        )
    description = describe(source)
    found = read_pickled(source, file)
    names = {key: key for key in ("W_enc", "b_enc", "W_dec", "b_dec")}
    tensors = read(source, found.header(), file, names, device=device, transposed=("W_enc", "W_dec"))
    facts = {"hf_hook_name": f"model.layers.{name.layer}"}
    return build(description, tensors, where=found.where, device=device, dtype=dtype, metadata=facts)


def _checked(header: Header, name: _Name) -> Header:
    d_sae, d_in = header.shape("W_enc", 2)
    if name.d_sae not in (None, d_sae):
        raise FormatError(
            f"There are {d_sae:,} latents, but the repository's name says {name.d_sae:,}.",
            where=f"{header.where}: W_enc", hint="The file was altered or lies in another repository's folder.",
        )
    header.require(
        {"W_enc": (d_sae, d_in), "b_enc": (d_sae,), "W_dec": (d_in, d_sae), "b_dec": (d_in,)},
        source="the other tensors",
    )
    return header


def _name(source: Source) -> tuple[str, _Name]:
    file = only(source, _FILE, "layer….sae.pt")
    match = _FILE.fullmatch(file)
    if match is None:
        raise FormatError("The file's name does not say which layer.", where=f"{source.label}/{file}",
                          hint="Call it layer….sae.pt, as on the hub.")
    layer = int(match[1])
    repo = re.findall(_REPO, source.label)
    if not repo:
        return file, _Name(None, None, None, layer)
    model, width, k = repo[-1]
    return file, _Name(f"Qwen/{model}", int(width) * 1024, int(k) or None, layer)


FORMAT = Format("qwen_scope", "Qwen Scope", matches, describe, load, single_file=True)
