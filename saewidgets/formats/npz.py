"""NumPy's ``.npz``: the arrays an archive declares, from ranged reads, and loading them. Never an object array."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats.header import Header, TensorInfo
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.tensors import read_tensor
from saewidgets.formats.zips import Member, ZipSource

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 4096
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
        FormatError: it is no archive of plain numeric arrays, or a declared shape contradicts the size of its data.
    """
    if isinstance(source, Path):
        name = source.name
        source = FolderSource(source)
    archive = ZipSource(source, name)
    wanted = None if arrays is None else set(arrays)
    infos = {}
    for array, member in _arrays(archive).items():
        if wanted is None or array in wanted:
            infos[array], *_ = _array(archive, array, member)
    return Header(archive.where, infos)


def read_npz(
    path: Path, names: Iterable[str] | None = None, *, device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """The arrays of `path` as tensors, each in its own memory; floats become `dtype`.

    Raises:
        FormatError: as `read_npz_header`; or a value is NaN or infinite.
    """
    archive = ZipSource(FolderSource(path), path.name)
    members = _arrays(archive)
    found = {}
    with path.open("rb", buffering=0) as file:
        for name in members if names is None else names:
            where = f"{archive.where}: {name}"
            if name not in members:
                listed = ", ".join(sorted(members))[:400]
                raise FormatError(f"The array is missing; the file has {listed}.", where=where)
            info, offset, turned = _array(archive, name, members[name])
            fill = archive.filler(file, members[name])
            fill(memoryview(bytearray(offset)))
            if turned:
                info = replace(info, shape=info.shape[::-1])
            tensor = read_tensor(info, fill, where, dtype)
            if turned:
                tensor = tensor.permute(*reversed(range(tensor.ndim))).contiguous()
            found[name] = tensor if device is None else tensor.to(device)
    return found


def _arrays(archive: ZipSource) -> dict[str, Member]:
    return {name.removesuffix(".npy"): member for name, member in archive.members.items() if name.endswith(".npy")}


def _array(archive: ZipSource, name: str, member: Member) -> tuple[TensorInfo, int, bool]:
    """The array `member` declares, the length of its own header, and whether its first index is the one that runs."""
    where = f"{archive.where}: {name}"
    raw = archive.head(member, _MAX_HEADER)
    if not raw.startswith(_MAGIC) or len(raw) < 12 or raw[6] not in (1, 2, 3):
        raise FormatError("This is not a NumPy array.", where=where, hint=_DAMAGED)
    size = 2 if raw[6] == 1 else 4
    begin = 8 + size
    offset = begin + int.from_bytes(raw[8:begin], "little")
    if offset > min(len(raw), _MAX_HEADER):
        raise FormatError(f"The header claims {offset:,} bytes; at most {_MAX_HEADER:,} are read.", where=where)
    descr, order, shape = _declared(raw[begin:offset], where)
    if descr not in _DTYPES:
        raise FormatError(
            f"The dtype is {descr[:40]!r}, expected one of {', '.join(_DTYPES)}.", where=where,
            hint="Object arrays are pickles and are never read.",
        )
    info = TensorInfo(_DTYPES[descr], shape, archive.data_start(member) + offset)
    if info.nbytes != member.size - offset:
        raise FormatError(
            f"Shape {list(shape)} of {descr} needs {info.nbytes:,} bytes, not {member.size - offset:,}.", where=where,
            hint=_DAMAGED,
        )
    return info, offset, order


def _declared(raw: bytes, where: str) -> tuple[str, bool, tuple[int, ...]]:
    """dtype, Fortran order and shape from the header's Python literal."""
    problem = FormatError("The array's header is not what NumPy writes.", where=where, hint=_DAMAGED)
    if re.search(rb"[(\[{]{9}", raw):
        raise problem
    try:
        found = ast.literal_eval(raw.decode("latin1").strip())
        descr, order, shape = found["descr"], found["fortran_order"], found["shape"]
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise problem from error
    whole = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 1 << 48 for n in shape) and len(shape) <= 8
    if not isinstance(order, bool) or not whole:
        raise problem
    return (descr if isinstance(descr, str) else str(descr)), order, shape
