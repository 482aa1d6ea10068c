"""Files, folders and strings on this machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from saewidgets.activations.documents import CHUNK_CHARACTERS, Chunk, Document, Position, Split, Turn, pieces
from saewidgets.activations.reading import read_chunks
from saewidgets.activations.shards import Shard, What, kind_of
from saewidgets.activations.textfiles import check_encoding, find_files, read_text
from saewidgets.config import TextCorpus
from saewidgets.errors import StorageError

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
