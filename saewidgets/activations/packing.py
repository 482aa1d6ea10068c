"""Defines `pack`: documents → contexts of equal length in a memory-mapped file.

Documents are tokenised one after another and joined with a separator (the end-of-sequence token); the stream is cut
into contexts. Or each gives one context alone; see `Packing`. With `prepend_bos` every context starts with the
beginning-of-sequence token, so that the position whose activation is an outlier holds the same special token
everywhere and can be left out. Nothing is padded: what does not fill the last context is dropped.

The file is shared: the same text, tokenizer and settings are packed once. Long text (datasets of the hub, files of some
megabytes, the demo's) is packed as far as a run needs it, other text to its end. Contexts are added to ``tokens.bin``
and counted in ``pack.json`` once they are on the disk, together with the place where reading goes on: whatever a
process is killed at, the next one begins behind the last contexts that were counted.
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
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined] # public, not declared

from saewidgets.activations.documents import Corpus
from saewidgets.activations.packed import EVERY_TOKEN, Growth, PackedTokens, PackFacts, read_facts
from saewidgets.activations.tokenising import Contexts, Tokens, check_tokenizer, text_encoder, tokenizer_fingerprint
from saewidgets.config.packing import Packing
from saewidgets.durable import require_space, storage_errors, whole_file
from saewidgets.errors import ConfigError
from saewidgets.lm import SpecialTokens, separator_id, special_tokens
from saewidgets.lm.token_mask import TokenMask

__all__ = ["PackFacts", "PackedTokens", "Tokens", "pack", "read_ahead", "text_encoder", "tokenizer_fingerprint"]

COUNT_EVERY = 1 << 20  # tokens after which progress is put down
AS_USUAL = Packing()
FORMAT = 2  # 1: special tokens spelled out in a text were taken for real ones
_HOPELESS = 1000  # contexts without a single position to train on: more will not have any

Check = Callable[[], None]


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
    check: Check = lambda: None,
    on_progress: Callable[[int], None] = lambda positions: None,
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
        rule: which positions count as wanted.
        check: called between chunks, and while waiting; what it raises ends the packing. What was counted stays, and
            the next call goes on from there.
        on_progress: called with the number of positions for training so far.

    Raises:
        ConfigError: there is no text, not enough for one context, or no position of it counts; the tokenizer has no
            such separator.
        StorageError: the folder cannot be written.
        SAEWidgetsError: from reading the corpus.
    """
    folder = Path(folder)
    wanted = wanted if corpus.is_long else None
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
    if corpus.chat:
        settings["chat_template"] = tokenizer.chat_template
    target = folder / hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]
    tokenizer = copy.deepcopy(tokenizer)  # a fast tokenizer refuses to be used by two threads with different settings
    check_tokenizer({"tokenizer": corpus.tokenizer_said}, tokenizer)
    with storage_errors(
        "The tokens cannot be written", folder, "Free some disk space, or choose another workspace folder."
    ):
        if not _enough(target, wanted, validation_share, rule):  # or not even the hub has to be asked
            check_tokenizer(corpus.facts, tokenizer)
            new = _first_facts(corpus, tokenizer, special, target.name, context_size, packing)
            folder.mkdir(parents=True, exist_ok=True)
            with _alone(target, check):
                _grow(target, corpus, tokenizer, new, wanted, validation_share, rule, check, on_progress)
    return PackedTokens(target, validation_share, wanted=wanted, rule=rule)


def _first_facts(
    corpus: Corpus, tokenizer: Any, special: SpecialTokens, fingerprint: str, context_size: int, packing: Packing
) -> PackFacts:
    """What `pack.json` says before anything is read."""
    contexts = Contexts(
        tokenizer, special, context_size, prepend_bos=packing.prepend_bos, join=packing.join,
        whole_rows=corpus.whole_rows,
    )
    return PackFacts(
        format=FORMAT, fingerprint=fingerprint, context_size=context_size, prepend_bos=contexts.bos is not None,
        dtype=contexts.dtype.str, n_contexts=0, n_held_out=0, n_documents=0, n_dropped_tokens=0, largest_id=0,
        special_ids=special.all, bos=special.bos, separator=special.separator, joined=contexts.join,
        corpus=corpus.label,
        tokenizer=str(getattr(tokenizer, "name_or_path", "")).replace("\\", "/").rstrip("/").split("/")[-1],
        growth=Growth(position=None, rest=(), ended=False, source=dict(corpus.facts)),
    )


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


def _grow(
    target: Path, corpus: Corpus, tokenizer: Any, new: PackFacts, wanted: int | None, validation_share: float,
    rule: TokenMask, check: Check, on_progress: Callable[[int], None],
) -> None:
    if _enough(target, wanted, validation_share, rule):
        return  # somebody else has packed it meanwhile
    facts = read_facts(target) if _is_begun(target) else new
    target.mkdir(exist_ok=True)
    try:
        with _Writer(target, corpus, tokenizer, facts, validation_share, rule) as writer:
            writer.require_space(wanted)
            _read(writer, corpus, wanted, check, on_progress)
        _refuse_nothing(writer.facts)
    except BaseException:
        if not _is_begun(target):
            shutil.rmtree(target, ignore_errors=True)
        raise


