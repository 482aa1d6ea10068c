"""Defines `ZipSource`, the members of a zip archive, checked before anything is unpacked; `read_npz_header` for NumPy's
``.npz``; and `read_pickled` for the ``.pt`` of PyTorch, used by the formats and by hidden states.

Python's `zipfile` reads directory and members, by ranged reads, and compares their checksums. A ``.pt`` is a zip with
one pickle, ``data.pkl``, that says which containers, numbers, texts and tensors there are, and one uncompressed member
per storage. `torch.load` reads it with its weights-only reader, which runs nothing of the file and maps the storages
without reading them. Before, the names and instructions in the pickle are compared with the few that tables of tensors
need, so that nothing takes much time or memory; after, every storage with its member.
"""

from __future__ import annotations

import io
import pickletools
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats.source import FolderSource, Source, size_of
from saewidgets.formats.tensors import DAMAGED, DTYPES, Header, TensorInfo

MAX_MEMBERS = 10_000
MAX_DIRECTORY = 1 << 20
MAX_RATIO = 16  # matrices hardly compress; an archive that unpacks to more than this is a bomb
FREE_BYTES = 1 << 25  # a small archive may compress as well as it likes: its biases may all be zero
_READ_AHEAD = 1 << 14
_TAIL = 1 << 16
_BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, struct.error, OSError, NotImplementedError, EOFError,
           OverflowError, zlib.error)  # fmt: skip
Place = tuple[zipfile.ZipInfo, int]  # a member, and where its bytes begin


class ZipSource:
    """The members of the zip file `name`.

    Raises:
        FormatError: not a zip archive, or one that unpacks to more than it should, or whose members overlap.
    """

    def __init__(self, source: Source, name: str) -> None:
        self.where = f"{source.label}/{name}"
        self.size = size_of(source, name)
        self._file = _RangedFile(source, name, self.size)
        try:
            with zipfile.ZipFile(cast(BinaryIO, self._file)) as archive:
                infos = archive.infolist()
        except _BROKEN as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"This is not a zip archive ({error}).", where=self.where, hint=DAMAGED) from error
        if len(infos) > MAX_MEMBERS:
            raise FormatError(f"It has {len(infos):,} members; at most {MAX_MEMBERS:,} are read.", where=self.where)
        self.members = {info.filename: info for info in infos}
        for info in infos:  # PyTorch may not compute checksums; None is what zipfile takes for one that is not known
            info.CRC = info.CRC or None  # type: ignore[assignment]
        # Vectors may be constant and compress to nothing, but the matrices of their length are beside them.
        total = sum(info.file_size for info in infos)
        if total > max(FREE_BYTES, MAX_RATIO * self.size):
            raise FormatError(
                f"The archive unpacks from {self.size:,} to {total:,} bytes: a zip bomb.", where=self.where,
                hint="If it is valid, save it again without compression (np.savez).",
            )
        end, seen = 0, set[str]()
        for info in sorted(infos, key=lambda info: info.header_offset):
            packed, size, begin = info.compress_size, info.file_size, info.header_offset
            stored, before = info.compress_type == zipfile.ZIP_STORED, end
            end = begin + 30 + len(info.filename) + packed
            for wrong, what in (
                (info.filename in seen, "It occurs twice."),
                (not (stored or info.compress_type == zipfile.ZIP_DEFLATED) or info.flag_bits & 1,
                 "It is encrypted, or its compression is not supported."),
                (stored and size != packed, "The sizes of the member contradict each other."),
                (begin < before, "Members of the archive overlap."),
                (end > self.size, f"The member claims {packed:,} bytes of a file of {self.size:,}."),
            ):
                if wrong:
                    raise FormatError(what, where=self._at(info), hint=DAMAGED)
            seen.add(info.filename)

    def data_start(self, info: zipfile.ZipInfo) -> int:
        """Where the bytes of the member begin in the file."""
        raw = self._file.at(info.header_offset, 30)
        if len(raw) < 30 or raw[:4] != b"PK\x03\x04":
            raise FormatError("The member is not where the archive says.", where=self._at(info), hint=DAMAGED)
        start: int = info.header_offset + 30 + sum(struct.unpack("<HH", raw[26:30]))
        if start + info.compress_size > self.size:
            raise FormatError("The member is cut off.", where=self._at(info), hint=DAMAGED)
        return start

    def head(self, info: zipfile.ZipInfo, length: int) -> bytes:
        """The first `length` bytes of the member, unpacked."""
        self._file.seek(self.data_start(info))
        try:
            return zipfile.ZipExtFile(cast(BinaryIO, self._file), "r", info).read(length)
        except _BROKEN as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"It cannot be unpacked ({error}).", where=self._at(info), hint=DAMAGED) from error

    def _at(self, info: zipfile.ZipInfo) -> str:
        return f"{self.where}: {info.filename[:100]}"


