"""Defines `Header`, what a file of tensors declares, `read_header` for safetensors, and `read_tensors`, which reads
what a header declares.

A safetensors file is: 8 bytes little-endian length n, n bytes of JSON ``{name: {dtype, shape, data_offsets}}``, then
the data. Nothing is memory-mapped: a mapped file that somebody truncates later would end the kernel. Reading block by
block costs what reading the bytes costs, since every block is checked for NaN while it is in the processor's cache.
"""

import json
import math
import mmap
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from saewidgets.errors import FormatError, SAEWidgetsError
from saewidgets.formats.source import FolderSource, Source, checked, listed, parse_json, size_of
from saewidgets.settings import machine_memory

MAX_HEADER = 1 << 18
MAX_TENSORS = 1_000
FIRST_READ = 1 << 16  # most headers are a few hundred bytes: one read gets length and header
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPES = {
    **FLOATS, "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}
CHECKSUMS = "crc32"  # of the tensors, in the metadata of a safetensors file that was written here
DAMAGED = "The file was cut off or altered; download or export it again."


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
    member: tuple[zipfile.ZipInfo, int] | None = None

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.torch_dtype.itemsize


@dataclass(frozen=True, slots=True)
class Header:
    """What the file `where` declares, every claim checked against its size; `metadata` are its own texts."""

    where: str
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)

    def require(self, expected: Mapping[str, tuple[int, ...]], *, source: str = "cfg.json") -> None:
        """Raise `FormatError` unless exactly these tensors are there, as floats in the shapes that `source` says."""
        check = f"Check {source}."
        for name, shape in expected.items():
            found, where = self._tensor(name, check), f"{self.where}: {name}"
            if found.shape != tuple(shape):
                raise FormatError(
                    f"The shape is {list(found.shape)}, expected {list(shape)} from {source}.", where=where,
                    hint="Configuration and weights belong to different SAEs, or one of them was altered.",
                )
            if found.dtype not in FLOATS:
                raise FormatError(f"The dtype is {found.dtype!r}, expected one of {', '.join(FLOATS)}.", where=where)
        if surplus := set(self.tensors) - set(expected):
            raise FormatError(f"There are unexpected tensors: {_names(surplus)}.", where=self.where, hint=check)

    def shape(self, name: str, dims: int) -> tuple[int, ...]:
        """The shape of `name`. Raises `FormatError` unless it is there with `dims` dimensions, none of them empty."""
        found = self._tensor(name)
        if len(found.shape) != dims or 0 in found.shape:
            raise FormatError(
                f"The shape is {list(found.shape)}, expected {dims} dimensions.", where=f"{self.where}: {name}"
            )
        return found.shape

    def _tensor(self, name: str, hint: str | None = None) -> TensorInfo:
        if name not in self.tensors:
            what = f"The tensor is missing; the file has {_names(self.tensors)}."
            raise FormatError(what, where=f"{self.where}: {name}", hint=hint)
        return self.tensors[name]


def _names(names: Collection[str]) -> str:
    return listed([name[:60] for name in sorted(names)], 20) or "none"


class _Entry(BaseModel):
    dtype: Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
    shape: Annotated[list[Annotated[int, Field(ge=0, lt=1 << 48)]], Field(max_length=8)]
    data_offsets: Annotated[list[Annotated[int, Field(ge=0, lt=1 << 48)]], Field(min_length=2, max_length=2)]


