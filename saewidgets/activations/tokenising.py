"""Defines `Contexts`: documents → token ids → contexts of equal length."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from saewidgets.activations.documents import Document
from saewidgets.demo.model import DEMO, resolve_model
from saewidgets.errors import ConfigError, FormatError
from saewidgets.lm import SpecialTokens

Tokens = npt.NDArray[np.integer[Any]]


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
    those that are spelled out in what somebody says."""
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
        """The contexts that these documents complete, ``[n, context_size]``.

        Raises:
            ConfigError, FormatError: ids that were made before are none of this tokenizer's, or too few for a context.
        """
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
        """Of every document that is long enough the tokens of one context. While the beginning of one is not complete
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
    """Compare the tokenizer that made the ids, where it is known, with a run's.

    Raises:
        ConfigError: they differ. Names are compared by their last part, so that a local copy of a model passes.
    """
    made = facts.get("tokenizer")
    used = str(getattr(tokenizer, "name_or_path", "") or "")
    if not isinstance(made, str) or not made or not used:
        return
    if _last(resolve_model(made)) != _last(used):
        called = DEMO if used == resolve_model(DEMO) else used
        raise ConfigError(
            f"The tokens were made with the tokenizer of {made}, not of {called}.", where="corpus",
            hint=f"Choose a model with that tokenizer, or say TokensCorpus(…, tokenizer={_last(called)!r}) if they are "
            "the same.",
        )


def _last(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()
