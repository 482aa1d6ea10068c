"""Defines `ZipSource`: the members of a zip archive (``.npz``, ``.pt``), checked before anything is unpacked, and
`read_npz_header`. Python's `zipfile` reads directory and members, by ranged reads, and compares their checksums."""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from saewidgets.errors import FormatError
from saewidgets.formats.header import Header, TensorInfo
from saewidgets.formats.source import FolderSource, Source, size_of

MAX_MEMBERS = 10_000
MAX_DIRECTORY = 1 << 20
MAX_RATIO = 16  # weights hardly compress; what unpacks to more than this is a bomb
FREE_BYTES = 1 << 20  # small members may compress as well as they like
_READ_AHEAD = 1 << 14
_TAIL = 1 << 16
_DAMAGED = "The file was cut off or altered; download or export it again."
_BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, struct.error, OSError, NotImplementedError, EOFError,
           OverflowError, zlib.error)  # fmt: skip


class ZipSource:
    """The members of the zip file `name`.

    Raises:
        FormatError: not a zip archive, or one that unpacks to more than it should, or whose members overlap.
    """

    def __init__(self, source: Source, name: str) -> None:
        self.where = f"{source.label}/{name}"
        self.size = size_of(source, name)
        self._file = _Ranged(source, name, self.size)
        self.members = self._read_members()

    def _read_members(self) -> dict[str, zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(cast(BinaryIO, self._file)) as archive:
                infos = archive.infolist()
        except _BROKEN as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"This is not a zip archive ({error}).", where=self.where, hint=_DAMAGED) from error
        if len(infos) > MAX_MEMBERS:
            raise FormatError(f"It has {len(infos):,} members; at most {MAX_MEMBERS:,} are read.", where=self.where)
        members: dict[str, zipfile.ZipInfo] = {}
        end = 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            where = self._at(info)
            if info.filename in members:
                raise FormatError("It is there twice.", where=where, hint=_DAMAGED)
            members[info.filename] = info
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 0x1:
                raise FormatError("It is packed in a way that is not read.", where=where, hint="Save the SAE again.")
            if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
                raise FormatError("The sizes of the member contradict each other.", where=where, hint=_DAMAGED)
            if info.file_size > FREE_BYTES and info.file_size > MAX_RATIO * info.compress_size:
                raise FormatError(
                    f"The member unpacks from {info.compress_size:,} to {info.file_size:,} bytes: a zip bomb.",
                    where=where,
                )
            if info.header_offset < end:
                raise FormatError("Members of the archive overlap.", where=where, hint=_DAMAGED)
            end = info.header_offset + 30 + len(info.filename) + info.compress_size
            if end > self.size:
                raise FormatError(
                    f"The member claims {info.compress_size:,} bytes of a file of {self.size:,}.", where=where,
                    hint=_DAMAGED,
                )
        return {info.filename: info for info in infos}

    def data_start(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of the member begin in the file."""
        raw = self._file.at(info.header_offset, 30)
        if len(raw) < 30 or raw[:4] != b"PK\x03\x04":
            raise FormatError("The member is not where the archive says.", where=self._at(info), hint=_DAMAGED)
        name, extra = struct.unpack("<HH", raw[26:30])
        start = info.header_offset + 30 + int(name) + int(extra)
        if start + info.compress_size > self.size:
            raise FormatError("The member is cut off.", where=self._at(info), hint=_DAMAGED)
        return start

    def head(self, info: zipfile.ZipInfo, length: int) -> bytes:
        """The first `length` bytes of the member, unpacked."""
        try:
            return opened(cast(BinaryIO, self._file), info, self.data_start(info)).read(length)
        except _BROKEN as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"It cannot be unpacked ({error}).", where=self._at(info), hint=_DAMAGED) from error

    def _at(self, info: zipfile.ZipInfo) -> str:
        return f"{self.where}: {info.filename[:100]}"


def opened(file: BinaryIO, info: zipfile.ZipInfo, start: int) -> zipfile.ZipExtFile:
    """The unpacked bytes of a member of the archive `file`, whose data begin at `start`. With its last byte it raises
    `BadZipFile` unless all are as the archive was written; a checksum of 0 is one that PyTorch did not compute."""
    file.seek(start)
    if info.CRC == 0:
        info.CRC = None  # type: ignore[assignment]  # what zipfile takes for a checksum that is not known
    return zipfile.ZipExtFile(file, "r", info)


class _Ranged(io.RawIOBase):
    """A file of a source as a file object that reads little and remembers it: the file's end and what was last read."""

    def __init__(self, source: Source, name: str, size: int) -> None:
        self._source, self._name, self._size = source, name, size
        self._position = 0
        self._chunks: list[tuple[int, bytes]] = []

    def at(self, start: int, length: int) -> bytes:
        length = max(0, min(length, self._size - start))
        if length > MAX_DIRECTORY + _TAIL:
            raise FormatError(
                f"{length:,} bytes of bookkeeping; at most {MAX_DIRECTORY:,} are read.",
                where=f"{self._source.label}/{self._name}",
            )
        for begin, chunk in self._chunks:
            if begin <= start and start + length <= begin + len(chunk):
                return chunk[start - begin : start - begin + length]
        begin = max(0, self._size - _TAIL) if start >= self._size - _TAIL else start
        least = _READ_AHEAD if begin == start else _TAIL
        chunk = self._source.read(self._name, begin, max(length + start - begin, least))
        self._chunks = [*self._chunks[-7:], (begin, chunk)]
        return chunk[start - begin : start - begin + length]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        raw = self.at(self._position, self._size if size is None or size < 0 else size)
        self._position += len(raw)
        return raw


# --- Arrays of NumPy's ``.npz`` --------------------------------------------------------------------------------------

_MAX_HEADER = 4096
_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DTYPES = {
    "<f8": "F64", "<f4": "F32", "<f2": "F16", "<i8": "I64", "<i4": "I32", "<i2": "I16", "|i1": "I8", "|u1": "U8",
    "|b1": "BOOL",
}


def read_npz_header(source: Source | Path, name: str = "") -> Header:
    """What the arrays of the archive `name` are, in one read for the archive's directory and one per array.

    Args:
        source: the folder; or the path of the file itself.

    Raises:
        FormatError: not an archive of plain numeric arrays, or a declared shape contradicts the size of its data.
    """
    if isinstance(source, Path):
        name = source.name
        source = FolderSource(source)
    archive = ZipSource(source, name)
    arrays = [member.removesuffix(".npy") for member in archive.members if member.endswith(".npy")]
    return Header(archive.where, {array: _array(archive, array) for array in arrays})


def read_npz_sizes(source: Source, name: str) -> tuple[TensorInfo, Mapping[str, int]]:
    """The first array of the archive, and how many numbers each array has if all are of its number format.

    An archive's directory is at its end, but NumPy writes an array's shape in front of its data: all of them would take
    a request each on the hub.
    """
    archive = ZipSource(source, name)
    arrays = {member.removesuffix(".npy"): info for member, info in archive.members.items() if member.endswith(".npy")}
    if not arrays:
        raise FormatError("There are no arrays in it.", where=archive.where, hint=_DAMAGED)
    first = _array(archive, min(arrays, key=lambda array: arrays[array].header_offset))
    assert first.member is not None
    begin = first.member[0].file_size - first.nbytes  # NumPy pads headers to the same length
    return first, {array: (info.file_size - begin) // first.torch_dtype.itemsize for array, info in arrays.items()}


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