def read_header(source: Source | Path, name: str = "") -> Header:
    """The header of the safetensors file `name` of a source, or of the one at a path, in at most two reads.

    Raises:
        FormatError: the file is missing, cut off, too long, or its claims contradict each other or its size.
    """
    if isinstance(source, Path):
        name, source = source.name, FolderSource(source)
    where, size, raw = f"{source.label}/{name}", size_of(source, name), source.read(name, 0, FIRST_READ)
    length = int.from_bytes(raw[:8], "little")
    begin, available = 8 + length, size - 8 - length
    if len(raw) < 8 or available < 0:
        what = f"This is not a safetensors file, or it was cut off ({size:,} bytes)."
        raise FormatError(what, where=where, hint="Download or export it again.")
    if length > MAX_HEADER:
        raise FormatError(f"The header claims {length:,} bytes; at most {MAX_HEADER:,} are read.", where=where)
    raw += source.read(name, len(raw), begin - len(raw)) if len(raw) < begin else b""
    entries = parse_json(raw[8:begin], where)
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError("The header's metadata is not a table of texts.", where=where, hint="Export the file again.")
    if len(entries) > MAX_TENSORS:
        raise FormatError(f"The header names {len(entries):,} tensors; at most {MAX_TENSORS:,} are read.", where=where)
    tensors, edge = {}, 0
    checked_entries = {key: checked(_Entry, entry, f"{where}: {key[:100]}") for key, entry in entries.items()}
    for key, entry in sorted(checked_entries.items(), key=lambda item: item[1].data_offsets):
        start, end = entry.data_offsets
        tensors[key] = info = TensorInfo(entry.dtype, tuple(entry.shape), begin + start)
        if start != edge or end - start != info.nbytes or end > available:
            raise FormatError(
                f"Shape {entry.shape} of {entry.dtype} needs {info.nbytes:,} bytes, not {start:,} to {end:,} of "
                f"{available:,}.", where=f"{where}: {key[:100]}", hint=DAMAGED,
            )
        edge = end
    if edge != available:
        what = f"The tensors do not fill the file: they end at byte {edge:,} of {available:,}."
        raise FormatError(what, where=where, hint=DAMAGED)
    return Header(where, {key: tensors[key] for key in entries}, metadata)


# --- Reading ---------------------------------------------------------------------------------------------------------

_BLOCK = 1 << 18  # what the second cache of a processor holds beside other things
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of Linux 5.14; Python's mmap has no name for it
# Of a block that is turned: rows enough to fill lines of the cache at once, and bytes not far above the cache.
_ROWS, _TURNED_BLOCK = 256, 1 << 22
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_INFINITY = {torch.float16: 0x7C00, torch.bfloat16: 0x7F80}


def read_tensors(
    path: Path, header: Header, names: Mapping[str, str] | Iterable[str] | None = None, *,
    transposed: Collection[str] = (), device: torch.device | None = None, dtype: torch.dtype | None = None,
    infinite: Collection[str] = (), checked: bool = True,
) -> dict[str, Tensor]:
    """The tensors of the file `path`, whose `header` has checked shapes, each in its own memory.

    Args:
        names: which ones, or what they are to be called → what the file calls them; None means all.
        transposed: of these names, matrices that are to be turned.
        dtype: what floats become; None keeps what is stored. No second copy of a tensor is ever held.
        infinite: names whose values may be infinite; `checked` False takes any values.

    Raises:
        FormatError: a tensor is missing, the file ended early or cannot be read, its checksum differs, or a value is
            NaN or infinite.
    """
    found: dict[str, Tensor] = {}
    sums = parse_json(header.metadata.get(CHECKSUMS, "{}").encode(), f"{header.where}: {CHECKSUMS}")
    wanted = names if isinstance(names, Mapping) else {name: name for name in names or header.tensors}
    try:
        with path.open("rb", buffering=0) as file:
            for name, stored in wanted.items():
                where = f"{header.where}: {stored}"
                if (info := header.tensors.get(stored)) is None:
                    raise FormatError("The tensor is missing.", where=where, hint=DAMAGED)
                turned = (name in transposed) != info.turned
                if info.turned:  # from here on, as it lies in the file
                    info = replace(info, shape=info.shape[::-1])
                with _at(file, info, where) as member:
                    source = _Summed(member) if stored in sums else member
                    blocks = turned and len(info.shape) == 2
                    tensor = _read(info, source, where, dtype, blocks, name in infinite if checked else None)
                if isinstance(source, _Summed) and source.crc != sums[stored]:
                    raise FormatError(
                        "The bytes differ from those written: the checksum does not match.", where=where,
                        hint="The disk or a copy damaged the file. Restore it, or export the SAE again.",
                    )
                if turned and not blocks:
                    tensor = tensor.permute(*reversed(range(tensor.dim()))).contiguous()
                found[name] = tensor if device is None else tensor.to(device)
    except OSError as error:
        if isinstance(error, SAEWidgetsError):
            raise
        raise FormatError(f"The file cannot be read ({error.strerror or error}).", where=str(path)) from error
    return found