def _is_begun(target: Path) -> bool:
    return (target / "pack.json").is_file()


def _enough(target: Path, wanted: int | None, validation_share: float, rule: TokenMask) -> bool:
    if not _is_begun(target):
        return False
    packed = PackedTokens(target, validation_share)
    growth = packed.facts.growth
    if growth is None or growth.ended:
        return True
    if wanted is None or growth.lacks_validation:
        return False
    return packed.enough(wanted, validation_share, rule)[1] >= wanted


def _read(
    writer: _Writer, corpus: Corpus, wanted: int | None, check: Check, on_progress: Callable[[int], None]
) -> None:
    chunks = corpus.chunks(writer.growth.position)
    with contextlib.closing(read_ahead(chunks, check)) as ahead:
        for chunk in ahead:
            writer.add(chunk.documents, dict(chunk.position))
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
    if not facts.n_dropped_tokens:
        raise ConfigError(
            "The corpus holds no text.", where="corpus", hint="Choose a file, folder or dataset with some text in it."
        )
    shape = f"{facts.n_dropped_tokens:,} tokens, less than one context of {facts.context_size:,}"
    if not facts.joined:
        shape = f"no document with the {facts.context_size:,} tokens of a context"
    raise ConfigError(
        f"The corpus has {shape}.", where="corpus",
        hint=f"Give {'more text' if facts.joined else 'longer documents'}, or lower Context length.",
    )


class _Writer:
    """Adds contexts to ``tokens.bin`` and counts them.

    Attributes:
        facts, growth: what is counted.
        found: positions for training so far.
        n_contexts: contexts so far.
    """

    def __init__(
        self, target: Path, corpus: Corpus, tokenizer: Any, facts: PackFacts, validation_share: float, rule: TokenMask
    ) -> None:
        assert facts.growth is not None  # or it would be packed to its end
        self._target, self._corpus, self._share, self._rule = target, corpus, validation_share, rule
        self.facts, self.growth = facts, facts.growth
        self.n_contexts = facts.n_contexts
        self.found = 0
        if _is_begun(target):
            self.found = PackedTokens(target, validation_share).enough(1 << 62, validation_share, rule)[1]
        self._position, self._held = self.growth.position, list(self.growth.held)
        self._special = np.array(facts.special_ids, dtype=np.int64)
        self._contexts, self._held_contexts = (
            Contexts(
                tokenizer, replace(special_tokens(tokenizer), separator=facts.separator), facts.context_size,
                prepend_bos=facts.prepend_bos, join=facts.joined, whole_rows=corpus.whole_rows, rest=rest,
            )
            for rest in (self.growth.rest, self.growth.held_rest)
        )

    def __enter__(self) -> _Writer:
        path = self._target / "tokens.bin"
        size = self.n_contexts * self.facts.context_size * self._contexts.dtype.itemsize
        path.touch()
        self._file: IO[bytes] = path.open("r+b")
        self._file.truncate(size)  # what was added and never counted
        self._file.seek(size)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def lacks_validation(self) -> bool:
        """See `Growth`."""
        return bool(self._corpus.facts.get("held_out")) and not self._held

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
        training = rows[~self.growth.held_out(numbers, self._share)]
        return int(self._rule.mask(training, np.isin(training, self._special)).sum())

    def count(self, *, ended: bool = False) -> None:
        """Put down how far it has come, once it is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        both = self._contexts, self._held_contexts
        dropped = sum(contexts.end() for contexts in both) if ended else 0
        rest, held_rest = (tuple(int(i) for i in contexts.rest) for contexts in both)
        self.growth = replace(
            self.growth, position=self._position, rest=rest, ended=ended, held=tuple(self._held), held_rest=held_rest
        )
        before = self.facts
        self.facts = replace(
            before, n_contexts=self.n_contexts, n_documents=before.n_documents + sum(each.documents for each in both),
            largest_id=max(before.largest_id, *(each.largest for each in both)), n_dropped_tokens=dropped,
            growth=self.growth if self._corpus.is_long or not ended else None,
        )
        for contexts in both:
            contexts.documents = 0
        if self.n_contexts:
            put_facts(self._target, self.facts)


def put_facts(target: Path, facts: PackFacts) -> None:
    """Write `pack.json`, whole or not at all."""
    with whole_file(target / "pack.json") as file:
        file.write(json.dumps(facts.to_data(), indent=1))


T = TypeVar("T")

_DEPTH = 3  # items that wait to be taken
_LOOK = 0.2  # seconds after which somebody who waits is asked whether to go on


def read_ahead(items: Iterator[T], check: Check) -> Generator[T]:
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
