"""Defines `TextFiles`, the corpus of files, folders and strings on this machine, and `read_documents`, which reads the
rows of every corpus."""

import codecs
import hashlib
import io
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from saewidgets.activations import documents
from saewidgets.activations.documents import (
    Chunk,
    Corpus,
    Document,
    Position,
    Read,
    Shard,
    ShardPosition,
    ShardRow,
    Turn,
    What,
    chunked,
    cut,
    is_utf16,
    kind_of,
    pieces,
    read_rows,
)
from saewidgets.config import TextCorpus
from saewidgets.durable import size_of, storage_errors
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError

# What datasets in the form of ShareGPT call the sides of a conversation.
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant"}


def read_documents(shards: Sequence[Shard], what: What, column: str | None, position: Position | None) -> Read:
    """The documents of files row by row, one file after the other, from `position` on."""
    number, start = 0, ShardPosition()
    if position is not None:
        number, start = int(position["shard"]), ShardPosition(*position["place"])
        if number < len(shards) and shards[number].name != position["name"]:
            raise FormatError(
                f"Reading stopped in {position['name']}, but file {number + 1} is {shards[number].name} now.",
                where="corpus", hint="Files were added, removed or renamed. Start a new run.",
            )
    names = [*(shard.name for shard in shards), ""]
    for index, shard in enumerate(shards[number:], number):
        for row in read_rows(shard, what, column, start if index == number else None):
            found = documents_of(row, what, f"{shard.name}:{row.number}")
            yield found, partial(_position, shard.name, index, row.after)
        yield None, partial(_position, names[index + 1], index + 1, ShardPosition())


def documents_of(row: ShardRow, what: What, source: str) -> list[Document]:
    """The document of one row, in pieces where it is long; nothing for one without text."""
    if row.value is None:
        return []
    if what == "tokens":
        return [Document("", source, ids=_ids(row, source))]
    if what == "chat":
        turns = _turns(row, source)
        return [Document("", source, turns=turns)] if turns else []
    text = row.value
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(
                f"Row {row.number:,} holds bytes that are not UTF-8 text.", where=source,
                hint="Choose a column with text, or write the column as strings.",
            ) from error
    if not isinstance(text, str):
        raise FormatError(
            f"Row {row.number:,} holds {type(text).__name__} where text is expected.", where=source,
            hint="Correct or remove this row.",
        )
    return list(pieces(readable_text(text), source))


def readable_text(text: str) -> str:
    """`text` with U+FFFD for halves of surrogate pairs, which JSON can hold and no tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _turns(row: ShardRow, source: str) -> tuple[Turn, ...]:
    if isinstance(row.value, str):
        return (Turn("user", readable_text(row.value)),) if row.value else ()
    turns = []
    for turn in row.value if isinstance(row.value, list) else [None]:
        said = turn if isinstance(turn, dict) else {}
        role, content = said.get("role", said.get("from")), said.get("content", said.get("value"))
        if not isinstance(role, str) or not isinstance(content, str):
            raise FormatError(
                f"Row {row.number:,} is not a conversation.", where=source,
                hint='One is a list of {"role": …, "content": …}, with text in both.',
            )
        turns.append(Turn(_ROLES.get(role, role), readable_text(content)))
    return tuple(turns)


def _ids(row: ShardRow, source: str) -> Any:
    ids = np.asarray(row.value) if isinstance(row.value, list) else None
    if ids is None or ids.ndim != 1 or (len(ids) and not np.issubdtype(ids.dtype, np.integer)):
        raise FormatError(
            f"Row {row.number:,} is not a list of token ids (whole numbers).", where=source,
            hint="Correct or remove this row.",
        )
    return ids.astype(np.int64)


def _position(name: str, index: int, place: ShardPosition) -> dict[str, Any]:
    return {"shard": index, "name": name, "place": [place.row, place.at, place.skip]}


def find_files(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """`path` itself, or the files in that folder whose names end in one of `suffixes`, sorted by path."""
    if os.path.isfile(path):  # False where no file can have such a name
        return [path]
    if not os.path.isdir(path):
        raise NotFoundError("There is no such file or folder.", where=str(path), hint="Check the path of the dataset.")
    if (path / "dataset_dict.json").is_file():
        splits = ", ".join(sorted(entry.name for entry in path.iterdir() if entry.is_dir()))
        raise ConfigError(
            "This folder holds several splits of a dataset.", where=str(path), hint=f"Give the folder of one: {splits}."
        )
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
        hidden = (".", "cache-")  # what `datasets` keeps beside the files of `save_to_disk`
        names = [name for name in names if name.lower().endswith(suffixes) and not name.startswith(hidden)]
        files += [Path(folder, name) for name in names]
    if not files:
        raise NotFoundError(
            "This folder holds no text.", where=str(path), hint=f"Files ending in {', '.join(suffixes)} are read."
        )
    return sorted(files)


def _read_text(file: Path, encoding: str) -> Iterator[Document]:
    """The pieces of one file. Line ends become ``\\n``; a byte-order mark is dropped."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
    first, rest, read = True, "", 0
    try:
        with file.open("rb") as stream:
            while True:
                data = stream.read(documents.PIECE_CHARACTERS)
                if not read and is_utf16(data) and codecs.lookup(encoding).name == "utf-8":  # its nulls decode as well
                    hint = 'Give its encoding: TextCorpus(path, encoding="utf-16").'
                    raise FormatError("The text is UTF-16.", where=str(file), hint=hint)
                read += len(data)
                text = decoder.decode(data, final=not data)
                rest += text.removeprefix("\ufeff") if first and not rest else text
                while len(rest) > documents.PIECE_CHARACTERS:
                    at = cut(rest)
                    yield Document(rest[:at], str(file), continues=not first)
                    rest, first = rest[at:], False
                if not data:
                    break
            if rest:
                yield Document(rest, str(file), continues=not first)
    except UnicodeError as error:
        found = "The text is"
        if isinstance(error, UnicodeDecodeError):  # else no single byte is wrong: UTF-16 without a byte-order mark, say
            place = read - len(error.object) + error.start
            found = f"Byte 0x{error.object[error.start]:02x} at position {place:,} is"
        raise FormatError(
            f"{found} not {encoding} ({getattr(error, 'reason', error)}).", where=str(file),
            hint='Save the file as UTF-8, or give its encoding: TextCorpus(path, encoding="latin-1").',
        ) from error


