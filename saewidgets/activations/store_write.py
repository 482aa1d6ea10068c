"""Defines `capture_store` and `import_states`, which write a store so that they can be killed at any moment: resumed,
they end in the same bytes. `StoreParts` are the shards of a capture that several jobs write: each is the same bytes
whoever does it, and together they are the store of a single job.

Rows are appended in one fixed order. A checkpoint is: everything flushed to the disk, then `capture.json` replaced
whole, which says how many rows count. Who resumes cuts every file off there and goes on. `store.json` appears last.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saewidgets.activations.packed import PackedTokens
from saewidgets.activations.packing import tokenizer_fingerprint
from saewidgets.activations.row_format import row_bytes, stored, usable_norms
from saewidgets.activations.shuffle import Numbers, spread
from saewidgets.activations.store import (
    PROGRESS,
    SPECIAL,
    STORE,
    TOKENS,
    StoredHook,
    StoreFacts,
    read_facts,
    rows_per_shard,
    shard_name,
    write_facts,
)
from saewidgets.activations.stream import check_text
from saewidgets.durable import (
    read_sealed,
    require_space,
    sealed,
    sha256_of,
    size_of,
    storage_errors,
    sync,
    write_json,
)
from saewidgets.errors import ConfigError, FormatError, SAEWidgetsError
from saewidgets.events import Control, Interruption, NullControl, Request
from saewidgets.lm import LoadedModel, capture, resolve_hook


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """How to capture."""

    hook_names: tuple[str, ...]
    tokens: int  # all of the text where it has fewer
    dtype: str | None = None  # number format of the store; None takes the model's
    model_batch_size: int = 16  # contexts per forward
    model_revision: str | None = None  # for the record
    compiled: str | None = None  # the mode in which the model was compiled; None where it runs as it is


CAPTURE_HINT = "Capture fewer tokens or hook points, choose a smaller dtype, or free some space."


def bytes_per_token(widths: Sequence[int], dtype: str, vocab_size: int | None = None) -> int:
    """Bytes on the disk for one token: its activations, its id and its mark."""
    return sum(row_bytes(width, dtype) for width in widths) + (2 if (vocab_size or 0) <= 1 << 16 else 4) + 1


def chosen_contexts(packed: PackedTokens, tokens: int) -> tuple[Numbers, int]:
    """Numbers of the contexts to capture, and how many of them are held out: those come first. They are spread evenly
    over the text; of documents that the corpus holds out the same share is taken."""
    total = packed.n_contexts
    wanted = min(total, max(1, -(-tokens // packed.context_size)))
    held = packed.named
    if not len(held):
        return spread(total, wanted), 0
    count = min(len(held), max(1, round(wanted * len(held) / total)))
    train = np.setdiff1d(np.arange(total, dtype=np.int64), held)
    chosen = spread(len(train), max(1, min(len(train), wanted - count)))
    return np.concatenate([held[spread(len(held), count)], train[chosen]]), count


def capture_store(
    lm: LoadedModel,
    packed: PackedTokens,
    settings: CaptureSettings,
    folder: Path | str,
    *,
    control: Control | None = None,
    on_progress: Callable[[int], None] = lambda rows: None,
    on_restart: Callable[[], None] = lambda: None,
    on_shard: Callable[[], object] = lambda: None,
    resume: bool = False,
) -> StoreFacts:
    """Capture the text into `folder`. Killed at any point and resumed, with the same device, versions and thread count,
    it ends in the same bytes. Pause writes a checkpoint; Stop ends the store with what there is. `on_shard` is called
    every few minutes, at a checkpoint behind which all files are full."""
    rows = CapturedRows(lm, packed, settings)
    return write_store(
        Path(folder), rows.plan, partial(rows.pieces, rows.contexts), control or NullControl(), hint=CAPTURE_HINT,
        on_progress=on_progress, on_restart=on_restart, on_shard=on_shard, resume=resume,
    )


class CapturedRows:
    """The rows that a capture writes: of which `contexts` they are, their `plan`, and what the model makes of them."""

    def __init__(self, lm: LoadedModel, packed: PackedTokens, settings: CaptureSettings) -> None:
        self.lm, self.packed, self.settings = lm, packed, settings
        self.contexts, held = chosen_contexts(packed, settings.tokens)
        self.plan = self._plan(len(self.contexts), held)

    def pieces(self, contexts: Numbers, begin: int, control: Control) -> Iterator[Piece]:
        """What the model makes of the `contexts` from row `begin` on, a batch at a time."""
        size, first = self.settings.model_batch_size, begin // self.packed.context_size
        for start in range(first, len(contexts), size):  # a checkpoint is always between two batches, or at the end
            control.check()
            tokens = self.packed.contexts(contexts[start : start + size])
            special = ~self.packed.kept(tokens)
            found = capture(self.lm.model, self.settings.hook_names, torch.from_numpy(tokens))
            rows, norms = {}, {}
            for name, activation in found.items():
                flat = activation.reshape(-1, activation.shape[-1])
                kept = torch.from_numpy(~special.reshape(-1)).to(flat.device)
                what = f"The model's activations at {name}"
                rows[name] = stored(flat, self.plan.facts.dtype, what)
                norms[name] = usable_norms(float(flat.float().norm(dim=-1).double()[kept].sum()), what)
            yield Piece(rows, norms, tokens, special.reshape(-1))

    def _plan(self, n: int, held: int) -> StorePlan:
        """The plan of a store of `n` contexts, the first `held` of which are held out."""
        lm, packed, settings = self.lm, self.packed, self.settings
        check_text(lm, packed)
        points = {name: resolve_hook(lm.model, name) for name in settings.hook_names}
        widths = {name: point.width for name, point in points.items()}
        dtype = settings.dtype or str(lm.dtype).removeprefix("torch.")
        facts = StoreFacts(
            source="captured", model=lm.name, model_revision=settings.model_revision,
            model_class=type(lm.model).__name__, model_fingerprint=lm.fingerprint(),
            model_dtype=str(lm.dtype).removeprefix("torch."), tokenizer=packed.facts.tokenizer,
            tokenizer_fingerprint=tokenizer_fingerprint(lm.tokenizer), corpus=packed.facts.corpus,
            corpus_fingerprint=packed.fingerprint, context_size=packed.context_size,
            prepend_bos=packed.facts.prepend_bos, special_ids=packed.facts.special_ids, tokens=packed.facts.dtype,
            dtype=dtype, n_contexts=n, n_rows=n * packed.context_size, n_held_out=held,
            n_special=0,  # no batch of the model is in two shards: whoever writes one has the same batches
            rows_per_shard=rows_per_shard(packed.context_size, max(widths.values()), dtype, settings.model_batch_size),
            hooks={
                name: StoredHook(point.width, 0.0, point.heads if point.head is None else None)
                for name, point in points.items()
            }, files={},
        )  # fmt: skip
        identity = {
            "model": facts.model_fingerprint, "model_dtype": facts.model_dtype, "device": lm.device.type,
            "attention": str(getattr(getattr(lm.model, "config", None), "_attn_implementation", "unknown")),
            "tokens": facts.corpus_fingerprint, "contexts": n, "held_out": held, "hooks": widths,
            "dtype": dtype, "model_batch_size": settings.model_batch_size, "rows_per_shard": facts.rows_per_shard,
            "torch": torch.__version__, **({} if settings.compiled is None else {"compiled": settings.compiled}),
        }  # fmt: skip
        return StorePlan(facts, identity)


# Hidden states that a script has saved lie in a file row by row, without tokens: an SAE can be trained and measured on
# them, but what a latent fires on, and the cross-entropy, need text and model.
BLOCK = 64
"""Rows of an imported store that are read together, in place of a context."""

_PIECE = 1 << 24  # about so many bytes at once


@dataclass(frozen=True, slots=True)
class StatesFile:
    """A file of hidden states, looked at but not read."""

    path: Path
    rows: int  # of its tensor, all but the last dimension taken together
    width: int
    layer: int | None  # that the file or its name says, if any
    dtype: torch.dtype  # of its numbers, a float
    start: int  # byte at which they begin

    @property
    def stored_dtype(self) -> str:
        """The number format of a store that loses nothing (float64 becomes float32)."""
        return "float32" if self.dtype is torch.float64 else str(self.dtype).removeprefix("torch.")


def import_states(
    files: Sequence[tuple[str, StatesFile]],
    folder: Path | str,
    *,
    dtype: str | None = None,
    model: str | None = None,
    corpus: str = "imported states",
    control: Control | None = None,
    on_progress: Callable[[int], None] = lambda rows: None,
    resume: bool = False,
) -> StoreFacts:
    """Copy hidden states into a store in `folder`; row r of all `files` (by hook name) belongs to the same token.
    `dtype` None keeps the files' format; Stop ends the store with what there is."""
    plan = _import_plan(files, dtype, model, corpus)
    return write_store(
        Path(folder), plan, partial(_pieces, files, plan.facts), control or NullControl(),
        hint="Import fewer files, or free some space.", on_progress=on_progress, resume=resume,
    )  # fmt: skip


