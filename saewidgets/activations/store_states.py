"""Importing hidden states that a script has saved: numbers that lie in a file row by row → a store.

A file of any size is read a piece at a time. Such files hold no tokens: an SAE can be trained and measured on them, but
what a latent fires on, and the cross-entropy, need text and model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from saewidgets.activations.store import DTYPES, StoredHook, StoreFacts, rows_per_shard
from saewidgets.activations.store_write import Piece, StorePlan, write_store
from saewidgets.errors import ConfigError, FormatError
from saewidgets.events import Control, NullControl

BLOCK = 64
"""Rows of an imported store that are read together: what stands for a context."""

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
    on_progress: Callable[[int, int], None] | None = None,
    resume: bool = False,
) -> StoreFacts:
    """Copy hidden states into a store in `folder`.

    Args:
        files: (hook name, file) for every hook point; row r of all of them belongs to the same token.
        folder: of the store.
        dtype: number format of the store; None keeps that of the files.
        model: the language model, for the record.
        corpus: what to call the text.
        control: asked between pieces. Stop ends the store with what there is.
        on_progress: told (rows, rows in all).
        resume: go on with what is there.

    Raises:
        Interruption: paused, cancelled, or stopped before anything was copied.
        ConfigError: files have different numbers of rows, or the numbers do not fit the number format.
        FormatError: a file ended early, or holds NaN or infinite numbers.
        StorageError: the disk is full or not writable.
    """
    plan = _plan(files, dtype, model, corpus)
    return write_store(
        Path(folder), plan, partial(_pieces, files, plan.facts), control or NullControl(),
        hint="Import fewer files, or free some space.", on_progress=on_progress, resume=resume,
    )  # fmt: skip


def _pieces(
    files: Sequence[tuple[str, StatesFile]], facts: StoreFacts, begin: int, control: Control
) -> Iterator[Piece]:
    row = sum(hook.width for hook in facts.hooks.values()) * DTYPES[facts.dtype].itemsize
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
            hint="Extract the states again, in another precision perhaps.",
        )
    stored = rows.to(DTYPES[dtype])
    if not bool(stored.isfinite().all()):
        raise ConfigError(
            f"{file.path.name} holds numbers up to {float(rows.abs().max()):,.0f}, which {dtype} cannot hold.",
            where="dtype", hint='Use dtype="bfloat16" or "float32".',
        )
    return stored, float(rows.double().norm(dim=-1).sum())


def _plan(files: Sequence[tuple[str, StatesFile]], dtype: str | None, model: str | None, corpus: str) -> StorePlan:
    first = files[0][1]
    for _, file in files:
        if file.rows != first.rows:
            raise ConfigError(
                f"{file.path.name} has {file.rows:,} rows, {first.path.name} {first.rows:,}: they are of different "
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
