"""Defines `Document`, `Chunk` and `Corpus`: what every reader of text hands out, and the place behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Position = Mapping[str, Any]
"""Where a corpus goes on reading: plain JSON data, kept beside the packed tokens."""

PIECE_CHARACTERS = 1 << 18  # longest piece handed to the tokenizer
CHARACTERS_PER_TOKEN = 4  # so that chunks of ids are as large as chunks of text
CHUNK_CHARACTERS = 1 << 19  # characters per call of the tokenizer


class Turn(NamedTuple):
    """What one side says in a conversation."""

    role: str  # "system", "user", "assistant", … as the chat template of a tokenizer wants it
    content: str


@dataclass(frozen=True, slots=True)
class Document:
    """A document, or a piece of one."""

    text: str  # empty where `ids` or `turns` are given
    source: str  # where it is from (a file, a row, "string 3"), for messages
    continues: bool = False  # this piece follows the previous one without a break
    ids: npt.NDArray[np.int64] | None = None  # of text that was tokenised before, one-dimensional
    turns: tuple[Turn, ...] = ()  # of a conversation: who says what, in place of a text
    held_out: bool = False  # its corpus wants it evaluated on, not trained on

    @property
    def size(self) -> int:
        """Characters, or about as many as its ids stand for."""
        if self.ids is not None:
            return len(self.ids) * CHARACTERS_PER_TOKEN
        return len(self.text) + sum(len(turn.content) for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Documents that are worth a call of the tokenizer, and where to go on behind them."""

    documents: list[Document]
    position: Position


class Corpus(ABC):
    """Text to read."""

    label: str  # its name on the screen
    facts: Mapping[str, Any]  # what a run records of it, JSON data; "held_out": it brings its own validation documents
    is_long: bool = True  # it is packed as far as a run needs it; else to its end
    whole_rows: bool = False  # every document is one context already, tokenised by somebody else
    chat: bool = False  # its documents are conversations
    tokenizer_said: str | None = None  # the tokenizer that made its ids, according to the person who uses it

    @abstractmethod
    def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
        """The text from the beginning or from a `Chunk.position` on, in a fixed order."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the text: equal for equal corpora, wherever they lie."""

    def documents(self) -> Iterator[Document]:
        """The documents to train on."""
        for chunk in self.chunks():
            yield from (document for document in chunk.documents if not document.held_out)


Read = Iterator[tuple[list[Document] | None, Callable[[], Position]]]
"""What a reader yields: documents, and what tells the place behind them while it waits. None: a file has ended."""


def chunked(read: Read) -> Iterator[Chunk]:
    """Chunks of what a reader yields. What is behind a file that has ended is in another one, so that whoever goes on
    does not open the file again."""
    documents: list[Document] = []
    size = 0
    position: Callable[[], Position] = dict
    for found, position in read:
        documents += found or ()
        size += sum(document.size for document in found or ())
        if documents and (found is None or size >= CHUNK_CHARACTERS):
            yield Chunk(documents, position())
            documents, size = [], 0
    if documents:
        yield Chunk(documents, position())


def pieces(text: str, source: str) -> Iterator[Document]:
    """A document in pieces no longer than `PIECE_CHARACTERS`; nothing for an empty text."""
    continues = False
    while len(text) > PIECE_CHARACTERS:
        at = cut(text)
        yield Document(text[:at], source, continues)
        text, continues = text[at:], True
    if text:
        yield Document(text, source, continues)


def cut(text: str) -> int:
    """Where to end a piece: after a line end that text follows, where tokenizers break anyway; else at the limit."""
    at = PIECE_CHARACTERS
    floor = PIECE_CHARACTERS // 2
    while (at := text.rfind("\n", floor, at)) != -1:
        if not text[at + 1].isspace():
            return at + 1
    return PIECE_CHARACTERS
