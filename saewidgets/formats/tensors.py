"""Tensors from bytes in a file: read straight into their own memory, checked for NaN on the way.

Nothing is memory-mapped: a mapped file that somebody truncates later would end the kernel. Reading block by block costs
what reading the bytes costs, since every block is checked while it is still in the processor's cache.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats.header import Header, TensorInfo

_BLOCK = 1 << 20
_INFINITY = {torch.float16: 0x7C00, torch.bfloat16: 0x7F80}
_CHANGED = "The file was cut off or altered; download or export it again."


def read_tensors(
    path: Path, header: Header, names: Iterable[str] | None = None, *, device: torch.device | None = None,
    dtype: torch.dtype | None = None, infinite: frozenset[str] = frozenset(), checked: bool = True,
) -> dict[str, Tensor]:
    """The tensors that `header` declares in the file `path`, each in its own memory.

    Args:
        path: the file; must be the one the header was read from.
        header: with checked shapes: this allocates what it says.
        names: which ones; None means all.
        device: where they go; None means the CPU.
        dtype: what floats become; None keeps what is stored. No second copy of a tensor is ever held.
        infinite: names whose values may be infinite.
        checked: False takes any values.

    Raises:
        FormatError: the file ended early or cannot be read, or a value is NaN or infinite.
    """
    found: dict[str, Tensor] = {}
    try:
        with path.open("rb", buffering=0) as file:
            for name in header.tensors if names is None else names:
                info = header.tensors[name]
                file.seek(info.start)
                read = reader(file, f"{header.where}: {name}")
                tensor = read_tensor(info, read, f"{header.where}: {name}", dtype, name in infinite, checked)
                found[name] = tensor if device is None else tensor.to(device)
    except OSError as error:
        raise FormatError(f"The file cannot be read ({error.strerror or error}).", where=str(path)) from error
    return found


def reader(file: BinaryIO | io.RawIOBase, where: str) -> Callable[[memoryview], None]:
    """A function that fills a buffer from `file` completely, or raises `FormatError`."""

    def fill(buffer: memoryview) -> None:
        while buffer:
            n = file.readinto(buffer)  # type: ignore[union-attr]
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
    result = allocate(info.shape, wanted, where)
    flat = result.view(-1)
    step = max(1, _BLOCK // stored.itemsize)
    scratch = None if wanted == stored else torch.empty(min(step, flat.numel()), dtype=stored)
    for start in range(0, flat.numel(), step):
        target = flat[start : start + step]
        block = target if scratch is None else scratch[: target.numel()]
        fill(block.view(torch.uint8).numpy().data)
        if scratch is not None:
            target.copy_(block)
        if checked:
            check_block(target, where, infinite)
    return result


def allocate(shape: tuple[int, ...], dtype: torch.dtype, where: str) -> Tensor:
    """An uninitialised tensor. Raises `FormatError` where it is larger than this machine's memory.

    A file may be as long as it likes without taking space on the disk, so that its size proves nothing.
    """
    size = math.prod(shape) * dtype.itemsize
    memory = _memory()
    if memory is not None and size > memory:
        raise FormatError(
            f"The tensor takes {size / 1e9:,.0f} GB; this machine has {memory / 1e9:,.0f} GB of memory.", where=where,
            hint="Load it on a larger machine.",
        )
    try:
        return torch.empty(shape, dtype=dtype)
    except (RuntimeError, MemoryError) as error:
        raise FormatError(
            f"There is no memory for a tensor of {size / 1e9:,.1f} GB.", where=where,
            hint="Free memory, or load the SAE in a shorter number format.",
        ) from error


def _memory() -> int | None:
    """Bytes of memory of this machine; None where it does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def check_block(block: Tensor, where: str, infinite: bool = False) -> None:
    """Raise `FormatError` if a value is NaN or (unless `infinite`) infinite.

    A sum is finite only if all its terms are, and costs one pass; only an overflow needs the second look. Short floats
    are quicker to judge by their bits: infinity is the largest number without its sign, NaN is above. On the processor
    numpy does it, in one thread: blocks are small, and torch's threads wait for each other longer than they work
    wherever other programs run.
    """
    if not block.is_floating_point() or block.numel() == 0:
        return
    here = block.device.type == "cpu" and block.is_contiguous()
    if here and block.dtype in _INFINITY:
        bits = block.detach().view(torch.int16).numpy()
        if (bits & 0x7FFF).max() < _INFINITY[block.dtype]:
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
