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
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from saewidgets.activations.documents import Corpus, Document
from saewidgets.activations.packed import EVERY_TOKEN, Growth, PackedTokens, PackFacts, Tokens, read_facts
from saewidgets.activations.prefetch import Check, read_ahead
from saewidgets.config.packing import Packing
from saewidgets.demo.model import DEMO, resolve_model
from saewidgets.durable import require_space, storage_errors, write_json
from saewidgets.errors import ConfigError, FormatError
from saewidgets.hub.cache import waited_lock
from saewidgets.lm import SpecialTokens, separator_id, special_tokens
from saewidgets.lm.tokens import TokenMask


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Hash of a tokenizer's vocabulary and rules."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        # Truncation and padding belong to the last call, not to the tokenizer.
        data = json.loads(backend.to_str()) | {"truncation": None, "padding": None}
    else:
        data = {"class": type(tokenizer).__name__, "vocab": tokenizer.get_vocab()}
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def text_encoder(tokenizer: Any) -> Callable[[list[str]], list[list[int]]]:
    """Texts → ids, no special token among them: one that is spelled out in a text is text, or anybody's words could
    begin a document. Fast tokenizers are asked directly (without character offsets), and keep these settings: give a
    copy of one that others use."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return lambda texts: [
            tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False) for text in texts
        ]
    backend.encode_special_tokens = True
    backend.no_truncation()
    backend.no_padding()
    return lambda texts: [e.ids for e in backend.encode_batch_fast(texts, add_special_tokens=False)]


def _conversation_encoder(tokenizer: Any) -> Callable[[Document], list[int]]:
    """Conversations → ids, as the tokenizer's own chat template writes them out: with its special tokens, and with
    those that are spelled out in a message."""
    backend = getattr(tokenizer, "backend_tokenizer", None)

    def encode(document: Document) -> list[int]:
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError(
                "The tokenizer of this model has no chat template.", where="corpus.chat",
                hint="Choose a chat model, or switch Conversations off.",
            )
        turns = [turn._asdict() for turn in document.turns]
        try:
            written = tokenizer.apply_chat_template(turns, tokenize=False)
        except Exception as error:  # whatever a template raises, it is of the model's repository
            raise FormatError(
                f"The chat template of the model refuses this conversation ({str(error)[:200]}).",
                where=document.source,
                hint="Correct or remove this row.",
            ) from error
        try:
            ids: list[int] = tokenizer(written, add_special_tokens=False, verbose=False)["input_ids"]
            return ids
        finally:
            if backend is not None:
                backend.encode_special_tokens = True  # as `text_encoder` has it

    return encode


class Contexts:
    """Joins documents and cuts the stream of tokens into contexts.

    Args:
        tokenizer: the caller's own copy.
        prepend_bos: begin every context with BOS (and close it as encoders want it).
        join: documents follow one another; else each that is long enough gives one context, its beginning.
        whole_rows: documents are contexts already: each gives its first `context_size` ids as they are.
        rest: tokens that did not fill a context the last time; the document they are of goes on.

    Attributes:
        dtype: of the ids: uint16, or uint32 where the vocabulary has more than 65,536 entries.
        rest: tokens that wait for more.
        documents, largest: documents begun, largest id seen.
    """

    def __init__(
        self, tokenizer: Any, special: SpecialTokens, context_size: int, *, prepend_bos: bool = True,
        join: bool = True, whole_rows: bool = False, rest: Iterable[int] = (),
    ) -> None:
        self._encode = text_encoder(tokenizer)
        self._converse = _conversation_encoder(tokenizer)
        self._vocabulary = len(tokenizer)
        self._size = context_size
        self._separator = special.separator
        self._marks = {special.bos, special.separator} - {None}
        self._whole, self.join = whole_rows, join or whole_rows
        self._left_out = 0
        self.bos = special.bos if prepend_bos and not whole_rows else None
        self.closing = special.closing if prepend_bos and not whole_rows else None
        self._room = context_size - (self.bos is not None) - (self.closing is not None)
        if self._room < 1:
            raise ConfigError(
                f"A context of {context_size:,} tokens has no room for text between its special tokens.",
                where="context_size", hint="Use longer contexts.",
            )
        self.dtype = np.dtype("<u2" if self._vocabulary <= 1 << 16 else "<u4")
        self.rest: Tokens = np.array(list(rest), dtype=self.dtype)
        self.documents = self.largest = 0

    def add(self, documents: list[Document]) -> Tokens:
        """The contexts that these documents complete, ``[n, context_size]``."""
        parts = self._ids(documents)
        if not parts:
            return np.empty((0, self._size), dtype=self.dtype)
        self.largest = max(self.largest, *(int(part.max()) for part in parts if len(part)), 0)
        if self._whole:
            return np.stack(parts)
        if self.join:
            stream = np.concatenate([self.rest, *parts])
            full = len(stream) // self._room
            self.rest = stream[full * self._room :]
        else:
            stream = np.concatenate([np.empty(0, dtype=self.dtype), *self._beginnings(documents, parts)])
            full = len(stream) // self._room
        rows = stream[: full * self._room].reshape(full, self._room)
        ends = [np.full((full, 1), mark, dtype=self.dtype) for mark in (self.bos, self.closing) if mark is not None]
        if self.bos is not None:
            rows = np.concatenate([ends[0], rows], axis=1)
        return np.concatenate([rows, ends[-1]], axis=1) if self.closing is not None else rows

    def end(self) -> int:
        """The text ends here: what fills no context is dropped. Returns how many tokens that were."""
        dropped = len(self.rest) + self._left_out
        self._left_out = 0
        self.rest = np.empty(0, dtype=self.dtype)
        return dropped

    def _beginnings(self, documents: list[Document], parts: list[Tokens]) -> Iterator[Tokens]:
        """The tokens of one context from every document that is long enough. While the beginning of one is not complete
        it waits in `rest`, which is empty while the pieces behind it are passed over."""
        for document, ids in zip(documents, parts, strict=True):
            if document.continues and not len(self.rest):
                continue
            if not document.continues:
                self._left_out += len(self.rest)
                self.rest = ids[:0]
            self.rest = np.concatenate([self.rest, ids])
            begin = int(len(self.rest) > 0 and int(self.rest[0]) == self.bos)  # ids that were made with one
            if len(self.rest) >= begin + self._room:
                yield self.rest[begin : begin + self._room]
                self.rest = ids[:0]

    def _ids(self, documents: list[Document]) -> list[Tokens]:
        plain = [document.text for document in documents if document.ids is None and not document.turns]
        encoded = iter(self._encode(plain) if plain else ())
        parts: list[Tokens] = []
        for document in documents:
            ids: Any
            if document.turns:
                ids = self._converse(document)
            else:
                ids = next(encoded) if document.ids is None else self._checked(document)
            if self._whole:
                parts.append(self._row(document, ids))
            else:
                begun = (document.ids is not None or document.turns) and len(ids) and int(ids[0]) in self._marks
                if self.join and self._separator is not None and not document.continues and not begun:
                    parts.append(np.array([self._separator], dtype=self.dtype))
                parts.append(np.asarray(ids, dtype=self.dtype))
            self.documents += not document.continues
        return parts

    def _checked(self, document: Document) -> npt.NDArray[np.int64]:
        """Ids that were made before, which have to be in the vocabulary: a smaller number format would change them."""
        ids = document.ids
        assert ids is not None  # of a document with text
        if len(ids) and not (ids.min() >= 0 and ids.max() < self._vocabulary):
            wrong = int(ids.min()) if ids.min() < 0 else int(ids.max())
            raise ConfigError(
                f"{document.source} has token id {wrong:,}; the tokenizer knows 0 to {self._vocabulary - 1:,}.",
                where="corpus", hint="Choose the model whose tokenizer made these ids.",
            )
        return ids

    def _row(self, document: Document, ids: Any) -> Tokens:
        if len(ids) < self._size:
            raise FormatError(
                f"The row has {len(ids):,} tokens, fewer than one context of {self._size:,}.", where=document.source,
                hint=f"Set Context length to {len(ids):,} or less.",
            )
        return np.asarray(ids[: self._size], dtype=self.dtype)


def check_tokenizer(facts: Mapping[str, Any], tokenizer: Any) -> None:
    """Raises `ConfigError` where another tokenizer made the ids. Names are compared by their last part, so that a local
    copy of a model passes."""
    made = facts.get("tokenizer")
    used = str(getattr(tokenizer, "name_or_path", "") or "")
    if not isinstance(made, str) or not made or not used:
        return
    if _last(resolve_model(made)) != _last(used):
        called = DEMO if used == resolve_model(DEMO) else used
        raise ConfigError(
            f"The tokens were made with the tokenizer of {made}, not of {called}.", where="corpus",
            hint=f"Choose a model with that tokenizer, or give TokensCorpus(…, tokenizer={_last(called)!r}) if they "
            "are the same.",
        )


def _last(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()


COUNT_EVERY = 1 << 20  # tokens after which progress is put down
AS_USUAL = Packing()
FORMAT = 2  # 1: special tokens spelled out in a text were taken for real ones
_HOPELESS = 1000  # contexts without a single position to train on: more will not have any


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
            check()
            # One process and thread at a time adds to a packing; the others wait.
            with waited_lock(target.with_name(f".lock-{target.name}"), check):
                _grow(target, corpus, tokenizer, new, wanted, validation_share, rule, check, on_progress)
    return PackedTokens(target, validation_share, wanted=wanted, rule=rule)


def _first_facts(
    corpus: Corpus, tokenizer: Any, special: SpecialTokens, fingerprint: str, context_size: int, packing: Packing
) -> PackFacts:
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
        shape = f"no document of at least {facts.context_size:,} tokens, the length of a context"
    raise ConfigError(
        f"The corpus has {shape}.", where="corpus",
        hint=f"Give {'more text' if facts.joined else 'longer documents'}, or lower Context length.",
    )


class _Writer:
    """Adds contexts to ``tokens.bin`` and counts them; `found` are positions for training."""

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
        return bool(self._corpus.facts.get("held_out")) and not self._held

    def require_space(self, wanted: int | None) -> None:
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
                numbers = np.arange(self.n_contexts, self.n_contexts + len(rows), dtype=np.int64)
                training = rows[~self.growth.held_out(numbers, self._share)]
                self.found += int(self._rule.mask(training, np.isin(training, self._special)).sum())
            self.n_contexts += len(rows)
        self._position = position
        if (self.n_contexts - self.facts.n_contexts) * self.facts.context_size >= COUNT_EVERY:
            self.count()

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
            write_json(self._target / "pack.json", self.facts.to_data())
