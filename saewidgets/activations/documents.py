"""What corpora hand out: documents, or pieces of long ones, and the place behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Split = Literal["train", "validation"]
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
    """A document, or a piece of one.

    Attributes:
        text: the text; empty where `ids` are given.
        source: where it is from (a file, a row, "string 3"), for messages.
        continues: this piece follows the previous one without a break.
        ids: token ids of text that was tokenised before, one-dimensional.
        turns: of a conversation: who says what, in place of a text.
        held_out: its corpus wants it evaluated on, not trained on.
    """

    text: str
    source: str
    continues: bool = False
    ids: npt.NDArray[np.int64] | None = None
    turns: tuple[Turn, ...] = ()
    held_out: bool = False

    @property
    def size(self) -> int:
        """Characters, or about as many as its ids stand for."""
        if self.ids is not None:
            return len(self.ids) * CHARACTERS_PER_TOKEN
        return len(self.text) + sum(len(turn.content) for turn in self.turns)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole documents, and where to go on behind them."""

    documents: list[Document]
    position: Position


class Corpus(Protocol):
    """Text to read.

    Attributes:
        label: its name on the screen.
        held_out: it brings its own validation documents.
    """

    label: str
    held_out: bool

    def documents(self, split: Split = "train") -> Iterator[Document]:
        """The documents of one split, in a fixed order. Without `held_out` everything is in "train"."""

    def fingerprint(self) -> str:
        """A hash of the text: equal for equal corpora, wherever they lie."""


class LongCorpus(Corpus, Protocol):
    """Text that is too much to be read whole: it is packed as far as a run needs it, and goes on from there.

    Attributes:
        whole_rows: every document is one context already, tokenised by somebody else.
        facts: what a run records of it (dataset, exact revision, …), plain JSON data; "held_out" is among them where
            it brings its own validation documents.
    """

    whole_rows: bool
    facts: Mapping[str, Any]

    def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
        """The text from the beginning or from a `Chunk.position` on, in a fixed order."""


def is_long(corpus: Corpus) -> bool:
    """Whether `corpus` is a `LongCorpus`."""
    return hasattr(corpus, "chunks")


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
