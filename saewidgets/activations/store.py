"""A store of activations, opened to be read.

Rows are read with plain reads into memory that is there already, not through a memory map: a file that somebody cuts
off while a run reads it ends in an error that names it, where a map would end the process. `StoredActivations.rows` is
a memory map for looking around.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saewidgets.activations.packed import EVERY_TOKEN
from saewidgets.activations.shuffle import Numbers
from saewidgets.activations.store_layout import SPECIAL, TOKENS, Columns, StoreFacts, read_facts, shard_name
from saewidgets.durable import sha256_of
from saewidgets.errors import ConfigError, FormatError, NotFoundError
from saewidgets.lm.token_mask import Kept

Check = Callable[[], None]

_AGAIN = "Restore the file, or capture the activations again."
_OPEN = 32  # files of one reader that stay open
_WHOLE_ROWS = 8192  # rows of which the columns of one head are copied at once
_COUNTED = 4096  # contexts whose special tokens are counted at once


class StoredActivations:
    """A whole store.

    Args:
        folder: where it is.

    Attributes:
        folder, facts: where it is, and what `store.json` says.

    Raises:
        NotFoundError: it is not there, or one of its files is missing.
        FormatError: it is incomplete or damaged, or a file has another size than was written.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.facts: StoreFacts = read_facts(self.folder)
        for name, file in self.facts.files.items():
            try:
                size = (self.folder / name).stat().st_size
            except OSError as error:
                raise _unreadable(self.folder / name, error) from error
            if size != file["size"]:
                raise _changed(self.folder / name, f"The file has {size:,} bytes, {file['size']:,} were written.")
        self._special = self._marks() if self.facts.tokens is not None else None

    @property
    def fingerprint(self) -> str:
        """Changes with every bit of the store."""
        return self.facts.fingerprint

    def columns(self, hook_name: str, where: str = "hook_name") -> Columns:
        """Where the rows of a hook point are; one head of a stored ``attn.hook_z`` is one, too.

        Raises:
            ConfigError: the store does not have it; with this `where`.
        """
        if (found := self.facts.columns(hook_name)) is None:
            raise ConfigError(
                f"This store does not hold {hook_name}.", where=where,
                hint=f"It holds {', '.join(self.facts.hooks)}.",
            )
        return found

    def width(self, hook_name: str, where: str = "hook_name") -> int:
        """Numbers per row at a hook point. Raises what `columns` raises."""
        return self.columns(hook_name, where).width

    def verify(self, check: Check | None = None, on_file: Callable[[int], None] | None = None) -> None:
        """Compare every file with its recorded SHA-256. `on_file` is told the bytes compared so far.

        Raises:
            FormatError: one was changed after it was written.
        """
        done = 0
        for name, file in self.facts.files.items():
            if check is not None:
                check()
            try:
                found = sha256_of(self.folder / name)
            except OSError as error:
                raise _unreadable(self.folder / name, error) from error
            if found != file["sha256"]:
                raise _changed(self.folder / name, "The file was changed after it was written.")
            done += int(file["size"])
            if on_file is not None:
                on_file(done)

    def contexts(self, numbers: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Token ids of some contexts, ``[n, context_size]``.

        Raises:
            ConfigError: the store holds no tokens.
        """
        dtype = self.facts.tokens
        if dtype is None:
            raise ConfigError(
                "This store holds imported states without their tokens.", where="corpus",
                hint="Capture the activations with ws.activations.capture to have tokens, too.",
            )
        wanted = np.asarray(numbers, dtype=np.int64)
        found = np.empty((len(wanted), self.facts.context_size), dtype=np.dtype(dtype))
        path = self.folder / TOKENS
        try:
            with path.open("rb") as file:
                for row, number in zip(found, wanted.tolist(), strict=True):
                    file.seek(number * row.nbytes)
                    if file.readinto(row.view(np.uint8)) != row.nbytes:
                        raise _changed(path, "The file ended early: it was cut off while it was read.")
        except OSError as error:
            raise _unreadable(path, error) from error
        return found.astype(np.int64)

    def kept(self, contexts: Numbers, rule: Kept = EVERY_TOKEN) -> npt.NDArray[np.bool_]:
        """Which rows of these contexts count, ``[n, context_size]``: none behind the end of a short last block.

        Raises:
            ConfigError: ids of tokens are left out, and the store holds none.
        """
        shape = len(contexts), self.facts.context_size
        special = None
        if rule.exclude_special and self._special is not None:
            special = np.unpackbits(self._special[contexts], axis=1, count=self.facts.context_size) != 0
        tokens = self.contexts(contexts) if rule.exclude_ids else np.zeros(shape, dtype=np.int64)
        kept = rule.mask(tokens, special)
        missing = self.facts.n_contexts * self.facts.context_size - self.facts.n_rows
        if missing:
            kept[contexts == self.facts.n_contexts - 1, -missing:] = False
        return kept

    def kept_counts(self, contexts: Numbers, rule: Kept = EVERY_TOKEN) -> Numbers:
        """Kept rows of each context, ``[n]``."""
        counts = np.empty(len(contexts), dtype=np.int64)
        for start in range(0, len(contexts), _COUNTED):
            part = contexts[start : start + _COUNTED]
            counts[start : start + _COUNTED] = self.kept(part, rule).sum(axis=1)
        return counts

    def row_numbers(self, contexts: Numbers, rule: Kept = EVERY_TOKEN) -> Numbers:
        """Numbers of the kept rows of these contexts, one context after the other."""
        size = self.facts.context_size
        numbers = contexts[:, None] * size + np.arange(size, dtype=np.int64)
        return np.asarray(numbers[self.kept(contexts, rule)])

    def rows(self, hook_name: str, shard: int = 0) -> npt.NDArray[Any]:
        """One file of a hook point as a read-only memory map, ``[rows, width]``; of one head a view of its columns.

        bfloat16, which numpy does not have, comes as the ``uint16`` of its bits.
        """
        at = self.columns(hook_name)
        dtype = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}[self.facts.dtype]
        mapped: npt.NDArray[Any] = np.memmap(
            self.folder / shard_name(at.files, shard), dtype=np.dtype(dtype), mode="r"
        ).reshape(-1, at.row)
        return mapped[:, at.first : at.first + at.width]

    def reader(self, hook_name: str) -> RowReader:
        """Reads rows of one hook point; for one thread."""
        return RowReader(self, hook_name)

    def parts(
        self, hook_names: Sequence[str], numbers: Iterable[Numbers], device: torch.device | str = "cpu",
        check: Check | None = None,
    ) -> Iterator[tuple[Tensor, ...]]:
        """Rows of several hook points, part by part.

        Args:
            hook_names: which activations.
            numbers: of the rows of each part.
            device: where they go.
            check: called before each part; what it raises ends the iteration.

        Yields:
            for each part one ``[n, width]`` float32 per hook point, of the same rows.

        Raises:
            ConfigError: the store does not hold a hook point.
            NotFoundError, FormatError: files went away or were cut off.
        """
        with ExitStack() as stack:
            readers = [stack.enter_context(self.reader(name)) for name in hook_names]
            for part in numbers:
                if check is not None:
                    check()
                yield tuple(reader.floats(part, device) for reader in readers)

    def evaluation_contexts(self, validation: Numbers, train: Numbers, n_tokens: int) -> Numbers:
        """Numbers of contexts with about `n_tokens` tokens, from all over the held-out ones: the same for every run."""
        pool = validation if len(validation) else train
        count = min(len(pool), max(1, -(-n_tokens // self.facts.context_size)))
        return pool[np.sort(np.random.default_rng(0).permutation(len(pool))[:count])]

    def _marks(self) -> npt.NDArray[np.uint8]:
        """Which tokens are special, eight in a byte, ``[n_contexts, …]``: in memory, whatever becomes of the file."""
        size, path = self.facts.context_size, self.folder / SPECIAL
        found = np.empty((self.facts.n_contexts, -(-size // 8)), dtype=np.uint8)
        with path.open("rb") as file:
            for start in range(0, len(found), _COUNTED):
                part = found[start : start + _COUNTED]
                raw = np.frombuffer(file.read(len(part) * size), dtype=np.uint8)
                if len(raw) != len(part) * size:
                    raise _changed(path, "The file ended early: it was cut off while it was read.")
                part[:] = np.packbits(raw.reshape(len(part), size) != 0, axis=1)
        return found

    def __repr__(self) -> str:
        facts = self.facts
        parts = (self.folder.name, ", ".join(facts.hooks), f"{facts.n_rows:,} rows", facts.dtype)
        return f"<StoredActivations {' · '.join(parts)}>"


class RowReader:
    """Copies rows of one hook point into tensors. Use it as a context manager, or `close` it.

    Of one head whole rows are read, and its columns are copied from them.
    """

    def __init__(self, store: StoredActivations, hook_name: str) -> None:
        self._store, self.hook_name = store, hook_name
        self._at = store.columns(hook_name)
        self.width = self._at.width
        self.dtype = store.facts.torch_dtype
        self._row_bytes = self._at.row * self.dtype.itemsize
        self._files: OrderedDict[int, FileIO] = OrderedDict()

    def read(self, numbers: Numbers, target: Tensor) -> None:
        """Copy the rows of these numbers into the start of `target` ``[n, width]``, of the store's number format.

        Rows that follow each other in the file are read at once.

        Raises:
            FormatError: a file ended early.
            NotFoundError: a file is gone.
        """
        if self._at.width == self._at.row:
            self._read(numbers, target)
            return
        rows = torch.empty(min(len(numbers), _WHOLE_ROWS), self._at.row, dtype=self.dtype)
        for start in range(0, len(numbers), _WHOLE_ROWS):
            part = numbers[start : start + _WHOLE_ROWS]
            self._read(part, rows)
            target[start : start + len(part)] = rows[: len(part), self._at.first : self._at.first + self._at.width]

    def _read(self, numbers: Numbers, target: Tensor) -> None:
        """Whole rows."""
        if not len(numbers):
            return
        raw = memoryview(target[: len(numbers)].view(torch.uint8).numpy()).cast("B")  # type: ignore[arg-type]
        per_shard = self._store.facts.rows_per_shard
        # A run ends where the next number does not follow, or is in another file.
        ends = np.flatnonzero((np.diff(numbers) != 1) | (np.diff(numbers // per_shard) != 0)) + 1
        starts = np.concatenate([[0], ends])
        stops = np.concatenate([ends, [len(numbers)]])
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            shard, row = divmod(int(numbers[start]), per_shard)
            self._fill(shard, row, raw[start * self._row_bytes : stop * self._row_bytes])

    def floats(self, numbers: Numbers, device: torch.device | str = "cpu") -> Tensor:
        """The rows of these numbers, ``[n, width]`` float32 on a device. Raises what `read` raises."""
        target = torch.empty(len(numbers), self.width, dtype=self.dtype)
        self.read(numbers, target)
        return target.to(device).float()

    def _fill(self, shard: int, row: int, target: memoryview) -> None:
        path = self._store.folder / shard_name(self._at.files, shard)
        try:
            file = self._file(shard, path)
            file.seek(row * self._row_bytes)
            done = 0
            while done < len(target):
                count = file.readinto(target[done:])
                if not count:
                    raise _changed(path, "The file ended early: it was cut off while it was read.")
                done += count
        except OSError as error:
            raise _unreadable(path, error) from error

    def _file(self, shard: int, path: Path) -> FileIO:
        if shard not in self._files:
            self._files[shard] = FileIO(path, "rb")
            while len(self._files) > _OPEN:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(shard)
        return self._files[shard]

    def close(self) -> None:
        """Close its files."""
        while self._files:
            self._files.popitem()[1].close()

    def __enter__(self) -> RowReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def batched(numbers: Numbers, size: int) -> Iterator[Numbers]:
    """`numbers` in parts of at most `size`."""
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _changed(path: Path, what: str) -> FormatError:
    return FormatError(what, where=str(path), hint=_AGAIN)


def _unreadable(path: Path, error: OSError) -> NotFoundError | FormatError:
    if isinstance(error, FileNotFoundError):
        return NotFoundError("A file of this store is missing.", where=str(path), hint=_AGAIN)
    return FormatError(f"The file cannot be read ({error.strerror}).", where=str(path), hint=_AGAIN)


