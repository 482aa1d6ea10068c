"""PyTorch's ``.pt`` files, read without unpickling anything.

A ``.pt`` is a zip with one pickle, ``data.pkl``, that says which containers, numbers, texts and tensors there are, and
one uncompressed member per storage. The pickle is a program for a stack machine; the few instructions that build dicts,
lists, plain values and tensors are interpreted here, with a table of the only names that may occur. So no code of the
file ever runs (stricter than ``torch.load(weights_only=True)``, whose allowed names can be made to take any amount of
memory), what a tensor claims is checked against the archive before memory is taken, and two ranged reads tell all
shapes.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats.header import Header, TensorInfo
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.tensors import read_tensor, reader
from saewidgets.formats.zips import Member, ZipSource, checked

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
_DTYPES = {"float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"}
_DAMAGED = "The file was cut off or altered; download or export it again."
_UNSAFE = "Only dicts, lists, plain values and tensors are read. Save the weights alone, as safetensors at best."


@dataclass(frozen=True, slots=True)
class PickledTensor:
    """A tensor as a ``.pt`` declares it. `info.shape` is how its bytes lie; `transposed` says that rows and columns are
    to be swapped after reading."""

    info: TensorInfo
    transposed: bool
    storage: _Storage

    @property
    def shape(self) -> tuple[int, ...]:
        return self.info.shape[::-1] if self.transposed else self.info.shape


@dataclass(frozen=True, slots=True)
class Pickled:
    """What a ``.pt`` file holds: dicts, lists, tuples, texts, numbers and, in place of tensors, `PickledTensor`.

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
        """The tensors that stand in the dict itself, with their shapes as PyTorch would give them."""
        return Header(self.where, {
            key: TensorInfo(item.info.dtype, item.shape, item.info.start)
            for key, item in self.value.items() if isinstance(key, str) and isinstance(item, PickledTensor)
        })

    def plain(self) -> dict[str, Any]:
        """Texts, numbers and lists and tables of such, without tensors."""
        found = _plain(self.value)
        return found if isinstance(found, dict) else {}


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
    if program.size > MAX_PICKLE or program.packed > MAX_PICKLE:
        raise FormatError(f"data.pkl has {program.size:,} bytes; at most {MAX_PICKLE:,} are read.", where=where)
    order = archive.members.get(prefix + "byteorder")
    if order is not None and archive.head(order, 16) != b"little":
        raise FormatError("The tensors are stored big-endian.", where=where, hint="Save the file on another machine.")
    raw = archive.head(program, program.size)
    if len(raw) != program.size:
        raise FormatError("data.pkl is cut off.", where=where, hint=_DAMAGED)
    value = _Machine(archive, prefix).run(raw)
    if not isinstance(value, dict):
        raise FormatError("The file does not hold a dict of tensors.", where=where, hint=_UNSAFE)
    _bound(value, where)
    return Pickled(where, value)


def load_pickled(
    path: Path, found: Pickled, names: Iterable[str] | None = None, *, device: torch.device | None = None,
    dtype: torch.dtype | None = None, infinite: frozenset[str] = frozenset(),
) -> dict[str, Tensor]:
    """The tensors in `found` (see `Pickled.within`) from the file `path`, in their own memory; floats become `dtype`.

    Raises:
        FormatError: a tensor is missing, the file ended early, or a value is NaN or infinite (but for `infinite`).
    """
    items = {key: item for key, item in found.value.items() if isinstance(item, PickledTensor)}
    loaded, summed = {}, set[_Storage]()
    with path.open("rb", buffering=0) as file:
        for name in items if names is None else names:
            where = f"{found.where}: {name}"
            if name not in items:
                raise FormatError("The tensor is missing.", where=where, hint=_DAMAGED)
            fill = filler(file, items[name], where, summed)
            tensor = read_tensor(items[name].info, fill, where, dtype, name in infinite)
            tensor = tensor.T if items[name].transposed else tensor
            loaded[name] = tensor if device is None else tensor.to(device)
    return loaded


def filler(
    file: BinaryIO, item: PickledTensor, where: str, summed: set[_Storage]
) -> Callable[[memoryview], None]:
    """What reads `item` from `file`, which is brought to its first byte, and compares the archive's checksum.

    The checksum is of a whole storage; `summed` are those that were compared for a tensor that is a part of one.
    """
    info, storage = item.info, item.storage
    fill = checked(reader(file, where), storage.member, where)
    if info.nbytes != storage.member.size:
        file.seek(storage.start)
        for left in range(0 if storage in summed else storage.member.size, 0, -_HEAD):
            fill(memoryview(bytearray(min(left, _HEAD))))
        summed.add(storage)
        fill = reader(file, where)
    file.seek(info.start)
    return fill


