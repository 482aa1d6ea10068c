"""Packing: documents → contexts of equal length in a memory-mapped file.

Documents are tokenised one after another and joined with a separator (the end-of-sequence token); the stream is cut
into contexts. Or each gives one context alone; see `Packing`. With `prepend_bos` every context starts with the
beginning-of-sequence token, so that the position whose activation is an outlier holds the same special token
everywhere and can be left out. Nothing is padded: what does not fill the last context is dropped.

The file is shared: the same text, tokenizer and settings are packed once. Text of a usual size is packed whole, and
its folder appears whole or not at all. Long text (datasets of the hub, files of some megabytes, the demo's) is
packed as far as a run needs it; see `growing`.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import itertools
import json
import os
import queue
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined] # public, not declared

from saewidgets.activations.documents import Corpus, LongCorpus, Split, is_long
from saewidgets.activations.packed import (
    EVERY_TOKEN,
    Growth,
    PackedTokens,
    PackFacts,
    read_facts,
)
from saewidgets.activations.tokenising import (
    Contexts,
    Tokens,
    batched,
    check_tokenizer,
    text_encoder,
    tokenizer_fingerprint,
)
from saewidgets.config.packing import Packing
from saewidgets.durable import require_space, sync
from saewidgets.errors import ConfigError, StorageError
from saewidgets.lm import SpecialTokens, separator_id, special_tokens
from saewidgets.lm.token_mask import TokenMask

# Long text, packed as far as a run needs it and no further.
#
# Contexts are added to ``tokens.bin`` and counted in ``pack.json`` once they are on the disk, together with the place
# where reading goes on: whatever a process is killed at, the next one begins behind the last contexts that were
# counted.

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
    rule: TokenMask = EVERY_TOKEN,
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


def enough(target: Path, wanted: int | None, validation_share: float, rule: TokenMask = EVERY_TOKEN) -> bool:
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
        self, target: Path, corpus: LongCorpus, tokenizer: Any, facts: PackFacts, validation_share: float,
        rule: TokenMask,
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


__all__ = ["PackFacts", "PackedTokens", "Tokens", "pack", "text_encoder", "tokenizer_fingerprint"]

AS_USUAL = Packing()
FORMAT = 2  # 1: special tokens spelled out in a text were taken for real ones
_STALE_SECONDS = 24 * 3600


def pack(
    corpus: Corpus,
    tokenizer: Any,
    *,
    folder: Path | str,
    context_size: int,
    packing: Packing = AS_USUAL,
    validation_share: float = 0.02,
    wanted: int | None = None,
    rule: TokenMask = EVERY_TOKEN,
    check: Callable[[], None] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> PackedTokens:
    """Tokenise `corpus` into contexts, or open them where that was done before.

    Args:
        corpus: from `open_corpus`.
        tokenizer: a transformers tokenizer.
        folder: holds one subfolder per packing; may be shared by many runs and processes.
        context_size: tokens per context, the BOS included.
        packing: how documents fill the contexts.
        validation_share: see `PackedTokens`.
        wanted: of long text: positions for training that are needed; no more is read than holds them. None: all of it.
            Text that is packed whole is not affected.
        rule: which positions count as wanted.
        check: called between batches of documents; what it raises ends the packing. Text that is packed whole leaves
            nothing behind then; of long text what was packed stays, and the next call goes on from there.
        on_progress: called with the number of tokens so far.

    Raises:
        ConfigError: the corpus is empty, or too small for one context; the tokenizer has no such separator.
        StorageError: the folder cannot be written.
        FormatError, NotFoundError: from reading the corpus.
    """
    folder = Path(folder)
    special = special_tokens(tokenizer)
    if packing.separator != "eos":
        special = replace(special, separator=separator_id(tokenizer, packing.separator))
    settings = {
        "format": FORMAT, "context_size": context_size, "prepend_bos": packing.prepend_bos,
        "corpus": corpus.fingerprint(),
        "tokenizer": tokenizer_fingerprint(tokenizer),
        # Only encoders have a closing token: what was packed for others before there was one stays good.
        "special": {key: value for key, value in asdict(special).items() if (key, value) != ("closing", None)},
    }
    if not packing.join:
        settings["joined"] = False
    if getattr(corpus, "chat", False):
        settings["chat_template"] = tokenizer.chat_template
    fingerprint = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]
    target = folder / fingerprint
    if (target / "pack.json").is_file() and not is_long(corpus):
        return PackedTokens(target, validation_share)
    tokenizer = copy.deepcopy(tokenizer)  # a fast tokenizer refuses to be used by two threads with different settings
    check = check or (lambda: None)
    partial = folder / f".partial-{fingerprint}-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if is_long(corpus):
            _grow(
                target, cast(LongCorpus, corpus), tokenizer, special, context_size, packing, wanted, rule,
                validation_share, check, on_progress,
            )
            return PackedTokens(target, validation_share, wanted=wanted, rule=rule)
        _remove_stale(folder)
        partial.mkdir()
        facts = _write(
            partial, corpus, tokenizer, special, fingerprint, context_size, packing, check, on_progress
        )
        _publish(partial, target, facts)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"The tokens cannot be written: {error.strerror or error}.", where=str(folder),
            hint="Free some disk space, or choose another workspace folder.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # already renamed when all went well
    return PackedTokens(target, validation_share)


def _grow(
    target: Path, corpus: LongCorpus, tokenizer: Any, special: SpecialTokens, context_size: int, packing: Packing,
    wanted: int | None, rule: TokenMask, validation_share: float, check: Callable[[], None],
    on_progress: Callable[[int], None] | None,
) -> None:
    check_tokenizer({"tokenizer": getattr(corpus, "tokenizer_said", None)}, tokenizer)
    if (target / "pack.json").is_file() and enough(target, wanted, validation_share, rule):
        return  # not even the hub has to be asked
    check_tokenizer(corpus.facts, tokenizer)
    contexts = Contexts(
        tokenizer, special, context_size, prepend_bos=packing.prepend_bos, join=packing.join,
        whole_rows=corpus.whole_rows,
    )
    new = _facts(
        corpus, tokenizer, special, contexts, target.name, context_size, n_contexts=0, n_held_out=0, dropped=0
    )
    grow(
        target, corpus, tokenizer, new, wanted=wanted, validation_share=validation_share,
        check=check, on_progress=on_progress, rule=rule,
    )


def _write(
    partial: Path,
    corpus: Corpus,
    tokenizer: Any,
    special: SpecialTokens,
    fingerprint: str,
    context_size: int,
    packing: Packing,
    check: Callable[[], None],
    on_progress: Callable[[int], None] | None,
) -> PackFacts:
    contexts = Contexts(tokenizer, special, context_size, prepend_bos=packing.prepend_bos, join=packing.join)
    counts = {"train": 0, "validation": 0}
    dropped = 0
    splits: tuple[Split, ...] = ("train", "validation") if corpus.held_out else ("train",)
    with (partial / "tokens.bin").open("wb") as stream:
        for split in splits:
            for batch in batched(corpus.documents(split)):
                check()
                rows = contexts.add(batch)
                stream.write(rows.tobytes())
                counts[split] += len(rows)
                if on_progress is not None:
                    on_progress(sum(counts.values()) * context_size)
            dropped += contexts.end()
        stream.flush()
        os.fsync(stream.fileno())
    if contexts.documents == 0:
        raise ConfigError(
            "The corpus holds no text.", where="corpus", hint="Choose a file or folder with some text in it."
        )
    if counts["train"] == 0:
        raise ConfigError(
            f"The corpus has {dropped:,} tokens, less than one context of {context_size:,}." if packing.join
            else f"No document of the corpus has the {context_size:,} tokens of a context.", where="corpus",
            hint=f"Give {'more text' if packing.join else 'longer documents'}, or lower Context length.",
        )
    return _facts(
        corpus, tokenizer, special, contexts, fingerprint, context_size, n_contexts=sum(counts.values()),
        n_held_out=counts["validation"], dropped=dropped,
    )


def _facts(
    corpus: Corpus, tokenizer: Any, special: SpecialTokens, contexts: Contexts, fingerprint: str, context_size: int, *,
    n_contexts: int, n_held_out: int, dropped: int,
) -> PackFacts:
    return PackFacts(
        format=FORMAT, fingerprint=fingerprint, context_size=context_size, prepend_bos=contexts.bos is not None,
        dtype=contexts.dtype.str, n_contexts=n_contexts, n_held_out=n_held_out, n_documents=contexts.documents,
        n_dropped_tokens=dropped, largest_id=contexts.largest, special_ids=special.all, bos=special.bos,
        separator=special.separator, joined=contexts.join, corpus=corpus.label,
        tokenizer=str(getattr(tokenizer, "name_or_path", "")).replace("\\", "/").rstrip("/").split("/")[-1],
        growth=new_growth(cast(LongCorpus, corpus)) if is_long(corpus) else None,
    )


def _publish(partial: Path, target: Path, facts: PackFacts) -> None:
    """Make the finished folder appear under its name. Where another process did so meanwhile, its copy stays."""
    with (partial / "pack.json").open("w", encoding="utf-8") as stream:
        json.dump(facts.to_data(), stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    try:
        partial.rename(target)
    except OSError:
        if not (target / "pack.json").is_file():
            raise


def _remove_stale(folder: Path) -> None:
    """Remove what a killed process left a day or more ago."""
    for leftover in folder.glob(".partial-*"):
        try:
            old = time.time() - leftover.stat().st_mtime > _STALE_SECONDS
        except FileNotFoundError:  # its owner just finished
            continue
        if old:
            shutil.rmtree(leftover, ignore_errors=True)
