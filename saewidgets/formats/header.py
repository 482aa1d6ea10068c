"""The header of a safetensors file, checked before anything is allocated.

A file is: 8 bytes little-endian length n, n bytes of JSON ``{name: {dtype, shape, data_offsets}}``, then the data.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipInfo

import torch

from saewidgets.errors import FormatError
from saewidgets.formats.configuration import parse_json
from saewidgets.formats.source import FolderSource, Source, listed, size_of

MAX_HEADER = 1 << 18
MAX_TENSORS = 1_000
FIRST_READ = 1 << 16  # most headers are a few hundred bytes: one read gets length and header
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPES = {
    **FLOATS, "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}
_ALTERED = "Configuration and weights belong to different SAEs, or one of them was altered."


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor as its file declares it.

    Attributes:
        start: the byte at which its data begin.
        turned: its first index is the one that runs fastest in the file: the bytes are those of the transpose.
        member: of an archive, the member that it is in or a part of, and where that begins.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int = 0
    turned: bool = False
    member: tuple[ZipInfo, int] | None = None

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.torch_dtype.itemsize


@dataclass(frozen=True, slots=True)
class Header:
    """What a file of tensors declares; every claim was checked against the size of the file.

    Attributes:
        where: what errors call the file.
        tensors: by name.
        metadata: the file's own texts (safetensors' ``__metadata__``).
    """

    where: str
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def require(
        self, expected: Mapping[str, tuple[int, ...]], *, source: str = "cfg.json", extra: bool = False
    ) -> None:
        """Raise `FormatError` unless the `expected` tensors are there, as floats in the expected shapes.

        `source` is where the shapes come from; with `extra`, tensors that were not expected are allowed.
        """
        for name, shape in expected.items():
            found = self.tensors.get(name)
            if found is None:
                raise FormatError(
                    f"The tensor is missing; the file has {_listed(self.tensors)}.", where=f"{self.where}: {name}",
                    hint=f"Check the architecture in {source}.",
                )
            if found.shape != tuple(shape):
                raise FormatError(
                    f"The shape is {list(found.shape)}, expected {list(shape)} from {source}.",
                    where=f"{self.where}: {name}", hint=_ALTERED,
                )
            if found.dtype not in FLOATS:
                raise FormatError(
                    f"The dtype is {found.dtype!r}, expected one of {', '.join(FLOATS)}.", where=f"{self.where}: {name}"
                )
        surplus = sorted(set(self.tensors) - set(expected))
        if surplus and not extra:
            raise FormatError(
                f"There are unexpected tensors: {_listed(surplus)}.", where=self.where,
                hint=f"Check the architecture in {source}.",
            )

    def shape(self, name: str, dims: int) -> tuple[int, ...]:
        """The shape of `name`. Raises `FormatError` unless it is there with `dims` dimensions, none of them empty."""
        found = self.tensors.get(name)
        where = f"{self.where}: {name}"
        if found is None:
            raise FormatError(f"The tensor is missing; the file has {_listed(self.tensors)}.", where=where)
        if len(found.shape) != dims or 0 in found.shape:
            raise FormatError(f"The shape is {list(found.shape)}, expected {dims} dimensions.", where=where)
        return found.shape


def read_header(source: Source | Path, name: str = "") -> Header:
    """The header of the safetensors file `name`, in at most two reads. Header and file size agree exactly.

    Args:
        source: the folder; or the path of the file itself.

    Raises:
        FormatError: the file is missing, cut off, too long, or its claims contradict each other or its size.
    """
    if isinstance(source, Path):
        name = source.name
        source = FolderSource(source)
    where = f"{source.label}/{name}"
    size = size_of(source, name)
    raw = source.read(name, 0, FIRST_READ)
    length = int.from_bytes(raw[:8], "little")
    if len(raw) < 8 or length > size - 8:
        raise FormatError(
            f"This is not a safetensors file, or it was cut off ({size:,} bytes).", where=where,
            hint="Download or export it again.",
        )
    if length > MAX_HEADER:
        raise FormatError(f"The header claims {length:,} bytes; at most {MAX_HEADER:,} are read.", where=where)
    if len(raw) < 8 + length:
        raw += source.read(name, len(raw), 8 + length - len(raw))
    return parse_header(raw[8 : 8 + length], size, where)


def parse_header(raw: bytes, size: int, where: str) -> Header:
    """The header `raw` (its JSON alone) of a file of `size` bytes."""
    entries = parse_json(raw, where)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError("The header's metadata is not a table of texts.", where=where, hint="Export the file again.")
    if len(entries) > MAX_TENSORS:
        raise FormatError(f"The header names {len(entries):,} tensors; at most {MAX_TENSORS:,} are read.", where=where)
    begin, available = 8 + len(raw), size - 8 - len(raw)
    infos = {name: _entry(where, name, entry, begin, available) for name, entry in entries.items()}
    spans = sorted(tuple(entry["data_offsets"]) for entry in entries.values())
    edges = [0, *(end for _, end in spans)]
    if [start for start, _ in spans] != edges[:-1] or edges[-1] != available:
        raise FormatError(
            f"The tensors do not fill the file: they end at byte {edges[-1]:,} of {available:,}.", where=where,
            hint="The file was cut off or altered; download or export it again.",
        )
    return Header(where, infos, metadata)


def _entry(file: str, name: str, entry: Any, begin: int, available: int) -> TensorInfo:
    where = f"{file}: {name[:100]}"
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise FormatError("The header entry is incomplete.", where=where, hint="Export the file again.") from error
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise FormatError(f"The dtype is {str(dtype)[:40]!r}, expected one of {', '.join(DTYPES)}.", where=where)
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 1 << 48 for n in [*shape, start, end]):
        raise FormatError("Shape and offsets must be whole numbers.", where=where)
    if len(shape) > 8:
        raise FormatError(f"The tensor has {len(shape)} dimensions; at most 8 are read.", where=where)
    info = TensorInfo(dtype, tuple(shape), begin + start)
    if end - start == info.nbytes and end > available:
        raise FormatError(
            f"The tensor ends at byte {end:,}, but only {available:,} are there.", where=where,
            hint="The file was cut off; download or export it again.",
        )
    if end - start != info.nbytes:
        raise FormatError(
            f"Shape {shape} of {dtype} needs {info.nbytes:,} bytes, not {end - start:,}.", where=where,
            hint="The file was cut off or altered; download or export it again.",
        )
    return info


def _listed(names: Any) -> str:
    return listed([str(name)[:60] for name in sorted(names)], 20) or "none"
