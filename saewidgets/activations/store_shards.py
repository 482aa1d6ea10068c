"""The files that the rows of one hook point of a store lie in, while they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from saewidgets.activations.store_layout import shard_name
from saewidgets.durable import sync

_CHUNK = 1 << 24  # bytes hashed at once of what was written before


class ShardWriter:
    """Appends rows to the files of one hook point. Used by one thread at a time.

    Args:
        folder: of the store.
        hook_name: whose rows.
        rows: that are there already.
        per_shard: rows in a file.
        on_full: told the name, size and SHA-256 of a file that has all its rows.
    """

    def __init__(
        self, folder: Path, hook_name: str, rows: int, per_shard: int, on_full: Callable[[str, dict[str, Any]], None]
    ) -> None:
        self._folder, self._name, self._per_shard, self._on_full = folder, hook_name, per_shard, on_full
        self._number, self._rows = divmod(rows, per_shard)
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        (folder / hook_name).mkdir(exist_ok=True)
        if self._rows:
            self._open("ab")
            with self._path.open("rb") as file:
                while block := file.read(_CHUNK):
                    self._hash.update(block)

    @property
    def _path(self) -> Path:
        return self._folder / shard_name(self._name, self._number)

    def _open(self, mode: str = "wb") -> BinaryIO:
        if self._file is None:
            self._file = self._path.open(mode, buffering=0)  # type: ignore[assignment]
        assert self._file is not None
        return self._file

    def append(self, rows: Tensor) -> None:
        """Write rows ``[n, width]``, over as many files as they fill. Raises `OSError`."""
        raw = rows.contiguous().view(torch.uint8).numpy()
        while len(raw):
            part = raw[: self._per_shard - self._rows]
            data, file = memoryview(part).cast("B"), self._open()  # type: ignore[arg-type]
            self._hash.update(data)
            while len(data):
                data = data[file.write(data) :]
            self._rows += len(part)
            raw = raw[len(part) :]
            if self._rows == self._per_shard:
                self.close()

    def close(self) -> None:
        """The file at hand is full, or the last one."""
        if self._file is None:
            return
        self.flush()
        size = self._file.tell()
        self._file.close()
        name = shard_name(self._name, self._number)
        self._on_full(name, {"size": size, "sha256": self._hash.hexdigest()})
        self._file, self._hash, self._rows, self._number = None, hashlib.sha256(), 0, self._number + 1

    def flush(self) -> None:
        """What was written is on the disk."""
        if self._file is not None:
            sync(self._path)

    def abandon(self) -> None:
        """Close the file as it is."""
        if self._file is not None:
            self._file.close()
            self._file = None


def has_size(path: Path, size: int) -> bool:
    """Whether it is a file of so many bytes."""
    return path.is_file() and path.stat().st_size == size


def cut(path: Path, size: int) -> bool:
    """Cut a file off at `size` bytes; False if it has fewer. One of no bytes is removed."""
    there = path.stat().st_size if path.is_file() else 0
    if there < size:
        return False
    if not size:
        path.unlink(missing_ok=True)
    elif there > size:
        with path.open("rb+") as file:
            file.truncate(size)
    return True