LONG = 1 << 22  # bytes of files from which on they are packed as far as needed, not whole
HASHED = 1 << 28  # bytes of files up to which they are recognised by their text
SUFFIXES = (
    ".txt", ".md", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst", ".parquet", ".arrow",
)  # fmt: skip


def local_shard(file: Path) -> Shard | None:
    """`file` as a file of rows; None where it is plain text."""
    kind = kind_of(file.name)
    return None if kind is None else Shard(str(file), kind, lambda: file.open("rb"))


class TextFiles(Corpus):
    """Files, folders and strings, in the order given (a folder's files sorted by path)."""

    def __init__(self, config: TextCorpus) -> None:
        self.label, self.chat, self._config = config.label, config.chat, config
        self._what: What = "chat" if config.chat else "text"
        self._hash: str | None = None
        try:
            "".encode(config.encoding)  # unlike codecs.lookup: refuses rot13, base64 and others that are not of text
        except LookupError as error:
            raise ConfigError(
                f"There is no encoding {config.encoding!r}.", where="corpus.encoding",
                hint="Use utf-8, latin-1, utf-16, …",
            ) from error
        self.files = tuple(
            file for name in config.files for file in find_files(Path(name).expanduser().absolute(), SUFFIXES)
        )
        self.size = sum(size_of(file) for file in self.files)
        self.is_long = self.size > LONG
        self.facts: Mapping[str, Any] = {"kind": "text", "label": self.label, "files": len(self.files)}

    def fingerprint(self) -> str:
        """Beyond 256 MB from names, sizes and times of change: reading the files at every start would take minutes.
        A copy of the files counts as another text."""
        if self._hash is not None:  # several ask the corpus that they are about to read
            return self._hash
        digest = hashlib.sha256()
        if self.size > HASHED:
            config = self._config
            files = [[file.name, size_of(file), file.stat().st_mtime_ns] for file in self.files]
            settings = [config.text_field, config.encoding, list(config.strings), *["chat"][: self.chat]]
            digest.update(json.dumps([files, settings]).encode())
        else:
            for document in self.documents():
                mark = "\1" if document.continues else "\0"  # one document of two pieces differs from two documents
                digest.update((mark + document.text).encode("utf-8", "surrogatepass"))
                for turn in document.turns:
                    digest.update(f"\2{turn.role}\3{turn.content}".encode("utf-8", "surrogatepass"))
        self._hash = digest.hexdigest()
        return self._hash

    def chunks(self, position: Position | None = None) -> Iterator[Chunk]:
        return chunked(self._read(position or {"file": 0, "inside": None}))

    def _read(self, position: Position) -> Read:
        first = int(position["file"])
        for number in range(first, len(self.files) + 1):
            inside = position["inside"] if number == first else None
            if number == len(self.files):
                strings = (pieces(text, f"string {n}") for n, text in enumerate(self._config.strings, start=1))
                found = self._plain(itertools.chain.from_iterable(strings), inside)
            elif (shard := local_shard(file := self.files[number])) is None:
                found = self._plain(_read_text(file, self._config.encoding), inside)
            else:
                found = read_documents([shard], self._what, self._config.text_field, inside)
            with readable(self.files[number]) if number < len(self.files) else nullcontext():
                for read, place in found:
                    if read is not None:  # files that are small are tokenised together
                        yield read, partial(_inside, number, place)

    def _plain(self, text: Iterable[Document], start: Position | None) -> Read:
        """Pieces of text; those before `start` are read again, but not handed out. Where conversations are read, plain
        text is what a user says."""
        before = 0 if start is None else int(start["pieces"])
        for number, piece in enumerate(text, start=1):
            if number > before:
                said = replace(piece, text="", turns=(Turn("user", piece.text),)) if self.chat else piece
                yield [said], partial(dict, pieces=number)


def _inside(number: int, place: Callable[[], Position]) -> Position:
    return {"file": number, "inside": dict(place())}


def readable(file: Path) -> AbstractContextManager[None]:
    """Turns the system's complaint about a file into ours."""
    return storage_errors("The file cannot be read", file, "Check its permissions.")
