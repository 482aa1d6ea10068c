"""Tensors from bytes in a file: read straight into their own memory, checked for NaN on the way.

Nothing is memory-mapped: a mapped file that somebody truncates later would end the kernel. Reading block by block costs
what reading the bytes costs, since every block is checked while it is still in the processor's cache.
"""

from __future__ import annotations

import math
import mmap
import sys
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saewidgets.errors import FormatError, SAEWidgetsError
from saewidgets.formats.header import Header, TensorInfo
from saewidgets.formats.zips import opened
from saewidgets.settings import machine_memory

_BLOCK = 1 << 18  # what the second cache of a processor holds beside other things
_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of Linux 5.14; Python's mmap has no name for it
# Of a block that is turned: rows enough to fill lines of the cache at once, and bytes not far above the cache.
_ROWS, _TURNED_BLOCK = 256, 1 << 22
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_INFINITY = {torch.float16: 0x7C00, torch.bfloat16: 0x7F80}
_CHANGED = "The file was cut off or altered; download or export it again."


def read_tensors(
    path: Path, header: Header, names: Mapping[str, str] | Iterable[str] | None = None, *,
    transposed: Collection[str] = (), device: torch.device | None = None, dtype: torch.dtype | None = None,
    infinite: frozenset[str] = frozenset(), checked: bool = True,
) -> dict[str, Tensor]:
    """The tensors that `header` declares in the file `path`, each in its own memory.

    Args:
        path: the file; must be the one the header was read from.
        header: with checked shapes: this allocates what it says.
        names: which ones, or what they are to be called → what the file calls them; None means all.
        transposed: of these names, matrices that are to be turned.
        device: where they go; None means the CPU.
        dtype: what floats become; None keeps what is stored. No second copy of a tensor is ever held.
        infinite: names whose values may be infinite.
        checked: False takes any values.

    Raises:
        FormatError: a tensor is missing, the file ended early or cannot be read, its checksum differs, or a value is
            NaN or infinite.
    """
    found: dict[str, Tensor] = {}
    wanted = names if isinstance(names, Mapping) else {name: name for name in names or header.tensors}
    try:
        with path.open("rb", buffering=0) as file:
            for name, stored in wanted.items():
                where = f"{header.where}: {stored}"
                if (info := header.tensors.get(stored)) is None:
                    raise FormatError("The tensor is missing.", where=where, hint=_CHANGED)
                turned = (name in transposed) != info.turned
                if info.turned:  # from here on, as it lies in the file
                    info = replace(info, shape=info.shape[::-1])
                with _at(file, info, where) as source:
                    if turned and len(info.shape) == 2:
                        tensor = _read_transposed(info, reader(source, where), where)
                        tensor = tensor if dtype is None else tensor.to(dtype)
                    else:
                        tensor = read_tensor(info, reader(source, where), where, dtype, name in infinite, checked)
                if turned and tensor.dim() != 2:
                    tensor = tensor.permute(*reversed(range(tensor.dim()))).contiguous()
                found[name] = tensor if device is None else tensor.to(device)
    except OSError as error:
        if isinstance(error, SAEWidgetsError):
            raise
        raise FormatError(f"The file cannot be read ({error.strerror or error}).", where=str(path)) from error
    return found


@contextmanager
def _at(file: Any, info: TensorInfo, where: str) -> Iterator[Any]:
    """What reads `info` from its first byte on; of an archive, whose checksum is compared when it was read."""
    if info.member is None:
        file.seek(info.start)
        yield file
        return
    member, start = info.member
    try:
        source = opened(file, member, start)
        source.seek(info.start - start)
        yield source
        while source.read(_BLOCK):  # the checksum is of the whole member
            pass
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FormatError(f"Bytes are not those that were written ({error}).", where=where, hint=_CHANGED) from error


def reader(file: Any, where: str) -> Callable[[memoryview], None]:
    """A function that fills a buffer from `file` completely, or raises `FormatError`."""

    def fill(buffer: memoryview) -> None:
        while buffer:
            n = file.readinto(buffer[:_BLOCK])  # an archive's bytes pass through the cache on their way
            if not n:
                raise FormatError("The file ended early.", where=where, hint=_CHANGED)
            buffer = buffer[n:]

    return fill