@dataclass(frozen=True, slots=True)
class _Name:
    """A global name that may occur: ``what`` is how `_Machine` treats it."""

    what: str
    value: str = ""


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: str
    start: int
    count: int
    member: Member


_MARK = object()
_NAMES = {
    ("collections", "OrderedDict"): _Name("dict"),
    ("torch._utils", "_rebuild_tensor_v2"): _Name("tensor"),
    ("torch._utils", "_rebuild_parameter"): _Name("parameter"),
    ("torch", "Size"): _Name("same"),
    ("torch", "device"): _Name("text"),
    **{("torch", key): _Name("storage", dtype) for key, dtype in _STORAGES.items()},
    **{("torch", key): _Name("dtype", key) for key in _DTYPES},
}
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT",
    "LONG", "BINFLOAT", "FLOAT",
}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The stack machine of pickle, as far as files of tensors need it."""

    def __init__(self, archive: ZipSource, prefix: str) -> None:
        self.archive, self.prefix, self.where = archive, prefix, archive.where
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, raw: bytes) -> Any:
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(raw)):
                if count > MAX_INSTRUCTIONS:
                    raise FormatError(f"data.pkl has more than {MAX_INSTRUCTIONS:,} instructions.", where=self.where)
                if opcode.name == "STOP":
                    return self.stack.pop()
                self._step(opcode.name, argument)
        except FormatError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, struct.error) as error:
            raise FormatError(f"data.pkl is damaged ({error}).", where=self.where, hint=_DAMAGED) from error
        raise FormatError("data.pkl ends early.", where=self.where, hint=_DAMAGED)

    def _step(self, op: str, argument: Any) -> None:
        stack = self.stack
        if op in _LITERALS:
            stack.append(argument)
        elif op in _CONSTANTS:
            stack.append(_CONSTANTS[op])
        elif op in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            self.memo[len(self.memo) if op == "MEMOIZE" else argument] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif op in _TUPLES:
            self._collect(_TUPLES[op])
        elif op == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif op in ("EMPTY_DICT", "EMPTY_LIST"):
            stack.append({} if op == "EMPTY_DICT" else [])
        elif op in ("MARK", "PROTO", "FRAME"):
            stack.extend([_MARK] if op == "MARK" else [])
        elif op in ("SETITEM", "SETITEMS"):
            self._set_items([stack.pop(-2), stack.pop()] if op == "SETITEM" else self._since_mark())
        elif op in ("APPEND", "APPENDS"):
            items = [stack.pop()] if op == "APPEND" else self._since_mark()
            self._top(list).extend(items)
        elif op == "GLOBAL":
            self._name(*argument.split(" ", 1))
        elif op == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            self._name(module, name)
        elif op == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif op == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._call(function, arguments))
        elif op == "BUILD":  # attributes of an OrderedDict: state_dict() keeps version numbers there
            if not isinstance(stack.pop(), dict):
                raise self._unsafe("an object with a state")
            self._top(dict)
        else:
            raise self._unsafe(f"the instruction {op}")

    def _unsafe(self, what: str) -> FormatError:
        return FormatError(f"The file holds {what[:100]}.", where=self.where, hint=_UNSAFE)

    def _collect(self, count: int) -> None:
        items = self.stack[len(self.stack) - count :] if count else []
        if len(items) != count:
            raise IndexError("too few values")
        del self.stack[len(self.stack) - count :]
        self.stack.append(tuple(items))

    def _since_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise self._unsafe("an object that is neither a dict nor a list")
        return self.stack[-1]

    def _set_items(self, items: list[Any]) -> None:
        target = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):
                raise self._unsafe("a dict with keys that are neither texts nor numbers")
            target[key] = value

    def _name(self, module: Any, name: Any) -> None:
        known = _NAMES.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if known is None:
            raise self._unsafe(f"{module}.{name}, which is code and is not run")
        self.stack.append(known.value if known.what == "dtype" else known)

    def _call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise self._unsafe("a call")
        if function.what == "dict" and len(arguments) <= 1:
            return {str(key): value for key, value in (arguments[0] if arguments else ())}
        if function.what == "tensor":
            return self._tensor(*arguments[:4])
        if function.what == "parameter" and isinstance(arguments[0], PickledTensor):
            return arguments[0]
        if function.what == "same" and isinstance(arguments[0], tuple):
            return arguments[0]
        if function.what == "text":
            return ":".join(str(part) for part in arguments if isinstance(part, str | int))
        raise self._unsafe(f"a call of {function.what}")

    def _storage(self, claim: Any) -> _Storage:
        kind, name, key, _, count = claim
        if kind != "storage" or not isinstance(name, _Name) or name.what != "storage" or not isinstance(key, str):
            raise self._unsafe("a reference that is not a tensor's storage")
        member = self.archive.members.get(f"{self.prefix}data/{key}")
        where = f"{self.where}: data/{key[:40]}"
        if member is None or member.deflated:
            raise FormatError("The storage of a tensor is missing or packed.", where=where, hint=_DAMAGED)
        needed = count * TensorInfo(name.value, ()).torch_dtype.itemsize
        if type(count) is not int or not 0 <= needed <= member.size:
            raise FormatError(
                f"A storage of {needed:,} bytes is claimed; {member.size:,} are there.", where=where, hint=_DAMAGED
            )
        return _Storage(name.value, self.archive.data_start(member), count, member)

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> PickledTensor:
        numbers = (offset, *size, *stride)
        if not isinstance(storage, _Storage) or len(size) != len(stride) or len(size) > 8:
            raise self._unsafe("a tensor without a storage")
        if not all(type(n) is int and 0 <= n < 1 << 48 for n in numbers):
            raise ValueError("a size that is not a whole number")
        shape = tuple(size)
        transposed = len(shape) == 2 and stride != _strides(shape) and tuple(stride[::-1]) == _strides(shape[::-1])
        info = TensorInfo(storage.dtype, shape[::-1] if transposed else shape)
        itemsize = info.torch_dtype.itemsize
        if not transposed and not _contiguous(shape, tuple(stride)):
            raise FormatError(
                f"A tensor of shape {list(shape)} has the strides {list(stride)}: a part of another one.",
                where=self.where, hint="Save it with .contiguous().",
            )
        if offset + info.nbytes // itemsize > storage.count:
            raise FormatError(
                f"Shape {list(shape)} of {info.dtype} needs {info.nbytes:,}; {storage.count * itemsize:,} are there.",
                where=self.where, hint=_DAMAGED,
            )
        info = TensorInfo(info.dtype, info.shape, storage.start + offset * itemsize)
        return PickledTensor(info, transposed, storage)


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def _contiguous(shape: tuple[int, ...], stride: tuple[int, ...]) -> bool:
    """Whether the elements lie in order; the stride of a dimension of one element does not matter."""
    return all(n == 1 or a == b for n, a, b in zip(shape, stride, _strides(shape), strict=True))


def _bound(value: Any, where: str) -> None:
    """Refuse what contains itself, is nested deeply, or would be huge if written out (containers may be shared)."""
    known: dict[int, tuple[int, int]] = {}

    def measure(item: Any, depth: int) -> tuple[int, int]:
        """Values and characters in `item`, and how deeply it is nested."""
        if isinstance(item, str):
            return 1 + len(item), 0
        if isinstance(item, int) and item.bit_length() > 64:
            raise FormatError("It holds a number of more than 64 bits.", where=where, hint=_DAMAGED)
        if not isinstance(item, dict | list | tuple):
            return 1, 0
        if id(item) not in known:
            children = [*item.keys(), *item.values()] if isinstance(item, dict) else item
            found = [(1, 0)] if depth > MAX_DEPTH else [measure(child, depth + 1) for child in children]
            size, height = 1 + sum(n for n, _ in found), 1 + max((h for _, h in found), default=0)
            if depth > MAX_DEPTH or height > MAX_DEPTH or size > MAX_SIZE:
                raise FormatError(
                    f"It is nested deeper than {MAX_DEPTH} levels or holds over {MAX_SIZE:,} values and characters.",
                    where=where, hint=_DAMAGED,
                )
            known[id(item)] = size, height
        return known[id(item)]

    measure(value, 0)


_NOT_PLAIN = (PickledTensor, _Name, _Storage)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            str(key): _plain(item) for key, item in value.items() if not isinstance(item, _NOT_PLAIN)
        }
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value if not isinstance(item, _NOT_PLAIN)]
    return value
