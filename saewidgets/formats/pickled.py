"""Defines `Pickled`: what a ``.pt`` file of PyTorch holds, read without running anything of it.

A ``.pt`` is a zip with one pickle, ``data.pkl``, that says which containers, numbers, texts and tensors there are, and
one uncompressed member per storage. Python's unpickler reads it with a table of the only names that may occur, none of
which is the file's or PyTorch's code (``torch.load(weights_only=True)`` has names that can be made to take any amount
of memory, and does not compare what a tensor claims with the archive). Its instructions are counted and looked at
before, so that nothing takes much time or memory, and two ranged reads tell all shapes.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from saewidgets.errors import FormatError
from saewidgets.formats.header import Header, TensorInfo
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.zips import ZipSource

MAX_PICKLE = 1 << 20
MAX_INSTRUCTIONS = 30_000
MAX_SIZE = 2_000_000
MAX_DEPTH = 64
_HEAD = 1 << 14  # torch.save puts the pickle first, and most are short
_STORAGES = {
    "FloatStorage": "F32", "DoubleStorage": "F64", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32",
    "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8", "BoolStorage": "BOOL",
}
_DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_DAMAGED = "The file was cut off or altered; download or export it again."
_UNSAFE = "Only dicts, lists, plain values and tensors are read. Save the weights alone, as safetensors at best."


@dataclass(frozen=True, slots=True)
class Pickled:
    """What a ``.pt`` file holds: dicts, lists, tuples, texts, numbers and, in place of tensors, `TensorInfo`.

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
        tensors = {key: item.info for key, item in self.value.items()
                   if isinstance(key, str) and isinstance(item, _Tensor)}  # fmt: skip
        return Header(self.where, tensors)

    def plain(self) -> dict[str, Any]:
        """Texts, numbers and lists and tables of such, without tensors.

        Raises:
            FormatError: what is there is nested deeply, or would be huge if written out (containers may be shared).
        """
        left = MAX_SIZE

        def copy(item: Any, depth: int) -> Any:
            nonlocal left
            left -= 1 + len(item) if isinstance(item, str) else 1
            if depth > MAX_DEPTH or left < 0:
                raise FormatError(
                    f"It is nested deeper than {MAX_DEPTH} levels or holds over {MAX_SIZE:,} values and characters.",
                    where=self.where, hint=_DAMAGED,
                )
            if isinstance(item, int) and item.bit_length() > 64:
                raise FormatError("It holds a number of more than 64 bits.", where=self.where, hint=_DAMAGED)
            if isinstance(item, dict):
                plain = {key: each for key, each in item.items() if isinstance(key, str | int) and _is_plain(each)}
                return {str(copy(key, depth)): copy(each, depth + 1) for key, each in plain.items()}
            return [copy(each, depth + 1) for each in item if _is_plain(each)] if _is_list(item) else item

        found: dict[str, Any] = copy(self.value, 0)
        return found


