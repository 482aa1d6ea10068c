"""Matrices of an SAE of the library, a block of rows at a time: statistics and comparisons need no more in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats import detect_format, load_sae
from saewidgets.formats.header import FLOATS, Header, read_header

if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK_BYTES = 16 * 1024**2
WEIGHTS_FILE = "sae_weights.safetensors"


class Weights:
    """The tensors of one SAE by SAELens' names.

    Read from the file where they are stored like that; those in other formats are loaded whole.
    """

    def __init__(self, header: Header | None, file: BinaryIO | None, loaded: Mapping[str, Tensor]) -> None:
        self._header, self._file, self._loaded = header, file, loaded

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a tensor; None if this SAE has none of that name."""
        if self._header is None:
            return tuple(self._loaded[name].shape) if name in self._loaded else None
        info = self._header.tensors.get(name)
        return info.shape if info is not None and info.dtype in FLOATS else None

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of a matrix, or that part of a vector, in float32."""
        if self._header is None or self._file is None:
            return self._loaded[name][start:stop].float()
        info = self._header.tensors[name]
        width = info.nbytes // info.shape[0]  # bytes per row
        self._file.seek(info.start + start * width)
        raw = bytearray(self._file.read((stop - start) * width))
        if len(raw) != (stop - start) * width:
            raise FormatError(
                "The file ended early.", where=f"{self._header.where}: {name}", hint="Download or add the SAE again."
            )
        return torch.frombuffer(raw, dtype=info.torch_dtype).reshape(stop - start, *info.shape[1:]).float()

    def blocks(self, name: str, size: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """All rows: the number of the first one, and the block."""
        shape = self.shape(name)
        if shape is None:
            return
        size = size or max(1, BLOCK_BYTES // (4 * max(1, shape[1] if len(shape) > 1 else 1)))
        for start in range(0, shape[0], size):
            yield start, self.rows(name, start, min(shape[0], start + size))

    def vector(self, name: str) -> Tensor | None:
        """A whole vector in float32; None if this SAE has none of that name."""
        shape = self.shape(name)
        return None if shape is None or len(shape) != 1 else self.rows(name, 0, shape[0])


@contextmanager
def open_weights(folder: Path) -> Iterator[Weights]:
    """The weights of the SAE in `folder`.

    Raises:
        FormatError: the files are damaged.
    """
    if detect_format(folder) != "saelens":
        state: dict[str, Any] = load_sae(folder).state_dict()
        yield Weights(None, None, state)
        return
    path = folder / WEIGHTS_FILE
    header = read_header(path)
    try:
        with path.open("rb") as file:
            yield Weights(header, file, {})
    except OSError as error:
        raise FormatError(f"The file cannot be read ({error.strerror}).", where=str(path)) from error