def read_tensor(
    info: TensorInfo, fill: Callable[[memoryview], None], where: str, dtype: torch.dtype | None = None,
    infinite: bool = False, checked: bool = True,
) -> Tensor:
    """One tensor, filled by `fill` block after block; floats become `dtype`. See `read_tensors`."""
    stored = info.torch_dtype
    wanted = dtype if dtype is not None and stored.is_floating_point else stored
    result, touch = allocate(info.shape, wanted, where)
    flat = result.view(-1)
    step = max(1, _BLOCK // stored.itemsize)
    scratch = None if wanted == stored else torch.empty(min(step, flat.numel()), dtype=stored)
    for start in range(0, flat.numel(), step):
        target = flat[start : start + step]
        block = target if scratch is None else scratch[: target.numel()]
        touch(start * wanted.itemsize, target.numel() * wanted.itemsize)
        fill(block.view(torch.uint8).numpy().data)
        if scratch is not None:
            target.copy_(block)
        if checked:
            check_block(target, where, infinite)
    return result


def _read_transposed(info: TensorInfo, fill: Callable[[memoryview], None], where: str) -> Tensor:
    """The matrix that lies in the file with rows and columns swapped: a block of its rows at a time, so that it is
    never there twice and each block is turned while it is in the processor's cache. numpy turns it, in one thread:
    torch's threads would wait for each other longer than they work wherever other programs run."""
    rows, columns = info.shape
    result, touch = allocate((columns, rows), info.torch_dtype, where)
    touch(0, result.nbytes)
    bits = _BITS[info.torch_dtype.itemsize]  # numpy has no bfloat16, and turning takes no notice of what is turned
    turned = result.view(bits).numpy()
    step = max(1, min(_ROWS, _TURNED_BLOCK // (columns * info.torch_dtype.itemsize)))
    scratch = torch.empty(min(step, rows), columns, dtype=info.torch_dtype)
    for start in range(0, rows, step):
        block = scratch[: min(step, rows - start)]
        fill(block.view(-1).view(torch.uint8).numpy().data)
        check_block(block, where)
        np.copyto(turned[:, start : start + len(block)], block.view(bits).numpy().T)
    return result


def allocate(shape: tuple[int, ...], dtype: torch.dtype, where: str) -> tuple[Tensor, Callable[[int, int], None]]:
    """An uninitialised tensor, and a function that makes ready those bytes of it (start, how many) that are next.

    Memory that was never touched costs as much as reading a file into it; made ready by the block it costs less, and
    the block stays in the processor's cache. Raises `FormatError` where the tensor is larger than this machine's
    memory: a file may be as long as it likes without taking space on the disk, so that its size proves nothing.
    """
    size = math.prod(shape) * dtype.itemsize
    memory = machine_memory()
    if memory is not None and size > memory:
        raise FormatError(
            f"The tensor takes {size / 1e9:,.0f} GB; this machine has {memory / 1e9:,.0f} GB of memory.", where=where,
            hint="Load it on a larger machine.",
        )
    try:
        if sys.platform != "linux" or size < _BLOCK:
            return torch.empty(shape, dtype=dtype), _nothing
        room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return torch.frombuffer(room, dtype=dtype).view(shape), partial(_populate, room)
    except (RuntimeError, MemoryError, OSError) as error:
        raise FormatError(
            f"There is no memory for a tensor of {size / 1e9:,.1f} GB.", where=where,
            hint="Free memory, or load the SAE in a shorter number format.",
        ) from error


def _nothing(start: int, size: int) -> None:
    """Pages come as they are touched."""


def _populate(room: mmap.mmap, start: int, size: int) -> None:
    first = start - start % mmap.PAGESIZE
    with suppress(OSError):  # systems before Linux 5.14 cannot; pages then come as they are touched
        room.madvise(_POPULATE_WRITE, first, start + size - first)


def check_block(block: Tensor, where: str, infinite: bool = False) -> None:
    """Raise `FormatError` if a value is NaN or (unless `infinite`) infinite.

    A sum is finite only if all its terms are, and costs one pass; only an overflow needs the second look. Short floats
    are quicker to judge by their bits: infinity is the largest number without its sign, NaN is above; read as integers,
positive ones are the largest with a sign and negative ones the largest without. On the processor
    numpy does it, in one thread: blocks are small, and torch's threads wait for each other longer than they work
    wherever other programs run.
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


def check_writable(tensors: Mapping[str, Tensor]) -> None:
    """Raise `FormatError` naming the first tensor with NaN or infinity: what is written can be read again."""
    try:
        check_finite("weights", tensors)
    except FormatError as error:
        error.hint = "A training that diverged leaves such weights: save an earlier checkpoint. Nothing was written."
        raise


def nbytes(tensors: Iterable[Tensor]) -> int:
    """What they take in a file."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def check_finite(where: str, tensors: Mapping[str, Tensor], infinite: frozenset[str] = frozenset()) -> None:
    """Raise `FormatError` naming the first tensor with NaN or infinity. Holds no second copy."""
    for name, tensor in tensors.items():
        if tensor.is_contiguous():
            flat = tensor.view(-1)
            for start in range(0, flat.numel(), _BLOCK):
                check_block(flat[start : start + _BLOCK], f"{where}: {name}", name in infinite)
        else:
            check_block(tensor, f"{where}: {name}", name in infinite)
