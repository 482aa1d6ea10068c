"""Defines `Pickled`: what a ``.pt`` file of PyTorch holds. `read_pickled` is used by the formats and by hidden states.

A ``.pt`` is a zip with one pickle, ``data.pkl``, that says which containers, numbers, texts and tensors there are, and
one uncompressed member per storage. `torch.load` reads it with its weights-only reader, which runs nothing of the file
and maps the storages without reading them. Before, the names and instructions in the pickle are compared with the few
that tables of tensors need, so that nothing takes much time or memory; after, every storage with its member.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats.header import DTYPES, Header, TensorInfo
from saewidgets.formats.source import FolderSource, size_of
from saewidgets.formats.zips import ZipSource

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
_DAMAGED = "The file was cut off or altered; download or export it again."
Places = Mapping[int, tuple[zipfile.ZipInfo, int]]
_UNSAFE = "Only dicts, lists, plain values and tensors are read. Save the weights alone, as safetensors at best."


@dataclass(frozen=True, slots=True)
class Pickled:
    """What a ``.pt`` file holds: dicts, lists (for tuples, too), texts, numbers and, in place of tensors, `TensorInfo`.

    Attributes:
        where: what errors call the file.
        value: the outermost dict.
    """

    where: str
    value: Mapping[Any, Any]

    def within(self, *keys: str) -> Pickled:
        """The dict under `keys`. Raises `FormatError` if there is none."""
        value: Any = self.value
        for key in keys:
            if not isinstance(value, dict) or not isinstance(value.get(key), dict):
                raise FormatError("There is no such table.", where=f"{self.where}: {'.'.join(keys)}", hint=_DAMAGED)
            value = value[key]
        return Pickled(self.where, value)

    def header(self) -> Header:
        """The tensors that stand in the dict itself."""
        tensors = {key: item for key, item in self.value.items()
                   if isinstance(key, str) and isinstance(item, TensorInfo)}  # fmt: skip
        return Header(self.where, tensors)

    def plain(self) -> dict[str, Any]:
        """Texts, numbers and lists and tables of such, without tensors."""
        found: dict[str, Any] = _plain(self.value)
        return found


def _plain(item: Any) -> Any:
    if isinstance(item, dict):
        return {str(key): _plain(each) for key, each in item.items() if not isinstance(each, TensorInfo)}
    return [_plain(each) for each in item if not isinstance(each, TensorInfo)] if isinstance(item, list) else item


def read_pickled(path: FolderSource | Path, name: str = "") -> Pickled:
    """What the ``.pt`` file `name` declares; no tensor data is read.

    Args:
        path: the folder; or the path of the file itself.

    Raises:
        FormatError: it is not a ``.pt`` of PyTorch 1.6 or newer, holds anything but plain values and tensors, or its
            tensors claim more than the file has.
    """
    source = FolderSource(path) if isinstance(path, Path) else path
    name = path.name if isinstance(path, Path) else name
    where = f"{source.label}/{name}"
    if size_of(source, name) and not source.read(name, 0, 4).startswith(b"PK\x03\x04"):
        raise FormatError(
            "This is not a file of torch.save, or one of PyTorch before 1.6.", where=where,
            hint="Such files are pickles and are never opened; save the weights as safetensors.",
        )
    archive = ZipSource(source, name)
    programs = [name for name in archive.members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(programs) != 1:
        raise FormatError("This zip is not a file of torch.save: it has no data.pkl.", where=where, hint=_DAMAGED)
    program, prefix = archive.members[programs[0]], programs[0].removesuffix("data.pkl")
    if max(program.file_size, program.compress_size) > MAX_PICKLE:
        raise FormatError(f"data.pkl has {program.file_size:,} bytes; at most {MAX_PICKLE:,} are read.", where=where)
    order = archive.members.get(prefix + "byteorder")
    if order is not None and archive.head(order, 16) != b"little":
        raise FormatError("The tensors are stored big-endian.", where=where, hint="Save the file on another machine.")
    try:
        _check_instructions(archive.head(program, program.file_size), where)
        value = torch.load(source.path(name), map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(value, dict):
            raise FormatError("The file does not hold a dict of tensors.", where=where, hint=_UNSAFE)
        return Pickled(where, _described(value, _places(archive, prefix, _tensors_in(value))))
    except FormatError as error:
        error.where = error.where or where
        raise
    except Exception as error:  # whatever torch's reader stumbles over
        raise FormatError(f"data.pkl is damaged ({str(error)[:200]}).", where=where, hint=_DAMAGED) from error


_PUTS = ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE")
_GETS = ("BINGET", "LONG_BINGET", "GET")
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_KNOWN = frozenset((
    *_PUTS, *_GETS, *_TUPLES, "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BININT", "BININT1",
    "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT", "NONE", "NEWTRUE", "NEWFALSE", "EMPTY_TUPLE",
    "EMPTY_DICT", "EMPTY_LIST", "MARK", "PROTO", "FRAME", "SETITEM", "SETITEMS", "APPEND", "APPENDS", "GLOBAL",
    "BINPERSID", "REDUCE", "BUILD", "STOP",
))  # fmt: skip


def _check_instructions(raw: bytes, where: str) -> None:
    """Refuse names and instructions that tables of tensors do not need, and what would take long: a tuple may be a key,
    whose hash goes through all that is in it, and hold another one many times over."""
    total, before, sizes = 0, "", dict[Any, int]()
    argument: Any
    for count, (op, argument, _) in enumerate(pickletools.genops(raw)):
        if op.name not in _KNOWN:
            raise _unsafe(f"the instruction {op.name}")
        if op.name == "PROTO" and argument > 2:
            raise FormatError(
                f"It was saved with pickle protocol {argument}, which PyTorch's weights-only reader does not read.",
                where=where, hint="Save it again with torch.save's own protocol.",
            )
        if op.name == "GLOBAL" and argument not in _NAMES:
            raise _unsafe(f"{argument.replace(' ', '.')}, which is code and is not run")
        if op.name in _PUTS:
            index = len(sizes) if op.name == "MEMOIZE" else argument
            if index > MAX_INSTRUCTIONS:
                raise FormatError("data.pkl counts what it remembers wrongly.", where=where, hint=_DAMAGED)
            sizes[index] = total if before in _TUPLES else 1  # it holds at most what came so far
        total += sizes.get(argument, 1) if op.name in _GETS else 1
        if count > MAX_INSTRUCTIONS or total > MAX_SIZE:
            raise FormatError(f"data.pkl has more than {MAX_INSTRUCTIONS:,} instructions.", where=where)
        before = op.name


def _unsafe(what: str) -> FormatError:
    return FormatError(f"The file holds {what[:100]}.", hint=_UNSAFE)


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


def _places(archive: ZipSource, prefix: str, tensors: Iterable[Tensor]) -> Places:
    """Address of each storage → the member that it is mapped from, and where that begins. The whole file is mapped in
    one piece, so storages and members are in the same order and at the same distances.

    Raises:
        FormatError: a storage is not one of the members.
    """
    each_storage = (tensor.untyped_storage() for tensor in tensors)
    storages = {storage.data_ptr(): storage.nbytes() for storage in each_storage if storage.nbytes()}
    addresses = sorted(storages)
    members = sorted(
        ((archive.data_start(info), info) for name, info in archive.members.items()
         if name.startswith(f"{prefix}data/") and info.file_size),
        key=lambda each: each[0],
    )  # fmt: skip
    if len(addresses) != len(members):
        raise FormatError(
            f"The tensors have {len(addresses)} storages; {len(members)} are there.", where=archive.where, hint=_DAMAGED
        )
    found: dict[int, tuple[zipfile.ZipInfo, int]] = {}
    for address, (start, member) in zip(addresses, members, strict=True):
        where = f"{archive.where}: {member.filename[:60]}"
        if member.compress_type != zipfile.ZIP_STORED:
            raise FormatError("The storage of a tensor is packed.", where=where, hint=_DAMAGED)
        if storages[address] != member.file_size or address - start != addresses[0] - members[0][0]:
            claimed = f"A storage of {storages[address]:,} bytes is claimed"
            raise FormatError(f"{claimed}; {member.file_size:,} are there.", where=where, hint=_DAMAGED)
        found[address] = member, start
    return found


def _described(value: Any, places: Places) -> Any:
    """`value` with a `TensorInfo` for each tensor, texts for devices and number formats, and lists for tuples. Raises
    `FormatError` where it is nested deeply, or would be huge if it was written out (containers may be shared)."""
    left = MAX_SIZE

    def walk(item: Any, depth: int) -> Any:
        nonlocal left
        left -= 1 + len(item) if isinstance(item, str) else 1
        if depth > MAX_DEPTH or left < 0:
            raise FormatError(
                f"It is nested deeper than {MAX_DEPTH} levels or holds over {MAX_SIZE:,} values and characters.",
                hint=_DAMAGED,
            )
        if isinstance(item, Tensor):
            return _info(item, places)
        if isinstance(item, torch.device | torch.dtype):
            return str(item).removeprefix("torch.")
        if isinstance(item, dict):
            named = [(key, each) for key, each in item.items() if isinstance(key, str | int)]
            return {walk(key, depth): walk(each, depth + 1) for key, each in named}
        if isinstance(item, int) and item.bit_length() > 64:
            raise FormatError("It holds a number of more than 64 bits.", hint=_DAMAGED)
        return [walk(each, depth + 1) for each in item] if isinstance(item, list | tuple) else item

    return walk(value, 0)


def _info(tensor: Tensor, places: Places) -> TensorInfo:
    shape, place = tuple(tensor.shape), places.get(tensor.untyped_storage().data_ptr())
    turned = tensor.dim() == 2 and not tensor.is_contiguous() and tensor.T.is_contiguous()
    if not turned and not tensor.is_contiguous():
        raise FormatError(
            f"A tensor of shape {list(shape)} has the strides {list(tensor.stride())}: a part of another one.",
            hint="Save it with .contiguous().",
        )
    start = 0 if place is None else place[1] + int(tensor.storage_offset()) * tensor.dtype.itemsize
    return TensorInfo(_NUMBERS[tensor.dtype], shape, start, turned, place)