def _pieces(
    files: Sequence[tuple[str, StatesFile]], facts: StoreFacts, begin: int, control: Control
) -> Iterator[Piece]:
    row = sum(row_bytes(hook.width, facts.dtype) for hook in facts.hooks.values())
    step = BLOCK * max(1, _PIECE // (BLOCK * row))
    for first in range(begin, facts.n_rows, step):
        control.check()
        rows, norms = {}, {}
        for name, file in files:
            rows[name], norms[name] = _piece(file, first, min(step, facts.n_rows - first), facts.dtype)
        yield Piece(rows, norms)


def _piece(file: StatesFile, first: int, count: int, dtype: str) -> tuple[Tensor, float]:
    """Some rows as they are stored, and the sum of their norms."""
    row = file.width * file.dtype.itemsize
    raw = bytearray(count * row)
    try:
        with file.path.open("rb") as stream:
            stream.seek(file.start + first * row)
            got = stream.readinto(raw)
    except OSError as error:
        raise FormatError(
            f"The file cannot be read ({error.strerror}).", where=str(file.path),
            hint="Put it back where it was and make it readable, then resume.",
        ) from error
    if got != len(raw):
        raise FormatError(
            "The file ended early: it was cut off.", where=str(file.path), hint="Save or copy it again, then resume."
        )
    rows = torch.frombuffer(raw, dtype=file.dtype).view(count, file.width)
    if not bool(rows.isfinite().all()):
        bad = int((~rows.isfinite()).any(dim=-1).nonzero()[0]) + first
        raise FormatError(
            f"Row {bad:,} holds a number that is NaN or infinite.", where=str(file.path),
            hint="Extract the states again, perhaps in another precision.",
        )
    return stored(rows, dtype, f"Numbers of {file.path.name}"), float(rows.double().norm(dim=-1).sum())


def _import_plan(
    files: Sequence[tuple[str, StatesFile]], dtype: str | None, model: str | None, corpus: str
) -> StorePlan:
    first = files[0][1]
    for _, file in files:  # again: one may have been replaced while the import was paused
        if file.rows != first.rows:
            raise ConfigError(
                f"{file.path.name} has {file.rows:,} rows, {first.path.name} {first.rows:,}: they hold different "
                "tokens.",
                where="paths", hint="Import them one by one.",
            )
    dtype = dtype or ("float32" if len({file.stored_dtype for _, file in files}) > 1 else first.stored_dtype)
    widths = {name: file.width for name, file in files}
    facts = StoreFacts(
        source="imported", model=model, model_revision=None, model_class=None, model_fingerprint=None, model_dtype=None,
        tokenizer=None, tokenizer_fingerprint=None, corpus=corpus, corpus_fingerprint=None, context_size=BLOCK,
        prepend_bos=None, special_ids=(), tokens=None, dtype=dtype, n_contexts=-(-first.rows // BLOCK),
        n_rows=first.rows, n_held_out=0, n_special=0, rows_per_shard=rows_per_shard(BLOCK, max(widths.values()), dtype),
        hooks={name: StoredHook(width, 0.0) for name, width in widths.items()}, files={},
    )  # fmt: skip
    identity = {
        "dtype": dtype, "rows": first.rows, "hooks": widths,
        "files": [[name, file.path.name, file.path.stat().st_size, file.path.stat().st_mtime_ns]
                  for name, file in files],
    }  # fmt: skip
    return StorePlan(facts, identity)


class ShardWriter:
    """Appends rows to the files of one hook point, for one thread at a time. `on_full` is called with the name, size
    and SHA-256 of a file that has all its rows."""

    def __init__(
        self, folder: Path, hook_name: str, rows: int, per_shard: int, on_full: Callable[[str, dict[str, Any]], None]
    ) -> None:
        self._folder, self._name, self._per_shard, self._on_full = folder, hook_name, per_shard, on_full
        self._number, self._rows = divmod(rows, per_shard)
        self._file: FileIO | None = None
        self._hash = hashlib.sha256()
        (folder / hook_name).mkdir(exist_ok=True)
        if self._rows:
            self._file = self._path.open("ab", buffering=0)
            with self._path.open("rb") as file:
                self._hash = hashlib.file_digest(file, "sha256")

    @property
    def _path(self) -> Path:
        return self._folder / shard_name(self._name, self._number)

    def append(self, rows: Tensor) -> None:
        """Write rows ``[n, …]`` as they are stored, over as many files as they fill. Raises `OSError`."""
        raw = rows.contiguous().view(torch.uint8).numpy()
        while len(raw):
            part = raw[: self._per_shard - self._rows]
            self._file = self._file or self._path.open("wb", buffering=0)
            data = memoryview(part).cast("B")  # type: ignore[arg-type]
            self._hash.update(data)
            while len(data):
                data = data[self._file.write(data) :]
            self._rows += len(part)
            raw = raw[len(part) :]
            if self._rows == self._per_shard:
                self.close()

    def close(self) -> None:
        if self._file is None:
            return
        self.flush()
        size = self._file.tell()
        self._file.close()
        name = shard_name(self._name, self._number)
        self._on_full(name, {"size": size, "sha256": self._hash.hexdigest()})
        self._file, self._hash, self._rows, self._number = None, hashlib.sha256(), 0, self._number + 1

    def flush(self) -> None:
        if self._file is not None:
            sync(self._path)

    def abandon(self) -> None:
        if self._file is not None:
            self._file.close()


def _size(path: Path) -> int:
    """Bytes of a file; 0 if there is none. Raises `OSError` if that cannot be told: then nothing starts over."""
    return path.stat().st_size if path.is_file() else 0


def _cut(path: Path, size: int) -> bool:
    """Cut a file off at `size` bytes; False if it has fewer. One of no bytes is removed."""
    there = _size(path)
    if there < size:
        return False
    if not size:
        path.unlink(missing_ok=True)
    elif there > size:
        with path.open("rb+") as file:
            file.truncate(size)
    return True


FORMAT = 2  # of the checkpoint
CHECKPOINT_SECONDS = 20.0
"""Seconds of work between two checkpoints: the most that a kill costs."""
SHARD_SECONDS = 300.0
"""Seconds of work between two calls of `on_shard`, at least: who uploads then has all tokens to upload again."""
_THREADS = 4
Ids = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class StorePlan:
    """The plan of a store that is going to be written."""

    facts: StoreFacts  # as `store.json` will say it; counts, norms and files are filled in
    identity: Mapping[str, Any]  # whatever decides the bits: a store that was begun with another one starts over


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of all hook points."""

    rows: Mapping[str, Tensor]  # hook name → as `stored` returns them; not changed later
    norms: Mapping[str, float]  # hook name → sum of the norms of the rows that are not special
    tokens: Ids | None = None  # ids of the rows, ``[n]``, where the store has tokens
    special: npt.NDArray[np.bool_] | None = None  # which of them are special, ``[n]``


def write_store(
    folder: Path, plan: StorePlan, pieces: Callable[[int, Control], Iterable[Piece]], control: Control, *, hint: str,
    on_progress: Callable[[int], None], on_restart: Callable[[], None] = lambda: None,
    on_shard: Callable[[], object] = lambda: None, resume: bool,
) -> StoreFacts:
    """Write the `pieces` behind so many rows that are there already, with a checkpoint now and then. Pause makes one,
    too; Stop ends the store with what there is. The `hint` is for a disk without enough space."""
    if resume:
        with suppress(SAEWidgetsError):
            return read_facts(folder)  # it was killed behind the last step
    with closing(StoreWriter(folder, plan, resume=resume)) as writer:
        if writer.restarted:
            on_restart()
        try:
            writer.fill(pieces, control, hint, on_progress, on_shard)
        except Interruption as interruption:
            if interruption.request is not Request.STOP or not writer.rows:
                raise
        return writer.finish()


class StoreWriter:
    """Appends rows to a store: as planned, or, with `resume`, after existing rows of the same plan. `restarted`: the
    existing rows are of another plan or damaged, and it starts over."""

    def __init__(self, folder: Path, plan: StorePlan, *, resume: bool) -> None:
        self.folder, self._plan = folder, plan
        self.rows = 0
        self.restarted = False
        self._special = 0
        self._sums = {name: [0.0, 0.0] for name in plan.facts.hooks}  # of the norms: in full shards, in the one after
        self._closed_files: dict[str, dict[str, Any]] = {}  # shards that are full
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            for draft in (f".{PROGRESS}.*", f".{STORE}.*", ".tmp-*"):  # of a kill; the last is of earlier versions
                for leftover in folder.glob(draft):
                    leftover.unlink()
            state = read_sealed(folder / PROGRESS) if resume else None
            if state is None or not self._take_up(state):
                self.restarted = resume and (folder / PROGRESS).exists()
                for name in plan.facts.hooks:  # files of others stay
                    shutil.rmtree(folder / name, ignore_errors=True)
                for name in (PROGRESS, TOKENS, SPECIAL):
                    (folder / name).unlink(missing_ok=True)
            self._hooks = {
                name: ShardWriter(folder, name, self.rows, plan.facts.rows_per_shard, self._closed_files.__setitem__)
                for name in plan.facts.hooks
            }
            self._small = {
                name: (folder / name).open("ab") for name in (TOKENS, SPECIAL) if plan.facts.tokens is not None
            }
        self._pool = ThreadPoolExecutor(min(_THREADS, len(self._hooks)), thread_name_prefix="saewidgets-store")
        self._pending: list[Future[None]] = []

    def fill(
        self, pieces: Callable[[int, Control], Iterable[Piece]], control: Control, hint: str,
        on_progress: Callable[[int], None], on_shard: Callable[[], object] = lambda: None,
    ) -> None:
        """Add the `pieces` behind the rows that are there, with a checkpoint now and then. Pause makes one, too."""
        facts = self._plan.facts
        row = sum(row_bytes(hook.width, facts.dtype) for hook in facts.hooks.values())
        if facts.tokens is not None:
            row += int(facts.tokens[-1]) + 1
        require_space(self.folder, (facts.n_rows - self.rows) * row, "the store", hint)
        saved = told = time.monotonic()
        try:
            for piece in pieces(self.rows, control):
                self.append(piece)
                on_progress(self.rows)
                is_due = self.rows % facts.rows_per_shard == 0 and time.monotonic() - told > SHARD_SECONDS
                if control.take_checkpoint_request() or is_due or time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.checkpoint()
                    saved = time.monotonic()
                if is_due:
                    on_shard()
                    told = time.monotonic()
        except Interruption as interruption:
            if interruption.request is Request.PAUSE:
                self.checkpoint()
            raise

    def append(self, piece: Piece) -> None:
        """Add rows of all hook points. Returns while they are still being written; the next call waits for that."""
        rows, tokens, special = piece.rows, piece.tokens, piece.special
        self._settle()
        if tokens is not None and special is not None:
            with self._writing():
                self._small[TOKENS].write(tokens.astype(np.dtype(self._plan.facts.tokens)).tobytes())
                self._small[SPECIAL].write(special.astype(np.uint8).tobytes())
            self._special += int(special.sum())
        before = self.rows // self._plan.facts.rows_per_shard
        self.rows += len(next(iter(rows.values())))
        ended = self.rows // self._plan.facts.rows_per_shard > before
        for name, shards in self._hooks.items():
            full, rest = self._sums[name]  # added shard by shard: it comes to the same where others write some of them
            rest += piece.norms[name]
            self._sums[name] = [full + rest, 0.0] if ended else [full, rest]
            self._pending.append(self._pool.submit(shards.append, rows[name]))

    def checkpoint(self) -> None:
        self._settle()
        with self._writing():
            for file in self._small.values():
                file.flush()
                sync(Path(file.name))
            for shards in self._hooks.values():
                shards.flush()
            write_json(self.folder / PROGRESS, sealed({
                "format": FORMAT, "identity": self._plan.identity, "rows": self.rows, "special": self._special,
                "sums": self._sums, "files": dict(sorted(self._closed_files.items())),
            }))  # fmt: skip

    def close_shards(self) -> None:
        """End the last one, too, though it is not full."""
        self._settle()
        with self._writing():
            for shards in self._hooks.values():
                shards.close()

    def finish(self) -> StoreFacts:
        """Close the files and write `store.json`: from now on it is whole."""
        self.close_shards()
        with self._writing():
            for name, file in self._small.items():
                file.close()
                sync(self.folder / name)
                self._closed_files[name] = {
                    "size": (self.folder / name).stat().st_size, "sha256": sha256_of(self.folder / name)
                }
            facts, counted = self._plan.facts, max(1, self.rows - self._special)
            norms = {name: (full + rest) / counted for name, (full, rest) in self._sums.items()}
            hooks = {name: replace(hook, mean_norm=norms[name]) for name, hook in facts.hooks.items()}
            found = write_facts(self.folder, replace(
                facts, n_rows=self.rows, n_contexts=-(-self.rows // facts.context_size), n_special=self._special,
                n_held_out=min(facts.n_held_out, max(0, self.rows // facts.context_size - 1)), hooks=hooks,
                files=dict(sorted(self._closed_files.items())),
            ))  # fmt: skip
            (self.folder / PROGRESS).unlink(missing_ok=True)
        return found

    def close(self) -> None:
        """Close the files, whatever they hold; what came after the last checkpoint is cut off by who resumes."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for shards in self._hooks.values():
            shards.abandon()
        for file in self._small.values():
            file.close()

    def _settle(self) -> None:
        pending, self._pending = self._pending, []
        with self._writing():
            for future in pending:
                future.result()

    def _take_up(self, state: Mapping[str, Any]) -> bool:
        """Cut every file off at the checkpoint; False where that is not possible."""
        facts = self._plan.facts
        identity = sealed(dict(self._plan.identity))
        if state.get("format") != FORMAT or sealed(dict(state["identity"])) != identity:
            return False
        rows = int(state["rows"])
        sizes = {TOKENS: int(facts.tokens[-1]), SPECIAL: 1} if facts.tokens is not None else {}
        if not all(_cut(self.folder / name, rows * size) for name, size in sizes.items()):
            return False
        for name, hook in facts.hooks.items():
            full, rest = divmod(rows, facts.rows_per_shard)
            row = row_bytes(hook.width, facts.dtype)
            for number in range(full):
                shard = shard_name(name, number)
                known = state["files"].get(shard)
                if known is None or _size(self.folder / shard) != int(known["size"]):
                    return False
            if not _cut(self.folder / shard_name(name, full), rest * row):
                return False
            for later in (self.folder / name).glob("*.bin"):
                if later.name > f"{full:05d}.bin":
                    later.unlink()
        self.rows, self._special = rows, int(state["special"])
        self._sums = {name: [float(each) for each in state["sums"][name]] for name in facts.hooks}
        self._closed_files = {str(name): dict(file) for name, file in state["files"].items()}
        return True

    def _writing(self) -> AbstractContextManager[None]:
        return storage_errors("The activations cannot be written", self.folder, "Free some disk space, then resume.")


class StoreParts(CapturedRows):
    """The parts of what `capture_store` writes with the same arguments, a shard each."""

    def __init__(self, lm: LoadedModel, packed: PackedTokens, settings: CaptureSettings) -> None:
        super().__init__(lm, packed, settings)
        whole, per_shard = self.plan.facts.n_rows, self.plan.facts.rows_per_shard
        self.sizes = [min(per_shard, whole - first) for first in range(0, whole, per_shard)]  # rows of every part

    def write(self, control: Control, number: int, folder: Path, on_progress: Callable[[int], None]) -> None:
        """Write part `number` into a folder of its own, or go on with it. Paused it has a checkpoint."""
        plan, length = self._plan_of(number), self.packed.context_size
        first = number * plan.facts.rows_per_shard // length
        contexts = self.contexts[first : first + self.sizes[number] // length]
        with closing(StoreWriter(folder, plan, resume=True)) as writer:
            writer.fill(partial(self.pieces, contexts), control, CAPTURE_HINT, on_progress)
            writer.close_shards()
            writer.checkpoint()

    def join(self, folder: Path, parts: Iterable[Path]) -> None:
        """Put the first parts, which lie in these folders, into `folder`, where `capture_store` then ends the store, or
        goes on: up to the first that is not there, not whole, or of another configuration. Killed it can be repeated.
        """
        if (folder / PROGRESS).exists():
            return  # it was put together before, and went on
        facts, rows, special = self.plan.facts, 0, 0
        sums = {name: [0.0, 0.0] for name in facts.hooks}
        files: dict[str, Any] = {}
        with storage_errors("The parts cannot be put together", folder, "Free some disk space, then resume."):
            for name in facts.hooks:
                (folder / name).mkdir(exist_ok=True)
            with (folder / TOKENS).open("wb") as tokens, (folder / SPECIAL).open("wb") as marks:
                for number, part in enumerate(parts):
                    state = read_sealed(part / PROGRESS)
                    if state is None or not self._move(number, part, folder, state, files):
                        break
                    tokens.write((part / TOKENS).read_bytes())
                    marks.write((part / SPECIAL).read_bytes())
                    rows, special = rows + state["rows"], special + state["special"]
                    for name, (full, rest) in state["sums"].items():
                        sums[name][0] += full + rest
            write_json(folder / PROGRESS, sealed({
                "format": FORMAT, "identity": self.plan.identity, "rows": rows, "special": special, "sums": sums,
                "files": files,
            }))  # fmt: skip

    def _plan_of(self, number: int) -> StorePlan:
        facts = replace(self.plan.facts, n_rows=self.sizes[number])
        return StorePlan(facts, {**self.plan.identity, "part": number})

    def _move(self, number: int, part: Path, folder: Path, state: dict[str, Any], files: dict[str, Any]) -> bool:
        """Move the shards of a part; False where it is not the whole of that part."""
        plan = self._plan_of(number)
        if sealed(dict(state["identity"])) != sealed(dict(plan.identity)) or state["rows"] != plan.facts.n_rows:
            return False
        for name in plan.facts.hooks:
            known = state["files"][shard_name(name, 0)]
            here, there = part / shard_name(name, 0), folder / shard_name(name, number)
            if here.exists():
                here.replace(there)
            if size_of(there) != known["size"]:
                return False
            files[shard_name(name, number)] = known
        return True
