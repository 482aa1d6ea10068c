"""Corpora: where documents come from.

A corpus yields `Document`s. A long file arrives in several pieces, so that memory does not grow with it; `continues`
marks a piece that carries on the one before.
"""

from __future__ import annotations

import codecs
import hashlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from saewidgets import demo
from saewidgets.config import DemoCorpus, TextCorpus
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError

Split = Literal["train", "validation"]

PIECE_CHARACTERS = 1 << 18  # longest piece handed to the tokenizer
_SUFFIXES = (".txt", ".md")


@dataclass(frozen=True, slots=True)
class Document:
    """A document, or a piece of one.

    Attributes:
        text: the text.
        source: where it is from (a file, or "string 3"), for messages.
        continues: this piece follows the previous one without a break.
    """

    text: str
    source: str
    continues: bool = False


class Corpus(Protocol):
    """Text to read. `held_out` says that the corpus brings its own validation documents."""

    label: str
    held_out: bool

    def documents(self, split: Split = "train") -> Iterator[Document]:
        """The documents of one split, in a fixed order. Without `held_out` everything is in "train"."""

    def fingerprint(self) -> str:
        """A hash of the text: equal for equal corpora, wherever they lie."""


def open_corpus(config: TextCorpus | DemoCorpus) -> Corpus:
    """The corpus that `config` describes. Files are looked for at once; they are read when iterated.

    Raises:
        NotFoundError: a file or folder does not exist, or a folder holds no text.
        StorageError: a file in a folder is a link that leads out of it.
        ConfigError: no such encoding.
    """
    if isinstance(config, DemoCorpus):
        return _Demo()
    if isinstance(config, TextCorpus):
        return _Text(config)
    raise ConfigError(
        f"{type(config).__name__} is not a corpus.", where="corpus", hint='Use "demo", a path or TextCorpus.'
    )


class _Demo:
    """The text that ships with the package."""

    label = "demo"
    held_out = True

    def documents(self, split: Split = "train") -> Iterator[Document]:
        for document in demo.documents(split):
            yield from _pieces(document.text, document.title)

    def fingerprint(self) -> str:
        # The text is part of the package and changes only with it: its counts and its beginning stand for it, since to
        # unpack it all would take seconds at every start.
        beginning = (document.text for document in itertools.islice(demo.documents("all"), 20))
        return _hash(itertools.chain(["demo", repr(demo.corpus_info())], beginning))


class _Text:
    """Files, folders and strings, in the order given (a folder's files sorted by path)."""

    held_out = False

    def __init__(self, config: TextCorpus) -> None:
        self.label = config.label
        self._strings = config.strings
        self._encoding = config.encoding
        try:
            "".encode(config.encoding)  # unlike codecs.lookup: refuses rot13, base64 and others that are not of text
        except LookupError as error:
            raise ConfigError(
                f"There is no encoding {config.encoding!r}.", where="corpus.encoding",
                hint="Use utf-8, latin-1, utf-16, …",
            ) from error
        self.files = tuple(file for name in config.files for file in _found(Path(name).expanduser().absolute()))

    def documents(self, split: Split = "train") -> Iterator[Document]:
        if split == "validation":
            return
        for file in self.files:
            yield from _read(file, self._encoding)
        for number, text in enumerate(self._strings, start=1):
            yield from _pieces(text, f"string {number}")

    def fingerprint(self) -> str:
        return _hash(_texts(self, "train"))


def _texts(corpus: Any, split: Split) -> Iterator[str]:
    for document in corpus.documents(split):
        yield "\1" if document.continues else "\0"  # so that one document of two pieces differs from two documents
        yield document.text


def _hash(texts: Iterator[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _found(path: Path) -> list[Path]:
    """`path` itself, or the text files in that folder."""
    if path.is_file():
        return [path]
    if not path.is_dir():
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
            Path(folder, name) for name in names if name.lower().endswith(_SUFFIXES) and not name.startswith(".")
        ]
    if not files:
        raise NotFoundError(
            "This folder holds no text.", where=str(path), hint=f"Files ending in {' or '.join(_SUFFIXES)} are read."
        )
    return sorted(files)


def _read(file: Path, encoding: str) -> Iterator[Document]:
    """The pieces of one file. Line ends become ``\\n``; a byte-order mark is dropped."""
    first = True
    try:
        with file.open(encoding=encoding) as stream:
            rest = ""
            while chunk := stream.read(PIECE_CHARACTERS):
                rest += chunk.removeprefix("\ufeff") if first and not rest else chunk
                while len(rest) > PIECE_CHARACTERS:
                    cut = _cut(rest)
                    yield Document(rest[:cut], str(file), continues=not first)
                    rest, first = rest[cut:], False
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


def _pieces(text: str, source: str) -> Iterator[Document]:
    continues = False
    while len(text) > PIECE_CHARACTERS:
        cut = _cut(text)
        yield Document(text[:cut], source, continues)
        text, continues = text[cut:], True
    if text:
        yield Document(text, source, continues)


def _cut(text: str) -> int:
    """Where to end a piece: after a line end that text follows, where tokenizers break anyway; else at the limit."""
    at = PIECE_CHARACTERS
    floor = PIECE_CHARACTERS // 2
    while (at := text.rfind("\n", floor, at)) != -1:
        if not text[at + 1].isspace():
            return at + 1
    return PIECE_CHARACTERS
