"""Files, folders and strings on this machine."""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from saewidgets.activations import documents
from saewidgets.activations.documents import CHUNK_CHARACTERS, Chunk, Document, Position, Split, Turn, cut, pieces
from saewidgets.activations.shards import Place, Row, Shard, What, kind_of, read_rows
from saewidgets.config import TextCorpus
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError

# Rows of files → documents, a chunk at a time, from any place on.

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
    return list(pieces(readable_text(row.value), source))


def readable_text(text: str) -> str:
    """`text` with U+FFFD for halves of surrogate pairs, which JSON can hold and no tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _turns(row: Row, source: str) -> tuple[Turn, ...]:
    """The sides of a conversation; a string is what a user says."""
    if isinstance(row.value, str):
        return (Turn("user", readable_text(row.value)),) if row.value else ()
    turns = []
    for turn in row.value if isinstance(row.value, list) else [None]:
        said = turn if isinstance(turn, dict) else {}
        role, content = said.get("role", said.get("from")), said.get("content", said.get("value"))
        if not isinstance(role, str) or not isinstance(content, str):
            raise FormatError(
                f"Row {row.number:,} is no conversation.", where=source,
                hint='One is a list of {"role": …, "content": …}, with text in both.',
            )
        turns.append(Turn(_ROLES.get(role, role), readable_text(content)))
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


# Plain text files: found in folders, decoded, and handed out in pieces.
def check_encoding(encoding: str) -> None:
    """Raise `ConfigError` unless there is such an encoding of text."""
    try:
        "".encode(encoding)  # unlike codecs.lookup: refuses rot13, base64 and others that are not of text
    except LookupError as error:
        raise ConfigError(
            f"There is no encoding {encoding!r}.", where="corpus.encoding", hint="Use utf-8, latin-1, utf-16, …"
        ) from error


def find_files(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """`path` itself, or the files in that folder whose names end in one of `suffixes`, sorted by path.

    Raises:
        NotFoundError: it does not exist, or holds no such file.
        StorageError: a link in it leads out of it.
    """
    if os.path.isfile(path):  # False where no file can have such a name
        return [path]
    if not os.path.isdir(path):
        raise NotFoundError("There is no such file or folder.", where=str(path), hint="Check the path of the dataset.")
    home = path.resolve()
    files: list[Path] = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in (*folders, *sorted(names)):
            entry = Path(folder, name)
            if entry.is_symlink() and not entry.resolve().is_relative_to(home):
                raise StorageError(
                    "This link leads out of the folder of the dataset.", where=str(entry),
                    hint="Remove it, or name the file it points to as a dataset of its own.",
                )
        files += [
            Path(folder, name) for name in names if name.lower().endswith(suffixes) and not name.startswith(".")
        ]
    if not files:
        raise NotFoundError(
            "This folder holds no text.", where=str(path), hint=f"Files ending in {', '.join(suffixes)} are read."
        )
    return sorted(files)


def read_text(file: Path, encoding: str) -> Iterator[Document]:
    """The pieces of one file. Line ends become ``\\n``; a byte-order mark is dropped.

    Raises:
        FormatError: a byte is not of this encoding; the message names its place.
        StorageError: the file cannot be read.
    """
    first = True
    try:
        with file.open(encoding=encoding) as stream:
            rest = ""
            while chunk := stream.read(documents.PIECE_CHARACTERS):
                rest += chunk.removeprefix("\ufeff") if first and not rest else chunk
                while len(rest) > documents.PIECE_CHARACTERS:
                    at = cut(rest)
                    yield Document(rest[:at], str(file), continues=not first)
                    rest, first = rest[at:], False
            if rest:
                yield Document(rest, str(file), continues=not first)
    except UnicodeError as error:
        raise _undecodable(file, encoding, error) from error
    except OSError as error:
        raise StorageError(
            f"The file cannot be read: {error.strerror or error}.", where=str(file), hint="Check its permissions."
        ) from error


def _undecodable(file: Path, encoding: str, error: UnicodeError) -> FormatError:
    """The error with the byte's place in the file (the stream's own counts from its current buffer)."""
    position, byte = _bad_byte(file, encoding)
    found = f"Byte 0x{byte:02x} at position {position:,} is" if byte is not None else "The text is"
    return FormatError(
        f"{found} not {encoding} ({getattr(error, 'reason', error)}).", where=str(file),
        hint='Save the file as UTF-8, or give its encoding: TextCorpus(path, encoding="latin-1").',
    )


def _bad_byte(file: Path, encoding: str) -> tuple[int, int | None]:
    decoder = codecs.getincrementaldecoder(encoding)()
    before = 0
    with file.open("rb") as stream:
        while True:
            pending = decoder.getstate()[0]
            chunk = stream.read(1 << 20)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                data = pending + chunk
                return before - len(pending) + error.start, data[error.start] if error.start < len(data) else None
            except UnicodeError:  # UTF-16 without a byte-order mark, say: the whole file, no single byte
                return 0, None
            if not chunk:
                return before, None
            before += len(chunk)


LONG = 1 << 22  # bytes of files from which on they are packed as far as needed, not whole
HASHED = 1 << 28  # bytes of files up to which they are recognised by their text
SUFFIXES = (
    ".txt", ".md", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst", ".parquet",
)  # fmt: skip


def open_files(config: TextCorpus) -> TextFiles:
    """The files, folders and strings of `config`: a `LongCorpus` where files have more than 4 MB."""
    found = TextFiles(config)
    return LongTextFiles(config) if found.size > LONG else found


def local_shard(file: Path) -> Shard | None:
    """`file` as a file of rows; None where it is plain text."""
    kind = kind_of(file.name)
    return None if kind is None else Shard(str(file), kind, partial(_open, file))


class TextFiles:
    """Files, folders and strings, in the order given (a folder's files sorted by path)."""

    held_out = False

    def __init__(self, config: TextCorpus) -> None:
        self.label = config.label
        self._config = config
        self.chat = config.chat
        self._what: What = "chat" if config.chat else "text"
        self._hash: str | None = None
        check_encoding(config.encoding)
        self.files = tuple(
            file for name in config.files for file in find_files(Path(name).expanduser().absolute(), SUFFIXES)
        )

    @property
    def size(self) -> int:
        """Bytes in files."""
        return sum(_size(file) for file in self.files)

    def documents(self, split: Split = "train") -> Iterator[Document]:
        if split == "validation":
            return
        for file in self.files:
            yield from self._file(file)
        yield from self._strings()

    def fingerprint(self) -> str:
        if self._hash is None:  # the whole text is read for it, and several ask the corpus that they are about to read
            self._hash = self._hashed()
        return self._hash

    def _hashed(self) -> str:
        digest = hashlib.sha256()
        for document in self.documents():
            mark = "\1" if document.continues else "\0"  # one document of two pieces differs from two documents
            digest.update((mark + document.text).encode("utf-8", "surrogatepass"))
            for turn in document.turns:
                digest.update(f"\2{turn.role}\3{turn.content}".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def _strings(self) -> Iterator[Document]:
        for number, text in enumerate(self._config.strings, start=1):
            yield from self._said(pieces(text, f"string {number}"))

    def _said(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Plain text, where conversations are read, is what a user says."""
        for document in documents:
            yield replace(document, text="", turns=(Turn("user", document.text),)) if self.chat else document

    def _file(self, file: Path) -> Iterator[Document]:
        shard = local_shard(file)
        if shard is None:
            yield from self._said(read_text(file, self._config.encoding))
            return
        with readable(file):
            for chunk in read_chunks([shard], self._what, self._config.text_field, None):
                yield from chunk.documents


class LongTextFiles(TextFiles):
    """The same, too much to be packed whole."""

    whole_rows = False

    def __init__(self, config: TextCorpus) -> None:
        super().__init__(config)
        self.facts: Mapping[str, Any] = {"kind": "text", "label": self.label, "files": len(self.files)}

    def fingerprint(self) -> str:
        """Of more than 256 MB that of names, sizes and times of change: to read them at every start would take minutes.
        A copy of the files counts as another text."""
        if self.size <= HASHED:
            return super().fingerprint()
        files = [[file.name, _size(file), file.stat().st_mtime_ns] for file in self.files]
        settings = [self._config.text_field, self._config.encoding, list(self._config.strings), *["chat"][: self.chat]]
        return hashlib.sha256(json.dumps([files, settings]).encode()).hexdigest()

    def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
        """The text from `position` on.

        Raises:
            FormatError: a file is damaged, or is not the one where reading stopped.
            StorageError: a file cannot be read.
        """
        start = dict(position or {"file": 0, "inside": None})
        for number in range(int(start["file"]), len(self.files)):
            file = self.files[number]
            if (shard := local_shard(file)) is None:
                chunks = self._plain(file, start["inside"])
            else:
                chunks = read_chunks([shard], self._what, self._config.text_field, start["inside"])
            with readable(file):
                for chunk in chunks:
                    yield Chunk(chunk.documents, {"file": number, "inside": dict(chunk.position)})
            start["inside"] = None
        strings = list(self._strings())
        if strings and int(start["file"]) <= len(self.files):
            yield Chunk(strings, {"file": len(self.files) + 1, "inside": None})

    def _plain(self, file: Path, start: Position | None) -> Iterator[Chunk]:
        """A text file, some pieces at a time; pieces before `start` are read again, but not handed out."""
        waiting: list[Document] = []
        size = done = 0
        for number, piece in enumerate(self._said(read_text(file, self._config.encoding)), start=1):
            done = number
            if start is not None and number <= int(start["pieces"]):
                continue
            waiting.append(piece)
            size += len(piece.text)
            if size >= CHUNK_CHARACTERS:
                yield Chunk(waiting, {"pieces": number})
                waiting, size = [], 0
        if waiting:
            yield Chunk(waiting, {"pieces": done})


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turns the system's complaint about a file into ours."""
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"The file cannot be read: {error.strerror or error}.", where=str(file), hint="Check its permissions."
        ) from error


def _open(file: Path) -> Any:
    return file.open("rb")


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