def read_pickled(source: Source | Path, name: str = "") -> Pickled:
    """What the ``.pt`` file `name` declares; no tensor data is read.

    Args:
        source: the folder; or the path of the file itself.

    Raises:
        FormatError: it is not a ``.pt`` of PyTorch 1.6 or newer, holds anything but plain values and tensors, or its
            tensors claim more than the file has.
    """
    if isinstance(source, Path):
        name = source.name
        source = FolderSource(source)
    where = f"{source.label}/{name}"
    head = source.read(name, 0, _HEAD) if source.files().get(name) else b""
    if head and not head.startswith(b"PK\x03\x04"):
        raise FormatError(
            "This is not a file of torch.save, or one of PyTorch before 1.6.", where=where,
            hint="Such files are pickles and are never opened; save the weights as safetensors.",
        )
    archive = ZipSource(source, name, head)
    programs = [name for name in archive.members if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(programs) != 1:
        raise FormatError("This zip is not a file of torch.save: it has no data.pkl.", where=where, hint=_DAMAGED)
    program, prefix = archive.members[programs[0]], programs[0].removesuffix("data.pkl")
    if max(program.file_size, program.compress_size) > MAX_PICKLE:
        raise FormatError(f"data.pkl has {program.file_size:,} bytes; at most {MAX_PICKLE:,} are read.", where=where)
    order = archive.members.get(prefix + "byteorder")
    if order is not None and archive.head(order, 16) != b"little":
        raise FormatError("The tensors are stored big-endian.", where=where, hint="Save the file on another machine.")
    raw = archive.head(program, program.file_size)
    try:
        _check_instructions(raw, where)
        value = _Unpickler(raw, archive, prefix).load()
    except FormatError as error:
        error.where = error.where or where
        raise
    except (pickle.UnpicklingError, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError,
            EOFError, RecursionError, MemoryError, struct.error) as error:  # fmt: skip
        raise FormatError(f"data.pkl is damaged ({str(error)[:200]}).", where=where, hint=_DAMAGED) from error
    if not isinstance(value, dict):
        raise FormatError("The file does not hold a dict of tensors.", where=where, hint=_UNSAFE)
    return Pickled(where, value)


_PUTS = ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE")
_GETS = ("BINGET", "LONG_BINGET", "GET")
_TUPLES = ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3")
_KNOWN = frozenset((
    *_PUTS, *_GETS, *_TUPLES, "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BININT", "BININT1",
    "BININT2", "LONG1", "LONG4", "INT", "LONG", "BINFLOAT", "FLOAT", "NONE", "NEWTRUE", "NEWFALSE", "EMPTY_TUPLE",
    "EMPTY_DICT", "EMPTY_LIST", "MARK", "PROTO", "FRAME", "SETITEM", "SETITEMS", "APPEND", "APPENDS", "GLOBAL",
    "STACK_GLOBAL", "BINPERSID", "REDUCE", "BUILD", "STOP",
))  # fmt: skip


def _check_instructions(raw: bytes, where: str) -> None:
    """Refuse what tables of tensors do not need, and what would take long: a tuple may be a key, whose hash goes
    through all that is in it, and hold another one many times over."""
    total, before, sizes = 0, "", dict[Any, int]()
    argument: Any
    for count, (op, argument, _) in enumerate(pickletools.genops(raw)):
        if op.name not in _KNOWN:
            raise _unsafe(f"the instruction {op.name}")
        if op.name == "GLOBAL":
            _named(*argument.split(" ", 1))
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


def _named(module: str, name: str) -> Any:
    if (module, name) not in _NAMES:
        raise _unsafe(f"{module}.{name}, which is code and is not run")
    return _NAMES[module, name]


class _Unpickler(pickle.Unpickler):
    """Python's unpickler without the names that it would find by importing them."""

    def __init__(self, raw: bytes, archive: ZipSource, prefix: str) -> None:
        super().__init__(io.BytesIO(raw), fix_imports=False)
        self._archive, self._prefix = archive, prefix

    def find_class(self, module: str, name: str) -> Any:
        return _named(module, name)

    def persistent_load(self, claim: Any) -> _Storage:
        kind, dtype, key, _, count = claim
        if kind != "storage" or dtype not in _STORAGES.values() or not isinstance(key, str) or type(count) is not int:
            raise _unsafe("a reference that is not a tensor's storage")
        member = self._archive.members.get(f"{self._prefix}data/{key}")
        where = f"{self._archive.where}: data/{key[:40]}"
        if member is None or member.compress_type != zipfile.ZIP_STORED:
            raise FormatError("The storage of a tensor is missing or packed.", where=where, hint=_DAMAGED)
        needed = TensorInfo(dtype, (count,)).nbytes
        if not 0 <= needed <= member.file_size:
            raise FormatError(
                f"A storage of {needed:,} bytes is claimed; {member.file_size:,} are there.", where=where, hint=_DAMAGED
            )
        return _Storage(dtype, count, member, self._archive.data_start(member))


class _Sealed:
    """What a pickle gets in place of an object: it can set nothing on it."""

    def __setstate__(self, state: Any) -> NoReturn:
        raise _unsafe("an object with a state")


@dataclass(frozen=True)
class _Storage(_Sealed):
    dtype: str
    count: int
    member: zipfile.ZipInfo
    start: int


@dataclass(frozen=True)
class _Tensor(_Sealed):
    info: TensorInfo


class _Call(_Sealed):
    """A function that a pickle may call."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


class _Table(dict[Any, Any]):
    """An OrderedDict, whose attributes (`state_dict()` keeps version numbers there) are left out."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise _unsafe("an object with a state")


def _table() -> _Table:
    return _Table()


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage) or len(size) != len(stride) or len(size) > 8:
        raise _unsafe("a tensor without a storage")
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in (offset, *size, *stride)):
        raise ValueError("a size that is not a whole number")
    turned = len(size) == 2 and not _contiguous(size, stride) and _contiguous(size[::-1], stride[::-1])
    if not turned and not _contiguous(size, stride):
        raise FormatError(
            f"A tensor of shape {list(size)} has the strides {list(stride)}: a part of another one.",
            hint="Save it with .contiguous().",
        )
    itemsize = TensorInfo(storage.dtype, ()).nbytes
    info = TensorInfo(
        storage.dtype, tuple(size), storage.start + offset * itemsize, turned, (storage.member, storage.start)
    )
    if offset * itemsize + info.nbytes > storage.count * itemsize:
        raise FormatError(
            f"Shape {list(size)} of {info.dtype} needs {info.nbytes:,}; {storage.count * itemsize:,} are there.",
            hint=_DAMAGED,
        )
    return _Tensor(info)


def _contiguous(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether the elements lie in order; the stride of a dimension of one element does not matter."""
    step = 1
    for n, found in zip(reversed(shape), reversed(stride), strict=True):
        if n != 1 and found != step:
            return False
        step *= max(n, 1)
    return True


def _parameter(data: Any, *_: Any) -> _Tensor:
    if not isinstance(data, _Tensor):
        raise _unsafe("a parameter that is not a tensor")
    return data


def _size(numbers: Any) -> tuple[Any, ...]:
    if not isinstance(numbers, tuple):
        raise _unsafe("a size that is not one")
    return numbers


def _device(kind: Any, index: Any = None) -> str:
    if not isinstance(kind, str) or not isinstance(index, int | None):
        raise _unsafe("a device that is not one")
    return kind[:20] if index is None else f"{kind[:20]}:{index}"


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Call(_table),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Call(_parameter),
    ("torch", "Size"): _Call(_size),
    ("torch", "device"): _Call(_device),
    **{("torch", key): dtype for key, dtype in _STORAGES.items()},
    **{("torch", key): key for key in _DTYPES},
}


def _is_list(item: Any) -> bool:
    return isinstance(item, list | tuple)


def _is_plain(item: Any) -> bool:
    return not isinstance(item, _Sealed)
