"""The header of a safetensors file, checked before anything is allocated.

A file is: 8 bytes little-endian length n, n bytes of JSON ``{name: {dtype, shape, data_offsets}}``, then the data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from saewidgets.errors import FormatError

MAX_HEADER = 1 << 20
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor as the header declares it."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, TensorInfo]:
    """Name → declared dtype and shape. Raises `FormatError` unless header and file size agree exactly."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > size - 8:
            raise FormatError(
                f"This is not a safetensors file, or it was cut off ({size:,} bytes).", where=str(path),
                hint="Download or export it again; pickled weights (.pt, .bin) are not read.",
            )
        if length > MAX_HEADER:
            raise FormatError(f"The header claims {length:,} bytes; at most {MAX_HEADER:,} are read.", where=str(path))
        raw = file.read(length)
    try:
        entries = json.loads(raw, object_pairs_hook=_unique)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise FormatError(
            f"The header is not JSON ({error}).", where=str(path), hint="Export the file again."
        ) from error
    if not isinstance(entries, dict):
        raise FormatError("The header is not a JSON object.", where=str(path), hint="Export the file again.")
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError(
            "The header's metadata is not a table of texts.", where=str(path), hint="Export the file again."
        )
    infos = {name: _entry(path, name, entry, size - 8 - length) for name, entry in entries.items()}
    spans = sorted(tuple(entry["data_offsets"]) for entry in entries.values())
    edges = [0, *(end for _, end in spans)]
    if [begin for begin, _ in spans] != edges[:-1] or edges[-1] != size - 8 - length:
        raise FormatError(
            f"The tensors do not fill the file: they end at byte {edges[-1]:,} of {size - 8 - length:,}.",
            where=str(path), hint="The file was cut off or altered; download or export it again.",
        )
    return infos


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys are different; two readers could take different ones of a repeated key."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found


def _entry(path: Path, name: str, entry: Any, available: int) -> TensorInfo:
    where = f"{path}: {name}"
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise FormatError("The header entry is incomplete.", where=where, hint="Export the file again.") from error
    if not isinstance(dtype, str) or dtype not in _BYTES:
        raise FormatError(f"The dtype is {dtype!r}, expected one of {', '.join(_BYTES)}.", where=where)
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in [*shape, begin, end]):
        raise FormatError("Shape and offsets must be whole numbers.", where=where)
    if end - begin != math.prod(shape) * _BYTES[dtype] or end > available:
        raise FormatError(
            f"Shape {shape} of {dtype} needs {math.prod(shape) * _BYTES[dtype]:,} bytes, not {end - begin:,}.",
            where=where, hint="The file was cut off or altered; download or export it again.",
        )
    return TensorInfo(dtype, tuple(shape))


def require(path: Path, found: Mapping[str, TensorInfo], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `FormatError` unless exactly the `expected` tensors are there, in the expected shapes."""
    for name, shape in expected.items():
        if name not in found:
            raise FormatError(
                f"The tensor is missing; the file has {', '.join(sorted(found)) or 'none'}.", where=f"{path}: {name}",
                hint="Check the architecture in cfg.json.",
            )
        if found[name].shape != shape:
            raise FormatError(
                f"The shape is {list(found[name].shape)}, expected {list(shape)} from cfg.json.",
                where=f"{path}: {name}",
                hint="Configuration and weights belong to different SAEs, or one of them was altered.",
            )
    extra = sorted(set(found) - set(expected))
    if extra:
        raise FormatError(
            f"There are unexpected tensors: {', '.join(extra)}.", where=str(path),
            hint="Check the architecture in cfg.json.",
        )
