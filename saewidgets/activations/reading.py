"""Rows of files → documents, a chunk at a time, from any place on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np

from saewidgets.activations.documents import CHUNK_CHARACTERS, Chunk, Document, Position, Turn, pieces
from saewidgets.activations.shards import Place, Row, Shard, What, read_rows
from saewidgets.errors import FormatError

# What datasets in the form of ShareGPT call the sides of a conversation.
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant"}


def read_chunks(shards: Sequence[Shard], what: What, column: str | None, position: Position | None) -> Iterator[Chunk]:
    """The documents of files, one after the other, from `position` on.

    Raises:
        FormatError: `position` is of other files; or a row is malformed.
        ConfigError, OSError: from `read_rows`.
    """
    number, start = _begin(shards, position)
    documents: list[Document] = []
    size = 0
    for index in range(number, len(shards)):
        shard = shards[index]
        for row in read_rows(shard, what, column, start if index == number else None):
            found = documents_of(row, what, f"{shard.name}:{row.number}")
            size += sum(document.size for document in found)
            documents += found
            if size >= CHUNK_CHARACTERS:
                yield Chunk(documents, _position(shards, index, row.after))
                documents, size = [], 0
        if documents:  # so that who goes on behind a file does not open it again
            yield Chunk(documents, _position(shards, index + 1, Place()))
            documents, size = [], 0


def documents_of(row: Row, what: What, source: str) -> list[Document]:
    """The document of one row, in pieces where it is long; nothing for one without text.

    Raises:
        FormatError: the row holds something else.
    """
    if row.value is None:
        return []
    if what == "tokens":
        return [Document("", source, ids=_ids(row, source))]
    if what == "chat":
        turns = _turns(row, source)
        return [Document("", source, turns=turns)] if turns else []
    if not isinstance(row.value, str):
        raise FormatError(
            f"Row {row.number:,} holds {type(row.value).__name__} where text is expected.", where=source,
            hint="Correct or remove this row.",
        )
    return list(pieces(readable(row.value), source))


def readable(text: str) -> str:
    """`text` with U+FFFD for halves of surrogate pairs, which JSON can hold and no tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _turns(row: Row, source: str) -> tuple[Turn, ...]:
    """The sides of a conversation; a string is what a user says."""
    if isinstance(row.value, str):
        return (Turn("user", readable(row.value)),) if row.value else ()
    turns = []
    for turn in row.value if isinstance(row.value, list) else [None]:
        said = turn if isinstance(turn, dict) else {}
        role, content = said.get("role", said.get("from")), said.get("content", said.get("value"))
        if not isinstance(role, str) or not isinstance(content, str):
            raise FormatError(
                f"Row {row.number:,} is no conversation.", where=source,
                hint='One is a list of {"role": …, "content": …}, with text in both.',
            )
        turns.append(Turn(_ROLES.get(role, role), readable(content)))
    return tuple(turns)


def _ids(row: Row, source: str) -> Any:
    ids = np.asarray(row.value) if isinstance(row.value, list) else None
    if ids is None or ids.ndim != 1 or (len(ids) and not np.issubdtype(ids.dtype, np.integer)):
        raise FormatError(
            f"Row {row.number:,} is not a list of token ids (whole numbers).", where=source,
            hint="Correct or remove this row.",
        )
    return ids.astype(np.int64)


def _begin(shards: Sequence[Shard], position: Position | None) -> tuple[int, Place]:
    if position is None:
        return 0, Place()
    number = int(position["shard"])
    if number < len(shards) and shards[number].name != position["name"]:
        raise FormatError(
            f"Reading stopped in {position['name']}, but file {number + 1} is {shards[number].name} now.",
            where="corpus", hint="Files were added, removed or renamed. Start a new run.",
        )
    return number, Place(*position["place"])


def _position(shards: Sequence[Shard], index: int, place: Place) -> dict[str, Any]:
    name = shards[index].name if index < len(shards) else ""
    return {"shard": index, "name": name, "place": list(astuple(place))}
