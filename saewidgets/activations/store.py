"""Defines `StoredActivations`, a store of activations opened for reading, and its facts, `StoreFacts`.

Rows are read with plain reads into allocated memory, not through a memory map: a file that somebody cuts
off while a run reads it ends in an error that names it, where a map would end the process. `StoredActivations.rows` is
a memory map for looking around.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saewidgets.activations.packed import EVERY_TOKEN
from saewidgets.activations.prefetch import Check
from saewidgets.activations.row_format import DTYPES, SCALE, floats, row_bytes, row_length
from saewidgets.activations.shuffle import Numbers, counted, evaluated
from saewidgets.config.hook_names import head_of, without_head
from saewidgets.durable import read_sealed, sealed, sha256_of, write_json
from saewidgets.errors import ConfigError, FormatError, NotFoundError
from saewidgets.lm.tokens import TokenMask

# What a store of activations is on disk.
#
#     <folder>/store.json                     what it holds; there once everything is whole
#     <folder>/capture.json                   instead of it while it is being written: how far it is
#     <folder>/tokens.bin                     ids of the tokens, n_contexts × context_size, little endian
#     <folder>/special.bin                    one byte per token: 1 where it is a special one
#     <folder>/<hook_name>/00000.bin …        rows [n, width] of that hook point, little endian, without a header
#
# Row r of every hook point belongs to token r: position ``r % context_size`` of context ``r // context_size``. A
# store of imported hidden states has no tokens; its contexts are only blocks of rows that are read together, the last
# one maybe shorter. bfloat16 is stored as its 16 bits, int8 with a scale in front of every row (`row_format`).

FORMAT = 1
STORE, PROGRESS, TOKENS, SPECIAL = "store.json", "capture.json", "tokens.bin", "special.bin"
SHARD_BYTES = 1 << 28  # about; a shard holds whole contexts
TOKEN_DTYPES = ("<u2", "<u4")
HOOK_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.]{0,200}")
_COUNT = 1 << 53
_RECAPTURE = "Capture or import it again."


@dataclass(frozen=True, slots=True)
class StoredHook:
    """One hook point of a store."""

    width: int
    mean_norm: float  # of its rows, special tokens left out
    heads: int | None = None  # of ``attn.hook_z``: how many lie side by side in a row, where the model said so


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a store has the rows of a hook point: part of each row in the files of `files`."""

    files: str  # the hook name that the files are of
    row: int  # numbers per row of these
    first: int  # which of them: `width` from this one on
    width: int


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What `store.json` says."""

    source: Literal["captured", "imported"]  # captured from a model, or imported
    model: str | None  # the language model, as far as known
    model_revision: str | None
    model_class: str | None
    model_fingerprint: str | None
    model_dtype: str | None
    tokenizer: str | None
    tokenizer_fingerprint: str | None
    corpus: str  # label of the text
    corpus_fingerprint: str | None  # of text, tokenizer and packing
    context_size: int  # tokens per context; of imported states the rows of a block
    prepend_bos: bool | None  # contexts start with BOS; None where there are no tokens
    special_ids: tuple[int, ...]  # that `special.bin` marks
    tokens: str | None  # number format of `tokens.bin`; None where there is none
    dtype: str  # number format of the rows
    n_contexts: int
    n_rows: int  # of whole contexts, but for the last of imported states
    n_held_out: int  # so many contexts at the beginning were named as held out by the corpus
    n_special: int  # rows of special tokens
    rows_per_shard: int  # of every file of a hook point but the last
    hooks: Mapping[str, StoredHook]  # by hook name
    files: Mapping[str, Mapping[str, Any]]  # name → ``{"size": bytes, "sha256": …}``
    fingerprint: str = ""  # SHA-256 of all of the above

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def size_bytes(self) -> int:
        return sum(int(file["size"]) for file in self.files.values())

    def columns(self, hook_name: str) -> Columns | None:
        """Where the rows of a hook point are, also those of one head of a stored ``attn.hook_z``; None: nowhere."""
        if (hook := self.hooks.get(hook_name)) is not None:
            return Columns(hook_name, hook.width, 0, hook.width)
        whole, head = self.hooks.get(without_head(hook_name)), head_of(hook_name)
        if whole is None or whole.heads is None or head is None or head >= whole.heads:
            return None
        width = whole.width // whole.heads
        return Columns(without_head(hook_name), whole.width, head * width, width)

    def shards(self, hook_name: str) -> list[str]:
        return [shard_name(hook_name, number) for number in range(-(-self.n_rows // self.rows_per_shard))]


def shard_name(hook_name: str, number: int) -> str:
    """Name of a file of a hook point below the store's folder."""
    return f"{hook_name}/{number:05d}.bin"


