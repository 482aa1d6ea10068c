"""Long text, packed as far as a run needs it and no further.

Contexts are added to ``tokens.bin`` and counted in ``pack.json`` once they are on the disk, together with the place
where reading goes on: whatever a process is killed at, the next one begins behind the last contexts that were counted.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined] # public, not declared

from saewidgets.activations.documents import LongCorpus
from saewidgets.activations.packed import (
    EVERY_TOKEN,
    Growth,
    PackedTokens,
    PackFacts,
    read_facts,
)
from saewidgets.activations.tokenising import Contexts, Tokens
from saewidgets.durable import require_space, sync
from saewidgets.errors import ConfigError
from saewidgets.lm import special_tokens
from saewidgets.lm.token_mask import Kept

T = TypeVar("T")

_DEPTH = 3  # items that wait to be taken
_LOOK = 0.2  # seconds after which somebody who waits is asked whether to go on


def read_ahead(items: Iterator[T], check: Callable[[], None]) -> Iterator[T]:
    """`items`, made in a thread of their own, in their order.

    `check` is called while waiting, and what it raises ends the reading; a read that is under way in the thread is not
    waited for. What `items` raises is raised here, behind the items before it.
    """
    ready: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(_DEPTH)
    stopped = threading.Event()

    def hand_over(word: str, what: T | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                ready.put((word, what), timeout=_LOOK)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in items:
                hand_over("item", item)
                if stopped.is_set():
                    return
            hand_over("end", None)
        except BaseException as error:  # noqa: BLE001 - raised where the items are taken
            hand_over("error", error)
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    threading.Thread(target=work, name="saewidgets-reading", daemon=True).start()
    try:
        while True:
            check()
            try:
                word, what = ready.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if word == "end":
                return
            if word == "error":
                assert isinstance(what, BaseException)  # what `work` handed over
                raise what
            yield what  # type: ignore[misc] # an item
    finally:
        stopped.set()


COUNT_EVERY = 1 << 20  # tokens after which progress is put down
_HOPELESS = 1000  # contexts without a single position to train on: more will not have any

Check = Callable[[], None]
Progress = Callable[[int], None]


def grow(
    target: Path,
    corpus: LongCorpus,
    tokenizer: Any,
    new: PackFacts,
    *,
    wanted: int | None,
    validation_share: float,
    check: Check,
    on_progress: Progress | None,
    rule: Kept = EVERY_TOKEN,
) -> None:
    """Pack `corpus` into `target` until there is enough for a run.

    Args:
        target: the folder; made where it is not there.
        corpus: what to read.
        tokenizer: a copy of one's own.
        new: what `pack.json` says before anything is read.
        wanted: positions for training, see `PackedTokens`; None: all of the text.
        validation_share: share of the contexts that is held out.
        check: called between chunks, and while waiting; what it raises ends the packing. What was counted stays.
        on_progress: called with the number of positions for training so far.
        rule: which positions count as wanted.

    Raises:
        ConfigError: there is no text, not enough for one context, or no position of it counts.
        StorageError: the disk is full.
        SAEWidgetsError: from reading the corpus.
    """
    with _alone(target, check):
        begun = (target / "pack.json").is_file()
        if begun and enough(target, wanted, validation_share, rule):
            return
        target.mkdir(exist_ok=True)
        try:
            facts = read_facts(target) if begun else new
            with _Writer(target, corpus, tokenizer, facts, validation_share, rule) as writer:
                writer.require_space(wanted)
                _read(writer, corpus, wanted, check, on_progress)
            _refuse_nothing(writer.facts)
        except BaseException:
            if not (target / "pack.json").is_file():
                shutil.rmtree(target, ignore_errors=True)
            raise


def enough(target: Path, wanted: int | None, validation_share: float, rule: Kept = EVERY_TOKEN) -> bool:
    """Whether what is packed suffices."""
    packed = PackedTokens(target, validation_share)
    growth = packed.facts.growth
    if growth is None or growth.ended:
        return True
    if wanted is None or growth.lacks_validation:
        return False
    return packed.enough(wanted, validation_share, rule)[1] >= wanted


def _read(
    writer: _Writer, corpus: LongCorpus, wanted: int | None, check: Check, on_progress: Progress | None
) -> None:
    growth = writer.facts.growth
    chunks = corpus.chunks(growth.position if growth is not None else None)
    with contextlib.closing(read_ahead(chunks, check)) as ahead:  # type: ignore[type-var] # a generator
        for chunk in ahead:
            writer.add(chunk.documents, dict(chunk.position))
            if on_progress is not None:
                on_progress(writer.found)
            if wanted is not None and writer.found >= wanted and not writer.lacks_validation:
                writer.count()
                return
            if wanted is not None and not writer.found and writer.n_contexts >= _HOPELESS:
                raise ConfigError(
                    f"None of the first {writer.n_contexts:,} contexts has a position to train on.",
                    where="activations.seqpos_slice", hint="Choose other positions, or leave fewer tokens out.",
                )
    writer.count(ended=True)


def _refuse_nothing(facts: PackFacts) -> None:
    if facts.n_contexts:
        return
    shape = f"{facts.n_dropped_tokens:,} tokens, less than one context of {facts.context_size:,}"
    if not facts.joined:
        shape = f"no document with the {facts.context_size:,} tokens of a context"
    raise ConfigError(
        f"The corpus has {shape}." if facts.n_dropped_tokens else "The corpus holds no text.", where="corpus",
        hint="Give more text, or lower Context length." if facts.n_dropped_tokens else "Choose another one.",
    )


class _Writer:
    """Adds contexts to ``tokens.bin`` and counts them."""

    def __init__(
        self, target: Path, corpus: LongCorpus, tokenizer: Any, facts: PackFacts, validation_share: float, rule: Kept
    ) -> None:
        assert facts.growth is not None  # of long text
        self._target, self._corpus, self._share, self._rule = target, corpus, validation_share, rule
        self.facts = facts
        self.n_contexts = facts.n_contexts
        self.found = 0
        if self._begun():
            self.found = PackedTokens(target, validation_share).enough(1 << 62, validation_share, rule)[1]
        self._position, self._held = facts.growth.position, list(facts.growth.held)
        self._special = np.array(facts.special_ids, dtype=np.int64)
        self._contexts, self._held_contexts = (
            Contexts(
                tokenizer, replace(special_tokens(tokenizer), separator=facts.separator), facts.context_size,
                prepend_bos=facts.prepend_bos, join=facts.joined, whole_rows=corpus.whole_rows, rest=rest,
            )
            for rest in (facts.growth.rest, facts.growth.held_rest)
        )
        self._file: IO[bytes] | None = None

    def __enter__(self) -> _Writer:
        path = self._target / "tokens.bin"
        size = self.n_contexts * self.facts.context_size * self._contexts.dtype.itemsize
        with path.open("ab"):
            pass
        self._file = path.open("r+b")
        self._file.truncate(size)  # what was added and never counted
        self._file.seek(size)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def lacks_validation(self) -> bool:
        """See `Growth`."""
        return bool(self._corpus.facts.get("held_out")) and not self._held

    def _begun(self) -> bool:
        return (self._target / "pack.json").is_file()

    def require_space(self, wanted: int | None) -> None:
        """Raise `StorageError` where what is missing does not fit on the disk."""
        if wanted is None:
            return
        need = max(0, wanted - self.found) * self._contexts.dtype.itemsize
        require_space(
            self._target.parent, need, "the tokens", "Free some, choose another workspace folder, or lower Tokens."
        )

    def add(self, documents: list[Any], position: dict[str, Any]) -> None:
        """The contexts that these documents complete; counted from time to time."""
        assert self._file is not None  # inside the block
        for out, part in itertools.groupby(documents, key=lambda document: document.held_out):
            rows = (self._held_contexts if out else self._contexts).add(list(part))
            self._file.write(rows.tobytes())
            if out:
                self._held += range(self.n_contexts, self.n_contexts + len(rows))
            else:
                self.found += self._useful(rows)
            self.n_contexts += len(rows)
        self._position = position
        if (self.n_contexts - self.facts.n_contexts) * self.facts.context_size >= COUNT_EVERY:
            self.count()

    def _useful(self, rows: Tokens) -> int:
        numbers = np.arange(self.n_contexts, self.n_contexts + len(rows), dtype=np.int64)
        assert self.facts.growth is not None  # of long text
        training = rows[~self.facts.growth.held_out(numbers, self._share)]
        return int(self._rule.mask(training, np.isin(training, self._special)).sum())

    def count(self, *, ended: bool = False) -> None:
        """Put down how far it has come, once it is on the disk."""
        assert self._file is not None  # inside the block
        assert self.facts.growth is not None  # of long text
        self._file.flush()
        os.fsync(self._file.fileno())
        both = self._contexts, self._held_contexts
        dropped = sum(contexts.end() for contexts in both) if ended else 0
        rest, held_rest = (tuple(int(i) for i in contexts.rest) for contexts in both)
        growth = replace(
            self.facts.growth, position=self._position, rest=rest, ended=ended, held=tuple(self._held),
            held_rest=held_rest,
        )
        before = self.facts
        self.facts = replace(
            before, n_contexts=self.n_contexts, n_documents=before.n_documents + sum(each.documents for each in both),
            largest_id=max(before.largest_id, *(each.largest for each in both)), n_dropped_tokens=dropped,
            growth=growth,
        )
        for contexts in both:
            contexts.documents = 0
        if self.n_contexts:
            put_facts(self._target, self.facts)


def put_facts(target: Path, facts: PackFacts) -> None:
    """Write `pack.json`, whole or not at all."""
    draft = target / f".pack-{uuid.uuid4().hex[:8]}.json"
    try:
        with draft.open("w", encoding="utf-8") as stream:
            json.dump(facts.to_data(), stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(target / "pack.json")
        sync(target)
    finally:
        draft.unlink(missing_ok=True)


def new_growth(corpus: LongCorpus) -> Growth:
    """Nothing read yet."""
    return Growth(position=None, rest=(), ended=False, source=dict(corpus.facts))


@contextlib.contextmanager
def _alone(target: Path, check: Check) -> Iterator[None]:
    """One process and thread at a time adds to a packing; the others wait."""
    path = target.with_name(f".lock-{target.name}")
    with contextlib.ExitStack() as stack:
        while True:
            check()
            try:
                stack.enter_context(WeakFileLock(path, timeout=0.5))
                break
            except TimeoutError:  # filelock's is one
                time.sleep(0.01)
        yield