class _RangedFile(io.RawIOBase):
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
    """The header of the archive `name` of a source, or of the one at a path, in one read for the archive's
    directory and one per array. Raises `FormatError` unless all are plain numeric arrays of the sizes they declare."""
    if isinstance(source, Path):
        name, source = source.name, FolderSource(source)
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
        raise FormatError("There are no arrays in it.", where=archive.where, hint=DAMAGED)
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
        raise FormatError("This is not a NumPy array.", where=where, hint=DAMAGED) from error
    if dtype.str not in _DTYPES:
        raise FormatError(
            f"The dtype is {dtype.str[:40]!r}, expected one of {', '.join(_DTYPES)}.", where=where,
            hint="Object arrays are pickles and are never read.",
        )
    start, held = archive.data_start(member), member.file_size - raw.tell()
    info = TensorInfo(_DTYPES[dtype.str], shape, start + raw.tell(), fortran and len(shape) > 1, (member, start))
    if len(shape) > 8 or not all(0 <= n < 1 << 48 for n in shape) or info.nbytes != held:
        raise FormatError(f"{held:,} bytes are not {dtype.str} of shape {shape[:9]}.", where=where, hint=DAMAGED)
    return info


# --- PyTorch's ``.pt`` -----------------------------------------------------------------------------------------------

MAX_PICKLE = 1 << 20
MAX_INSTRUCTIONS = 30_000
MAX_SIZE = 2_000_000
MAX_DEPTH = 64
_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_NUMBERS = {dtype: name for name, dtype in DTYPES.items()}
# What a table of tensors may name.
_NAMES = frozenset((
    "collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch Size",
    "torch device", *(f"torch {name}Storage" for name in _STORAGES),
    *(str(dtype).replace(".", " ") for dtype in DTYPES.values()),
))  # fmt: skip
_UNSAFE = "Only dicts, lists, plain values and tensors are read. Save the weights alone, as safetensors at best."


@dataclass(frozen=True, slots=True)
class PickledDict:
    """The outermost dict of a ``.pt`` file, whose name is `where`: dicts, lists (for tuples, too), texts, numbers and,
    in place of tensors, `TensorInfo`."""

    where: str
    value: Mapping[Any, Any]

    def within(self, key: str) -> PickledDict:
        """The dict under `key`. Raises `FormatError` if there is none."""
        if not isinstance(self.value.get(key), dict):
            raise FormatError("There is no such table.", where=f"{self.where}: {key}", hint=DAMAGED)
        return PickledDict(self.where, self.value[key])

    def header(self, *, besides: Collection[str] | None = ()) -> Header:
        """The tensors that are values of the dict itself. Raises `FormatError` if there are other values, except those
        `besides` them (None: any)."""
        tensors = {key: item for key, item in self.value.items()
                   if isinstance(key, str) and isinstance(item, TensorInfo)}  # fmt: skip
        self.require_known({*tensors, *(self.value if besides is None else besides)})
        return Header(self.where, tensors)

    def require_known(self, names: Collection[str]) -> None:
        """Raise `FormatError` if the dict has another key."""
        if unknown := [key for key in self.value if key not in names]:
            raise FormatError(
                "This entry is not known here, and it could change what the SAE computes.",
                where=f"{self.where}: {str(unknown[0])[:100]}", hint="Save the weights alone, as safetensors at best.",
            )

    def plain(self) -> dict[str, Any]:
        """Texts, numbers and lists and tables of such, without tensors."""
        found: dict[str, Any] = _plain(self.value)
        return found


