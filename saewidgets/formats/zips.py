"""Defines `ZipSource`: the members of a zip archive (``.npz``, ``.pt``), checked before anything is unpacked. Python's
`zipfile` reads directory and members, by ranged reads, and compares their checksums."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import BinaryIO, cast

from saewidgets.errors import FormatError
from saewidgets.formats.source import Source

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
    """The members of the zip file `name`; `head` are its first bytes, if they were read already.

    Raises:
        FormatError: not a zip archive, or one that unpacks to more than it should, or whose members overlap.
    """

    def __init__(self, source: Source, name: str, head: bytes = b"") -> None:
        self.where = f"{source.label}/{name}"
        size = source.files().get(name)
        if size is None:
            raise FormatError("The file is missing.", where=self.where, hint="Export or download the SAE again.")
        self.size = size
        self._file = _Ranged(source, name, size, head)
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

    def __init__(self, source: Source, name: str, size: int, head: bytes) -> None:
        self._source, self._name, self._size = source, name, size
        self._position = 0
        self._chunks: list[tuple[int, bytes]] = [(0, head)]

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
        self._chunks = [self._chunks[0], *self._chunks[-7:], (begin, chunk)]
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