@contextmanager
def _at(file: Any, info: TensorInfo, where: str) -> Iterator[Any]:
    """What reads `info` from its first byte on; of an archive, the whole member, whose checksum is compared at its end.
    """
    if info.member is None:
        file.seek(info.start)
        yield file
        return
    member, start = info.member
    stored, rest = member.compress_type == zipfile.ZIP_STORED, memoryview(bytearray(_BLOCK))
    try:
        file.seek(start)
        source = _StoredMember(file, member) if stored else zipfile.ZipExtFile(file, "r", member)
        for at in range(start, info.start, _BLOCK):  # from Python 3.13 on, seeking would forgo the checksum
            _fill(rest[: info.start - at], source, where)
        yield source
        while source.readinto(rest):
            pass
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FormatError(f"The bytes differ from those written ({error}).", where=where, hint=DAMAGED) from error


class _Summed:
    """A file whose bytes are summed up while they are in the processor's cache."""

    def __init__(self, file: Any) -> None:
        self._file, self.crc = file, 0

    def readinto(self, buffer: memoryview) -> int:
        n: int = self._file.readinto(buffer)
        self.crc = zlib.crc32(buffer[:n], self.crc)
        return n


class _StoredMember:
    """An uncompressed member of an archive, whose bytes `zipfile` would copy twice on their way."""

    def __init__(self, file: Any, member: zipfile.ZipInfo) -> None:
        self._file, self._member, self._left, self._crc = file, member, member.file_size, 0

    def readinto(self, buffer: memoryview) -> int:
        n: int = self._file.readinto(buffer[: self._left])
        self._left -= n
        if self._member.CRC is None:  # PyTorch may not compute it
            return n
        self._crc = zlib.crc32(buffer[:n], self._crc)
        if self._crc != self._member.CRC and not (self._left and n):
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {self._member.filename!r}")
        return n