def _plain(item: Any) -> Any:
    if isinstance(item, dict):
        return {str(key): _plain(each) for key, each in item.items() if not isinstance(each, TensorInfo)}
    return [_plain(each) for each in item if not isinstance(each, TensorInfo)] if isinstance(item, list) else item


def read_pickled(source: FolderSource | Path, name: str = "") -> PickledDict:
    """What the ``.pt`` file `name` of a folder declares, or the one at a path; no tensor data is read.

    Raises:
        FormatError: it is not a ``.pt`` of PyTorch 1.6 or newer, holds anything but plain values and tensors, or its
            tensors claim more than the file has.
    """
    if isinstance(source, Path):
        name, source = source.name, FolderSource(source)
    where = f"{source.label}/{name}"
    if size_of(source, name) and not source.read(name, 0, 4).startswith(b"PK\x03\x04"):
        raise FormatError(
            "This is not a file of torch.save, or one of PyTorch before 1.6.", where=where,
            hint="Such files are pickles and are never opened; save the weights as safetensors.",
        )
    archive = ZipSource(source, name)
    programs = [name for name in archive.members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(programs) != 1:
        raise FormatError("This zip is not a file of torch.save: it has no data.pkl.", where=where, hint=DAMAGED)
    program, prefix = archive.members[programs[0]], programs[0].removesuffix("data.pkl")
    if max(program.file_size, program.compress_size) > MAX_PICKLE:
        raise FormatError(f"data.pkl has {program.file_size:,} bytes; at most {MAX_PICKLE:,} are read.", where=where)
    order = archive.members.get(prefix + "byteorder")
    if order is not None and archive.head(order, 16) != b"little":
        raise FormatError("The tensors are stored big-endian.", where=where, hint="Save the file on another machine.")
    try:
        _check_instructions(archive.head(program, program.file_size))
        value = torch.load(source.path(name), map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(value, dict):
            raise FormatError("The file does not hold a dict of tensors.", hint=_UNSAFE)
        return PickledDict(where, _described(value, _places(archive, prefix, value)))
    except FormatError as error:
        error.where = error.where or where
        raise
    except Exception as error:  # whatever torch's reader stumbles over
        raise FormatError(f"data.pkl is damaged ({str(error)[:200]}).", where=where, hint=DAMAGED) from error


_PUTS = ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE")
_GETS = ("BINGET", "LONG_BINGET", "GET")
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_KNOWN = frozenset((
    *_PUTS, *_GETS, *_TUPLES, "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BININT", "BININT1",
    "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT", "NONE", "NEWTRUE", "NEWFALSE", "EMPTY_TUPLE",
    "EMPTY_DICT", "EMPTY_LIST", "MARK", "PROTO", "FRAME", "SETITEM", "SETITEMS", "APPEND", "APPENDS", "GLOBAL",
    "BINPERSID", "REDUCE", "BUILD", "STOP",
))  # fmt: skip


def _check_instructions(raw: bytes) -> None:
    """Refuse names and instructions that tables of tensors do not need, and what would take long: a tuple may be a key,
    whose hash goes through all that is in it, and hold another one many times over."""
    total, before, sizes = 0, "", dict[Any, int]()
    argument: Any
    for count, (op, argument, _) in enumerate(pickletools.genops(raw)):
        unsafe = f"the instruction {op.name}" if op.name not in _KNOWN else None
        if op.name == "GLOBAL" and argument not in _NAMES:
            unsafe = f"{argument.replace(' ', '.')}, which is code and is not run"
        if unsafe is not None:
            raise FormatError(f"The file holds {unsafe[:100]}.", hint=_UNSAFE)
        if op.name == "PROTO" and argument > 2:
            raise FormatError(
                f"It was saved with pickle protocol {argument}, which PyTorch's weights-only reader does not read.",
                hint="Save it again with torch.save's own protocol.",
            )
        if op.name in _PUTS:
            index = len(sizes) if op.name == "MEMOIZE" else argument
            if index > MAX_INSTRUCTIONS:
                raise FormatError("data.pkl has a memo index that is too large.", hint=DAMAGED)
            sizes[index] = total if before in _TUPLES else 1  # it holds at most what came so far
        total += sizes.get(argument, 1) if op.name in _GETS else 1
        if count > MAX_INSTRUCTIONS or total > MAX_SIZE:
            raise FormatError(f"data.pkl has more than {MAX_INSTRUCTIONS:,} instructions.")
        before = op.name


def _places(archive: ZipSource, prefix: str, value: Any) -> Mapping[int, Place]:
    """Address of each storage → the member that it is mapped from. The whole file is mapped in one piece, so storages
    and members are in the same order and at the same distances. Raises `FormatError` where they are not."""
    found = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in _tensors_in(value)}
    storages = sorted((address, size) for address, size in found.items() if size)
    members = sorted(
        ((archive.data_start(info), info) for name, info in archive.members.items()
         if name.startswith(f"{prefix}data/") and info.file_size),
        key=lambda each: each[0],
    )  # fmt: skip
    claimed = [(address - storages[0][0], size) for address, size in storages]
    there = [(start - members[0][0], info.compress_size) for start, info in members]
    if claimed != there or any(info.compress_type != zipfile.ZIP_STORED for _, info in members):
        raise FormatError("The storages of the tensors are not those in the file.", where=archive.where, hint=DAMAGED)
    return {address: (info, start) for (address, _), (start, info) in zip(storages, members, strict=True)}


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in nested containers, each container once."""
    waiting, seen = [value], set[int]()
    while waiting:
        item = waiting.pop()
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, dict | list | tuple) and id(item) not in seen:
            seen.add(id(item))
            waiting += item.values() if isinstance(item, dict) else item


def _described(value: Any, places: Mapping[int, Place]) -> Any:
    """`value` with a `TensorInfo` for each tensor, texts for devices and number formats, and lists for tuples. Raises
    `FormatError` where it is nested deeply, or would be huge if it was written out (containers may be shared)."""
    left = MAX_SIZE

    def walk(item: Any, depth: int) -> Any:
        nonlocal left
        left -= 1 + len(item) if isinstance(item, str) else 1
        if depth > MAX_DEPTH or left < 0:
            what = f"It is nested deeper than {MAX_DEPTH} levels or holds over {MAX_SIZE:,} values and characters."
            raise FormatError(what, hint=DAMAGED)
        if isinstance(item, Tensor):
            return _info(item, places)
        if isinstance(item, torch.device | torch.dtype):
            return str(item).removeprefix("torch.")
        if isinstance(item, dict):
            named = [(key, each) for key, each in item.items() if isinstance(key, str | int)]
            return {walk(key, depth): walk(each, depth + 1) for key, each in named}
        if isinstance(item, int) and item.bit_length() > 64:
            raise FormatError("It holds a number of more than 64 bits.", hint=DAMAGED)
        return [walk(each, depth + 1) for each in item] if isinstance(item, list | tuple) else item

    return walk(value, 0)


def _info(tensor: Tensor, places: Mapping[int, Place]) -> TensorInfo:
    shape, place = tuple(tensor.shape), places.get(tensor.untyped_storage().data_ptr())
    turned = tensor.dim() == 2 and not tensor.is_contiguous() and tensor.T.is_contiguous()
    if not turned and not tensor.is_contiguous():
        raise FormatError(
            f"A tensor of shape {list(shape)} has the strides {list(tensor.stride())}: a part of another one.",
            hint="Save it with .contiguous().",
        )
    start = 0 if place is None else place[1] + int(tensor.storage_offset()) * tensor.dtype.itemsize
    return TensorInfo(_NUMBERS[tensor.dtype], shape, start, turned, place)
