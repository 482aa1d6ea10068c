"""What a zip archive (``.npz``, ``.pt``) holds, from ranged reads and checked before anything is unpacked."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from saewidgets.errors import FormatError
from saewidgets.formats.source import Source
from saewidgets.formats.tensors import reader

MAX_MEMBERS = 10_000
MAX_DIRECTORY = 1 << 20
MAX_RATIO = 16  # weights hardly compress; what unpacks to more than this is a bomb
FREE_BYTES = 1 << 20  # small members may compress as well as they like
_READ_AHEAD = 1 << 14
_TAIL = 1 << 16
_DAMAGED = "The file was cut off or altered; download or export it again."


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive: its unpacked size, and where its header begins."""

    name: str
    size: int
    packed: int
    deflated: bool
    header_start: int
    crc: int


class ZipSource:
    """The members of the zip file `name`; `head` are its first bytes, if they were read already.

    Raises:
        FormatError: it is not a zip archive, or one that unpacks to more than it should, or whose members overlap.
    """

    def __init__(self, source: Source, name: str, head: bytes = b"") -> None:
        self.source, self.name = source, name
        self.where = f"{source.label}/{name}"
        size = source.files().get(name)
        if size is None:
            raise FormatError("The file is missing.", where=self.where, hint="Export or download the SAE again.")
        self.size = size
        self._file = _Ranged(source, name, size, head)
        self.members = self._read_members()

    def _read_members(self) -> dict[str, Member]:
        try:
            with zipfile.ZipFile(self._file) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, struct.error, OSError, NotImplementedError,
                UnicodeError, EOFError, OverflowError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"This is not a zip archive ({error}).", where=self.where, hint=_DAMAGED) from error
        if len(infos) > MAX_MEMBERS:
            raise FormatError(f"It has {len(infos):,} members; at most {MAX_MEMBERS:,} are read.", where=self.where)
        members: dict[str, Member] = {}
        for info in infos:
            self._check(info)
            if info.filename in members:
                raise FormatError(f"{info.filename[:100]!r} is there twice.", where=self.where, hint=_DAMAGED)
            members[info.filename] = Member(
                info.filename, info.file_size, info.compress_size, info.compress_type == zipfile.ZIP_DEFLATED,
                info.header_offset, info.CRC,
            )
        end = 0
        for member in sorted(members.values(), key=lambda member: member.header_start):
            if member.header_start < end:
                raise FormatError("Members of the archive overlap.", where=self._at(member), hint=_DAMAGED)
            end = member.header_start + 30 + len(member.name) + member.packed
            if end > self.size:
                raise FormatError(
                    f"The member claims {member.packed:,} bytes of a file of {self.size:,}.", where=self._at(member),
                    hint=_DAMAGED,
                )
        return members

    def _check(self, info: zipfile.ZipInfo) -> None:
        where = f"{self.where}: {info.filename[:100]}"
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 0x1:
            raise FormatError("It is packed in a way that is not read.", where=where, hint="Save the SAE again.")
        if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
            raise FormatError("The sizes of the member contradict each other.", where=where, hint=_DAMAGED)
        if info.file_size > FREE_BYTES and info.file_size > MAX_RATIO * info.compress_size:
            raise FormatError(
                f"The member unpacks from {info.compress_size:,} to {info.file_size:,} bytes: a zip bomb.", where=where
            )

    def data_start(self, member: Member) -> int:
        """Where the bytes of `member` begin in the file."""
        raw = self._file.at(member.header_start, 30)
        if len(raw) < 30 or raw[:4] != b"PK\x03\x04":
            raise FormatError("The member is not where the archive says.", where=self._at(member), hint=_DAMAGED)
        name, extra = struct.unpack("<HH", raw[26:30])
        start = member.header_start + 30 + int(name) + int(extra)
        if start + member.packed > self.size:
            raise FormatError("The member is cut off.", where=self._at(member), hint=_DAMAGED)
        return start

    def head(self, member: Member, length: int) -> bytes:
        """The first `length` bytes of `member`, unpacked."""
        start, length = self.data_start(member), min(length, member.size)
        if not member.deflated:
            found = self._file.at(start, length)
        else:
            found = inflate(self._file.at(start, min(member.packed, length + 1024)), length, self._at(member))
        if len(found) == member.size:
            check_sum(zlib.crc32(found), member, self._at(member))
        return found

    def filler(self, file: BinaryIO, member: Member) -> Callable[[memoryview], None]:
        """A function that fills buffers with the bytes of `member` from the open `file`, in order."""
        start = self.data_start(member)
        file.seek(start)
        where = self._at(member)
        return checked(_Inflated(file, member, where).fill if member.deflated else reader(file, where), member, where)

    def _at(self, member: Member) -> str:
        return f"{self.where}: {member.name[:100]}"


def checked(fill: Callable[[memoryview], None], member: Member, where: str) -> Callable[[memoryview], None]:
    """`fill`, which raises `FormatError` with the last byte of `member` unless all were as the archive was written."""
    crc, left = 0, member.size

    def filled(buffer: memoryview) -> None:
        nonlocal crc, left
        fill(buffer)
        crc, left = zlib.crc32(buffer, crc), left - len(buffer)
        if not left:
            check_sum(crc, member, where)

    return filled


def check_sum(crc: int, member: Member, where: str) -> None:
    """Raise `FormatError` unless `crc` is what the archive says; 0 is what PyTorch writes where it was not computed."""
    if member.crc not in (0, crc):
        raise FormatError("Bytes are not those that were written: the checksum differs.", where=where, hint=_DAMAGED)


class _Inflated:
    """The unpacked bytes of a deflated member, a block at a time."""

    def __init__(self, file: BinaryIO, member: Member, where: str) -> None:
        self._file, self._where = file, where
        self._left = member.packed
        self._unpack = zlib.decompressobj(-15)

    def fill(self, buffer: memoryview) -> None:
        while buffer:
            raw = self._unpack.unconsumed_tail or self._file.read(min(_TAIL, self._left))
            if not self._unpack.unconsumed_tail:
                self._left -= len(raw)
            try:
                unpacked = self._unpack.decompress(raw, len(buffer))
            except zlib.error as error:
                raise FormatError(f"It cannot be unpacked ({error}).", where=self._where, hint=_DAMAGED) from error
            if not unpacked and not raw:
                raise FormatError("It ended early.", where=self._where, hint=_DAMAGED)
            buffer[: len(unpacked)] = unpacked
            buffer = buffer[len(unpacked) :]


def inflate(raw: bytes, length: int, where: str) -> bytes:
    """At most `length` bytes of the deflated `raw`."""
    try:
        return zlib.decompressobj(-15).decompress(raw, length)
    except zlib.error as error:
        raise FormatError(f"The member cannot be unpacked ({error}).", where=where, hint=_DAMAGED) from error


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