def rows_per_shard(context_size: int, width: int, dtype: str, batch: int = 1) -> int:
    """Rows in one file: whole batches of so many contexts, about `SHARD_BYTES`."""
    together = context_size * batch
    return together * max(1, SHARD_BYTES // (together * row_bytes(width, dtype)))


def write_facts(folder: Path, facts: StoreFacts) -> StoreFacts:
    """Write `store.json`, whole or not at all; returns what it says."""
    data = {"format": FORMAT, **asdict(facts)}
    del data["fingerprint"]
    for hook in data["hooks"].values():
        if hook["heads"] is None:
            del hook["heads"]
    whole = sealed(data)
    write_json(folder / STORE, whole)
    return _facts(whole)


def read_facts(folder: Path) -> StoreFacts:
    """What `store.json` in `folder` says, checked: nothing it claims leads out of the folder."""
    if not (folder / STORE).is_file():
        if (folder / PROGRESS).is_file():
            raise FormatError(
                "This store is incomplete: its capture has not ended.", where=str(folder), hint="Resume the capture."
            )
        raise NotFoundError("There is no store of activations.", where=str(folder), hint=_RECAPTURE)
    data = read_sealed(folder / STORE)
    if data is None:
        raise FormatError("The file is damaged.", where=str(folder / STORE), hint=_RECAPTURE)
    if data.get("format") != FORMAT:
        raise FormatError(
            f"This is a store of format {str(data.get('format'))[:20]}, not {FORMAT}.", where=str(folder / STORE),
            hint="Update saewidgets.",
        )
    try:
        facts = _facts(data)
        _check(facts)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise FormatError(
            f"This does not describe a store ({error}).", where=str(folder / STORE), hint=_RECAPTURE
        ) from error
    return facts


def _facts(data: Mapping[str, Any]) -> StoreFacts:
    rest = {key: value for key, value in data.items() if key not in ("format", "sha256")}
    hooks = {str(name): StoredHook(**hook) for name, hook in rest.pop("hooks").items()}
    special = tuple(int(each) for each in rest.pop("special_ids"))
    return StoreFacts(**rest, hooks=hooks, special_ids=special, fingerprint=str(data["sha256"])[:24])


def _check(facts: StoreFacts) -> None:
    counts = (
        facts.context_size, facts.n_contexts, facts.n_rows, facts.rows_per_shard,
        *(hook.width for hook in facts.hooks.values()),
    )
    if not all(type(n) is int and 0 < n < _COUNT for n in counts) or not facts.hooks:
        raise ValueError("an impossible size")
    whole = facts.n_contexts * facts.context_size
    if not whole - facts.context_size < facts.n_rows <= whole or not 0 <= facts.n_held_out < facts.n_contexts:
        raise ValueError("rows that do not match its contexts")
    if facts.dtype not in DTYPES or facts.tokens not in (None, *TOKEN_DTYPES):
        raise ValueError("an unknown number format")
    if facts.rows_per_shard % facts.context_size:
        raise ValueError("files that split a context")
    if any(not HOOK_FOLDER.fullmatch(name) for name in facts.hooks):
        raise ValueError("an invalid hook name")
    heads = [(hook.width, hook.heads) for hook in facts.hooks.values() if hook.heads is not None]
    if not all(type(n) is int and 0 < n <= width and width % n == 0 for width, n in heads):
        raise ValueError("an impossible number of heads")
    if -(-facts.n_rows // facts.rows_per_shard) * len(facts.hooks) > len(facts.files):  # before any list is made
        raise ValueError("too few files for its rows")
    if expected_sizes(facts) != {name: file["size"] for name, file in facts.files.items()}:
        raise ValueError("files that do not fit its rows")


def expected_sizes(facts: StoreFacts) -> dict[str, int]:
    """File → bytes, from the counts alone."""
    sizes = {}
    if facts.tokens is not None:
        sizes = {TOKENS: facts.n_rows * int(facts.tokens[-1]), SPECIAL: facts.n_rows}
    for name, hook in facts.hooks.items():
        row = row_bytes(hook.width, facts.dtype)
        left = facts.n_rows
        for shard in facts.shards(name):
            sizes[shard] = min(left, facts.rows_per_shard) * row
            left -= facts.rows_per_shard
    return sizes


_AGAIN = "Restore the file, or capture the activations again."
_OPEN = 32  # files of one reader that stay open
_AT_ONCE = 64  # parts of files that are away
_WHOLE_ROWS = 8192  # rows of which the columns of one head are copied at once
_COUNTED = 4096  # contexts whose special tokens are counted at once


class Away(Protocol):
    """Where files of a store are that are not in its folder: `fetch` brings a whole one, `ranges` gives parts of
    several, each named by a path, its first byte and the one behind its last."""

    def fetch(self, path: Path) -> Path: ...

    def ranges(self, wanted: Sequence[tuple[Path, int, int]]) -> Sequence[bytes]: ...


class StoredActivations:
    """A whole store: incomplete and damaged ones are refused. `away` has the files that are not here; None: nothing."""

    def __init__(self, folder: Path | str, away: Away | None = None) -> None:
        self.folder, self.away = Path(folder), away
        self.here(STORE)
        self.facts: StoreFacts = read_facts(self.folder)
        for name, file in self.facts.files.items():
            try:
                size = (self.folder / name).stat().st_size
            except OSError as error:
                if away is not None:
                    continue
                raise _unreadable(self.folder / name, error) from error
            if size != file["size"]:
                raise _changed(self.folder / name, f"The file has {size:,} bytes, {file['size']:,} were written.")
        self._special = self._marks() if self.facts.tokens is not None else None

    def here(self, name: str) -> Path:
        """The path of one of its files, brought here if it is away."""
        path = self.folder / name
        return path if self.away is None or path.exists() else self.away.fetch(path)

    @property
    def fingerprint(self) -> str:
        """Changes with every bit of the store."""
        return self.facts.fingerprint

    def columns(self, hook_name: str, where: str = "hook_name") -> Columns:
        """Where the rows of a hook point are. Raises `ConfigError` with this `where` if the store does not have it."""
        if (found := self.facts.columns(hook_name)) is None:
            raise ConfigError(
                f"This store does not hold {hook_name}.", where=where,
                hint=f"It holds {', '.join(self.facts.hooks)}.",
            )
        return found

    def width(self, hook_name: str, where: str = "hook_name") -> int:
        return self.columns(hook_name, where).width

    def verify(self, on_file: Callable[[int], None] = lambda done: None) -> None:
        """Compare every file with its SHA-256. `on_file` is called with the bytes compared so far."""
        done = 0
        for name, file in self.facts.files.items():
            try:
                found = sha256_of(self.here(name))
            except OSError as error:
                raise _unreadable(self.folder / name, error) from error
            if found != file["sha256"]:
                raise _changed(self.folder / name, "The file was changed after it was written.")
            done += int(file["size"])
            on_file(done)

    def contexts(self, numbers: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Token ids of some contexts, ``[n, context_size]``. Raises `ConfigError` where the store holds no tokens."""
        dtype = self.facts.tokens
        if dtype is None:
            raise ConfigError(
                "This store holds imported states without their tokens.", where="corpus",
                hint="Capture the activations with ws.activations.capture to have tokens as well.",
            )
        wanted = np.asarray(numbers, dtype=np.int64)
        found = np.empty((len(wanted), self.facts.context_size), dtype=np.dtype(dtype))
        path = self.here(TOKENS)
        try:
            with path.open("rb") as file:
                for row, number in zip(found, wanted.tolist(), strict=True):
                    file.seek(number * row.nbytes)
                    _fill(file, row.data.cast("B"), path)
        except OSError as error:
            raise _unreadable(path, error) from error
        return found.astype(np.int64)

    def kept(self, contexts: Numbers, rule: TokenMask = EVERY_TOKEN) -> npt.NDArray[np.bool_]:
        """Which rows of these contexts count, ``[n, context_size]``: none behind the end of a short last block."""
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

    def kept_counts(self, contexts: Numbers, rule: TokenMask = EVERY_TOKEN) -> Numbers:
        return counted(contexts, lambda part: self.kept(part, rule).sum(axis=1))

    def row_numbers(self, contexts: Numbers, rule: TokenMask = EVERY_TOKEN) -> Numbers:
        """Numbers of the kept rows of these contexts, one context after the other."""
        size = self.facts.context_size
        numbers = contexts[:, None] * size + np.arange(size, dtype=np.int64)
        return np.asarray(numbers[self.kept(contexts, rule)])

    def rows(self, hook_name: str, shard: int = 0) -> npt.NDArray[Any]:
        """One file of a hook point as a read-only memory map, ``[rows, width]``. bfloat16, which numpy does not have,
        comes as the ``uint16`` of its bits; an int8 number q means scale · q · |q|, see `scales`."""
        at, mapped = self.columns(hook_name), self._map(hook_name, shard)
        return mapped[:, mapped.shape[1] - at.row :][:, at.first : at.first + at.width]

    def scales(self, hook_name: str, shard: int = 0) -> npt.NDArray[np.float32] | None:
        """The scale of every row of a file, ``[rows]``; None where the store is not in int8."""
        mapped = self._map(hook_name, shard)
        return mapped[:, :SCALE].view("<f4")[:, 0] if self.facts.dtype == "int8" else None

    def _map(self, hook_name: str, shard: int) -> npt.NDArray[Any]:
        at = self.columns(hook_name)
        dtype = {"float32": "<f4", "float16": "<f2", "bfloat16": "<u2", "int8": "i1"}[self.facts.dtype]
        file = np.memmap(self.here(shard_name(at.files, shard)), dtype=np.dtype(dtype), mode="r")
        return file.reshape(-1, row_length(at.row, self.facts.dtype))

    def parts(
        self, hook_names: Sequence[str], numbers: Iterable[Numbers], device: torch.device | str = "cpu",
        check: Check | None = None,
    ) -> Iterator[tuple[Tensor, ...]]:
        """For each part of row `numbers` one ``[n, width]`` float32 per hook point, of the same rows. `check` is
        called before each; what it raises ends the iteration."""
        with ExitStack() as stack:
            readers = [stack.enter_context(RowReader(self, name)) for name in hook_names]
            for part in numbers:
                if check is not None:
                    check()
                yield tuple(reader.floats(part, device) for reader in readers)

    def evaluation_contexts(self, validation: Numbers, train: Numbers, n_tokens: int) -> Numbers:
        return evaluated(train, validation, self.facts.context_size, n_tokens)

    def _marks(self) -> npt.NDArray[np.uint8]:
        """Which tokens are special, eight in a byte, ``[n_contexts, …]``: in memory, whatever becomes of the file."""
        size, path = self.facts.context_size, self.here(SPECIAL)
        found = np.empty((self.facts.n_contexts, -(-size // 8)), dtype=np.uint8)
        with path.open("rb") as file:
            for start in range(0, len(found), _COUNTED):
                part = found[start : start + _COUNTED]
                raw = np.empty((len(part), size), dtype=np.uint8)
                _fill(file, raw.data.cast("B"), path)
                part[:] = np.packbits(raw != 0, axis=1)
        return found

    def __repr__(self) -> str:
        facts = self.facts
        parts = (self.folder.name, ", ".join(facts.hooks), f"{facts.n_rows:,} rows", facts.dtype)
        return f"<StoredActivations {' · '.join(parts)}>"


class RowReader:
    """Copies rows of one hook point into tensors, for one thread. Of one head whole rows are read, and its columns are
    copied from them."""

    def __init__(self, store: StoredActivations, hook_name: str) -> None:
        self._store, self.hook_name = store, hook_name
        self._at = store.columns(hook_name)
        self.width = self._at.width
        self.dtype = store.facts.torch_dtype
        self._scale = row_length(0, store.facts.dtype)
        self._row_bytes = row_bytes(self._at.row, store.facts.dtype)
        self._files: OrderedDict[int, FileIO] = OrderedDict()

    def read(self, numbers: Numbers, target: Tensor) -> None:
        """Copy the rows of these numbers into the start of `target`, an `empty` of at least as many."""
        if self._at.width == self._at.row:
            self._read(numbers, target)
            return
        rows = torch.empty(min(len(numbers), _WHOLE_ROWS), self._scale + self._at.row, dtype=self.dtype)
        first = self._scale + self._at.first
        for start in range(0, len(numbers), _WHOLE_ROWS):
            part = numbers[start : start + _WHOLE_ROWS]
            self._read(part, rows)
            found = target[start : start + len(part)]
            found[:, : self._scale] = rows[: len(part), : self._scale]
            found[:, self._scale :] = rows[: len(part), first : first + self._at.width]

    def _read(self, numbers: Numbers, target: Tensor) -> None:
        """Whole rows. Those that follow each other in the file are read at once."""
        if not len(numbers):
            return
        raw = memoryview(target[: len(numbers)].view(torch.uint8).numpy()).cast("B")  # type: ignore[arg-type]
        per_shard = self._store.facts.rows_per_shard
        # A run ends where the next number does not follow, or is in another file.
        ends = np.flatnonzero((np.diff(numbers) != 1) | (np.diff(numbers // per_shard) != 0)) + 1
        starts = np.concatenate([[0], ends])
        stops = np.concatenate([ends, [len(numbers)]])
        away: list[tuple[Path, int, memoryview]] = []
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            shard, row = divmod(int(numbers[start]), per_shard)
            part, path = raw[start * self._row_bytes : stop * self._row_bytes], self._path(shard)
            if self._store.away is None or shard in self._files or path.exists():
                self._fill(shard, row, part)
            else:
                away.append((path, row * self._row_bytes, part))
        for first in range(0, len(away), _AT_ONCE):
            assert self._store.away is not None  # or all would have been here
            wanted = away[first : first + _AT_ONCE]
            found = self._store.away.ranges([(path, begin, begin + len(part)) for path, begin, part in wanted])
            for (path, _, part), data in zip(wanted, found, strict=True):
                if len(data) != len(part):
                    raise _changed(path, f"{len(data):,} bytes came of {len(part):,}.")
                part[:] = data

    def empty(self, rows: int, pinned: bool = False) -> Tensor:
        """Memory for so many rows as they are stored, with their scales."""
        return torch.empty(rows, self._scale + self.width, dtype=self.dtype, pin_memory=pinned)

    def floats(self, numbers: Numbers, device: torch.device | str = "cpu") -> Tensor:
        target = self.empty(len(numbers))
        self.read(numbers, target)
        return floats(target.to(device))

    def _fill(self, shard: int, row: int, target: memoryview) -> None:
        path = self._path(shard)
        try:
            file = self._file(shard, path)
            file.seek(row * self._row_bytes)
            _fill(file, target, path)
        except OSError as error:
            raise _unreadable(path, error) from error

    def _path(self, shard: int) -> Path:
        return self._store.folder / shard_name(self._at.files, shard)

    def _file(self, shard: int, path: Path) -> FileIO:
        if shard not in self._files:
            self._files[shard] = FileIO(path, "rb")
            while len(self._files) > _OPEN:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(shard)
        return self._files[shard]

    def __enter__(self) -> RowReader:
        return self

    def __exit__(self, *_: object) -> None:
        while self._files:
            self._files.popitem()[1].close()


def batched(numbers: Numbers, size: int) -> Iterator[Numbers]:
    """`numbers` in parts of at most `size`."""
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def _fill(file: Any, target: memoryview, path: Path) -> None:
    """Read from a file until `target` is full."""
    while len(target):
        if not (count := file.readinto(target)):
            raise _changed(path, "The file ended early: it was cut off while it was read.")
        target = target[count:]


def _changed(path: Path, what: str) -> FormatError:
    return FormatError(what, where=str(path), hint=_AGAIN)


def _unreadable(path: Path, error: OSError) -> NotFoundError | FormatError:
    if isinstance(error, FileNotFoundError):
        return NotFoundError("A file of this store is missing.", where=str(path), hint=_AGAIN)
    return FormatError(f"The file cannot be read ({error.strerror}).", where=str(path), hint=_AGAIN)
