"""Reads what the arrays of NumPy's ``.npz`` are, by ranged reads; `read_tensors` reads them. Never an object array."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from saewidgets.errors import FormatError
from saewidgets.formats.header import Header, TensorInfo
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.zips import ZipSource

_MAX_HEADER = 4096
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DTYPES = {
    "<f8": "F64", "<f4": "F32", "<f2": "F16", "<i8": "I64", "<i4": "I32", "<i2": "I16", "|i1": "I8", "|u1": "U8",
    "|b1": "BOOL",
}
_DAMAGED = "The file was cut off or altered; download or export it again."


def read_npz_header(source: Source | Path, name: str = "", arrays: Iterable[str] | None = None) -> Header:
    """What the arrays of the archive `name` are, in one read for the archive's directory and one per array.

    Args:
        source: the folder; or the path of the file itself.
        arrays: which ones, without ``.npy``; None means all. Names that are not there are left out.

    Raises:
        FormatError: not an archive of plain numeric arrays, or a declared shape contradicts the size of its data.
    """
    if isinstance(source, Path):
        name = source.name
        source = FolderSource(source)
    archive = ZipSource(source, name)
    members = [each.removesuffix(".npy") for each in archive.members if each.endswith(".npy")]
    wanted = set(members if arrays is None else arrays)
    return Header(archive.where, {array: _array(archive, array) for array in members if array in wanted})


def _array(archive: ZipSource, name: str) -> TensorInfo:
    where, member = f"{archive.where}: {name}", archive.members[f"{name}.npy"]
    raw = io.BytesIO(archive.head(member, _MAX_HEADER))
    try:
        version = np.lib.format.read_magic(raw)
        shape, fortran, dtype = _READERS[version](raw, max_header_size=_MAX_HEADER)
    except (ValueError, TypeError, KeyError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError) as error:
        raise FormatError("This is not a NumPy array.", where=where, hint=_DAMAGED) from error
    if dtype.str not in _DTYPES:
        raise FormatError(
            f"The dtype is {dtype.str[:40]!r}, expected one of {', '.join(_DTYPES)}.", where=where,
            hint="Object arrays are pickles and are never read.",
        )
    if len(shape) > 8 or not all(0 <= n < 1 << 48 for n in shape):
        raise FormatError("The array's shape cannot be.", where=where, hint=_DAMAGED)
    start = archive.data_start(member)
    info = TensorInfo(_DTYPES[dtype.str], shape, start + raw.tell(), fortran and len(shape) > 1, (member, start))
    if info.nbytes != member.file_size - raw.tell():
        raise FormatError(
            f"Shape {list(shape)} of {dtype.str} needs {info.nbytes:,} bytes, not {member.file_size - raw.tell():,}.",
            where=where, hint=_DAMAGED,
        )
    return info
