"""Where the files of an SAE are: a folder on this machine, or one on the hub of which only ranges are read.

Detection and description of a format read through a `Source`, so that a preview of a repository and a look at a
download are one piece of code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

from saewidgets.errors import FormatError, NotFoundError, StorageError

MAX_FILES = 20_000


class Source(Protocol):
    """A folder of files, read in pieces.

    Attributes:
        label: what errors call the folder: a path, or ``owner/name@revision/folder``.
    """

    label: str

    def files(self) -> Mapping[str, int]:
        """Names below the folder, with ``/`` between parts → size in bytes."""
        ...

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        """Up to `length` bytes from `start`; None reads to the end. Raises `FormatError` if it cannot be read."""
        ...



def listed(names: Sequence[str], most: int) -> str:
    """The first `most` names for a message, and how many there are besides."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@runtime_checkable
class OfOneFile(Protocol):
    """A source that may be one file, and knows what lies beside it."""

    def around(self) -> Source | None:
        """The folder of the one file that it is; None where it is a folder itself."""
        ...


class FolderSource:
    """A folder on this machine, or one file of it. What leads out of it is not listed and not read.

    The snapshots of the Hugging Face cache are links into the `blobs` folder beside them; those are followed.

    Args:
        path: a folder; or a file, for formats of which one file is an SAE: nothing else in its folder is seen then.
        depth: how many folders below it are looked into.

    Raises:
        NotFoundError: there is no such folder or file.
    """

    def __init__(self, path: Path, depth: int = 12) -> None:
        self.only = path.name if path.is_file() else None
        self.folder = path.parent if self.only else path
        if not self.folder.is_dir():
            raise NotFoundError("There is no such folder.", where=str(path), hint="Check the path of the SAE.")
        self.label = str(self.folder)
        self._homes = _homes(self.folder)
        self._depth = depth
        self._files: dict[str, int] | None = None

    def files(self) -> Mapping[str, int]:
        if self._files is None:
            found = {self.only: None} if self.only else dict(_entries(self.folder, self._depth))
            sizes = {name: self._size(name) if size is None else size for name, size in found.items()}
            self._files = {name: size for name, size in sorted(sizes.items()) if size is not None}
        return self._files

    def around(self) -> FolderSource | None:
        """As `OfOneFile.around`."""
        return FolderSource(self.folder, 0) if self.only else None

    def path(self, name: str) -> Path:
        """Where `name` is, for libraries that open files themselves.

        Raises:
            StorageError: it leads out of the folder.
            FormatError: it is not a file.
        """
        path = self.folder / name
        try:
            resolved = path.resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a link to itself, a zero byte in the name
            raise FormatError("This path leads nowhere.", where=str(path)) from error
        if not any(resolved.is_relative_to(home) for home in self._homes):
            raise StorageError(
                "This path leads out of its folder.", where=str(path), hint="Copy the file itself into the folder."
            )
        if not resolved.is_file():
            raise FormatError("This is not a file.", where=str(path), hint="Export or download the SAE again.")
        return path

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        path = self.path(name)
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(-1 if length is None else length)
        except OSError as error:
            raise FormatError(f"The file cannot be read ({error.strerror}).", where=str(path)) from error

    def _size(self, name: str) -> int | None:
        try:
            return self.path(name).stat().st_size
        except (OSError, FormatError):  # leads out, is broken or vanished: not part of the SAE
            return None


def size_of(source: Source, name: str) -> int:
    """Bytes of the file `name`. Raises `FormatError` if it is missing."""
    size = source.files().get(name)
    if size is None:
        raise FormatError(
            "The file is missing.", where=f"{source.label}/{name}", hint="Export or download the SAE again."
        )
    return size


def read_small(source: Source, name: str, most: int) -> bytes:
    """The whole file `name`. Raises `FormatError` if it is missing, or has more than `most` bytes."""
    if (size := size_of(source, name)) > most:
        raise FormatError(
            f"The file has {size:,} bytes; at most {most:,} are read.", where=f"{source.label}/{name}"
        )
    return source.read(name, 0, most + 1)


class ListedSource:
    """Some files of another source under names of their own: a folder of a repository, or one file of it."""

    def __init__(self, label: str, files: Mapping[str, int], read: Callable[[str, int, int | None], bytes]) -> None:
        self.label = label
        self._files = files
        self._read = read

    def files(self) -> Mapping[str, int]:
        return self._files

    def read(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        return self._read(name, start, length)


def alone(source: Source, name: str) -> Source:
    """One file of `source`, as if nothing else were there; its folder stays the label."""
    folder, _, base = name.rpartition("/")
    label = f"{source.label}/{folder}" if folder else source.label
    return ListedSource(label, {base: source.files()[name]}, lambda _, start, length: source.read(name, start, length))


def _homes(folder: Path) -> list[Path]:
    """The folders into which a link may lead."""
    home = folder.resolve()
    for parent in home.parents:
        if parent.name == "snapshots" and parent.parent.name.startswith("models--"):
            blobs = parent.parent / "blobs"
            return [home, blobs] if blobs.is_dir() and not blobs.is_symlink() else [home]
    return [home]


def _entries(folder: Path, max_depth: int) -> Iterator[tuple[str, int | None]]:
    """Files below `folder` with their sizes, links with None. Folders that are links are not entered."""
    count = 0
    open_folders = [(str(folder), "", 0)]
    while open_folders:
        path, prefix, depth = open_folders.pop()
        try:
            entries = list(os.scandir(path))
        except OSError:  # a folder nobody may look into holds nothing for us
            continue
        for entry in entries:
            count += 1
            if count > MAX_FILES:
                raise FormatError(
                    f"This folder holds more than {MAX_FILES:,} files.", where=str(folder),
                    hint="Give the folder of one SAE.",
                )
            if entry.is_symlink():
                yield prefix + entry.name, None
            elif entry.is_file(follow_symlinks=False):
                with suppress(FileNotFoundError):  # it is gone by now
                    yield prefix + entry.name, entry.stat(follow_symlinks=False).st_size
            elif entry.is_dir(follow_symlinks=False) and depth < max_depth:
                open_folders.append((entry.path, f"{prefix}{entry.name}/", depth + 1))
