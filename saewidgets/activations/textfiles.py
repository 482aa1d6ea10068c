"""Plain text files: found in folders, decoded, and handed out in pieces."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path

from saewidgets.activations import documents
from saewidgets.activations.documents import Document, cut
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError


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