def _read(
    info: TensorInfo, source: Any, where: str, dtype: torch.dtype | None, turned: bool, infinite: bool | None
) -> Tensor:
    """One tensor, block after block; floats become `dtype`. A matrix is `turned` while its block is in the processor's
    cache, by numpy, in one thread: torch's threads wait for each other longer than they work where other programs run.
    """
    stored = info.torch_dtype
    wanted = dtype if dtype is not None and stored.is_floating_point else stored
    result, touch = allocate(info.shape[::-1] if turned else info.shape, wanted, where)
    lines, step = result.view(-1), max(1, _BLOCK // stored.itemsize)
    bits = _BITS[wanted.itemsize]  # numpy has no bfloat16, and turning takes no notice of what is turned
    if turned:
        touch(0, result.nbytes)
        lines, step = result.T, max(1, min(_ROWS, _TURNED_BLOCK // (info.shape[1] * stored.itemsize)))
    scratch = None
    if turned or wanted != stored:
        scratch = torch.empty(min(step, len(lines)), *lines.shape[1:], dtype=stored)
    for start in range(0, len(lines), step):
        target = lines[start : start + step]
        if not turned:
            touch(start * wanted.itemsize, target.nbytes)
        block = target if scratch is None else scratch[: len(target)]
        _fill(block.view(-1).view(torch.uint8).numpy().data, source, where)
        block = block if wanted == stored else block.to(wanted)
        if infinite is not None:
            check_block(block, where, infinite)
        if scratch is not None:
            np.copyto(target.view(bits).numpy(), block.view(bits).numpy())
    return result


def _fill(buffer: memoryview, file: Any, where: str) -> None:
    while buffer:
        n = file.readinto(buffer[:_BLOCK])  # an archive's bytes pass through the cache on their way
        if not n:
            raise FormatError("The file ended early.", where=where, hint=DAMAGED)
        buffer = buffer[n:]


def allocate(shape: tuple[int, ...], dtype: torch.dtype, where: str) -> tuple[Tensor, Callable[[int, int], None]]:
    """An uninitialised tensor, and a function that makes ready those bytes of it (start, how many) that are next.

    Memory that was never touched costs as much as reading a file into it; made ready by the block it costs less, and
    the block stays in the processor's cache. Raises `FormatError` where the tensor is larger than this machine's
    memory: a file may be as long as it likes without taking space on the disk, so that its size proves nothing.
    """
    size, memory = math.prod(shape) * dtype.itemsize, machine_memory()
    if memory is not None and size > memory:
        what = f"The tensor takes {size / 1e9:,.0f} GB; this machine has {memory / 1e9:,.0f} GB of memory."
        raise FormatError(what, where=where, hint="Load it on a larger machine.")
    try:
        if sys.platform != "linux" or size < _BLOCK:
            return torch.empty(shape, dtype=dtype), lambda start, size: None
        room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        result = torch.frombuffer(room, dtype=dtype).view(shape)
    except (RuntimeError, MemoryError, OSError) as error:
        raise FormatError(
            f"There is no memory for a tensor of {size / 1e9:,.1f} GB.", where=where,
            hint="Free memory, or load the SAE in a shorter number format.",
        ) from error

    def populate(start: int, size: int) -> None:
        first = start - start % mmap.PAGESIZE
        with suppress(OSError):  # systems before Linux 5.14 cannot; pages then come as they are touched
            room.madvise(_POPULATE_WRITE, first, start + size - first)

    return result, populate


# --- Values ----------------------------------------------------------------------------------------------------------


def check_block(block: Tensor, where: str, infinite: bool = False) -> None:
    """Raise `FormatError` if a value is NaN or (unless `infinite`) infinite.

    A sum is finite only if all its terms are, and costs one pass; only an overflow needs the second look. Short floats
    are quicker to judge by their bits: infinity is the largest number without its sign, NaN is above; read as integers,
    positive ones are the largest with a sign and negative ones the largest without. As above, numpy does it.
    """
    if not block.is_floating_point() or block.numel() == 0:
        return
    here = block.device.type == "cpu" and block.is_contiguous()
    if here and block.dtype in _INFINITY:
        bits, above = block.detach().view(torch.int16).numpy(), _INFINITY[block.dtype]
        if bits.max() < above and bits.view(np.uint16).max() < above + 0x8000:
            return
    elif here and block.dtype in (torch.float32, torch.float64):
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(block.detach().numpy().sum()):
                return
    elif block.sum().isfinite():
        return
    bad = block.isnan() if infinite else ~block.isfinite()
    if bad.any():
        what = "NaN" if infinite else "NaN or infinity"
        raise FormatError(f"It contains {what}.", where=where, hint="Export the SAE again.")


def checksums(tensors: Mapping[str, Tensor]) -> str:
    """The CRC-32 of the bytes of each tensor, as the text that `read_tensors` finds in a file's metadata."""
    found = {name: zlib.crc32(tensor.view(-1).view(torch.uint8).numpy().data) for name, tensor in tensors.items()}
    return json.dumps(found)


def check_finite(where: str, tensors: Mapping[str, Tensor]) -> None:
    """Raise `FormatError` naming the first tensor with NaN or infinity. Holds no second copy."""
    for name, tensor in tensors.items():
        for block in tensor.view(-1).split(_BLOCK) if tensor.is_contiguous() else [tensor]:
            check_block(block, f"{where}: {name}")
