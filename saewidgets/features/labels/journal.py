"""Labels as they come, one JSON line each: what was paid for survives a crash."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from saewidgets.errors import ConfigError, FormatError, StorageError
from saewidgets.features.labels.label import Label

MAX_LINE = 4_000_000  # bytes


class Journal:
    """A JSONL file of labels that is only appended to.

    A line that a crash cut off is dropped when the next one is written; any other damage is an error, since dropping it
    would mean to pay again without a word. `add` may be called from any thread.

    Args:
        path: the file; made with its folder when the first label comes.

    Raises:
        StorageError: it is no file, or cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        if self.path.exists() and not self.path.is_file():
            raise StorageError("The journal is not a file.", where=str(self.path), hint="Choose another name.")

    def __repr__(self) -> str:
        return f"Journal({self.path.name!r})"

    def labels(self) -> list[Label]:
        """All labels in it, in the order in which they came. A file that is not there has none.

        Raises:
            FormatError: a line is damaged; it is named.
        """
        return list(self._read())

    def _read(self) -> Iterator[Label]:
        try:
            with self.path.open("rb") as file:
                number = 0
                while line := file.readline(MAX_LINE + 1):
                    number += 1
                    if not line.endswith(b"\n"):
                        if len(line) > MAX_LINE:
                            raise FormatError("The line is too long.", where=f"{self.path.name}, line {number}")
                        return  # cut off
                    yield self._label(line, number)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError(f"The journal cannot be read ({error.strerror}).", where=str(self.path)) from error

    def _label(self, line: bytes, number: int) -> Label:
        where = f"{self.path.name}, line {number}"
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise FormatError(
                f"This is not JSON ({error}).", where=where, hint="Remove the line; its label is made again."
            ) from error
        if not isinstance(data, dict):
            raise FormatError("This is not an object.", where=where, hint="Remove the line.")
        try:
            return Label.from_data(data)
        except ConfigError as error:
            raise FormatError(error.what, where=f"{where}, {error.where}", hint="Remove the line.") from error

    def add(self, label: Label) -> None:
        """Write one label to the disk.

        Raises:
            StorageError: the disk is full or not writable.
        """
        line = json.dumps(label.to_data(), ensure_ascii=True).encode() + b"\n"
        try:
            with self._lock:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("a+b") as file:
                    self._drop_cut_line(file.fileno())
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"A label cannot be written ({error.strerror}).", where=str(self.path),
                hint="Free some space, or choose another place.",
            ) from error

    @staticmethod
    def _drop_cut_line(handle: int) -> None:
        size = os.fstat(handle).st_size
        end, block = size, 1 << 16
        while end > 0:
            start = max(0, end - block)
            os.lseek(handle, start, os.SEEK_SET)
            last = os.read(handle, end - start).rfind(b"\n")
            if last >= 0:
                end = start + last + 1
                break
            end = start
        if end < size:
            os.ftruncate(handle, end)
