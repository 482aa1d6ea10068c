"""Defines `Files`, paths relative to the workspace, and `FileStates`: whether files are still as they were taken in.

A look costs a few microseconds: name, size and time of the last change. Only where the time differs (the workspace was
copied, or somebody wrote into the file) a sample of the content is compared with what was recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from saewidgets.errors import CatalogError


# Paths in rows: relative to the workspace folder, so that it can be moved.
class Files:
    """Translates between paths on this machine and what rows hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))

    def stored(self, path: str | Path) -> str:
        """Relative with forward slashes if `path` is inside the workspace, else absolute."""
        absolute = Path(os.path.abspath(self.folder / path))
        try:
            return absolute.relative_to(self.folder).as_posix()
        except ValueError:
            return str(absolute)

    def absolute(self, stored: str) -> str:
        """The path on this machine. Raises `CatalogError` where it leads out of the workspace."""
        if os.sep == "/" and ".." not in stored and not stored.startswith("/"):
            return f"{self.folder}/{stored}"  # a list of thousands translates as many
        if Path(stored).is_absolute():
            return str(Path(stored))
        if ".." in PurePosixPath(stored).parts or ".." in Path(stored).parts:
            raise CatalogError(
                f"The path {stored!r} leads out of the workspace.", where="catalog",
                hint="The catalog was not written by saewidgets, or it is damaged; restore a backup.",
            )
        return str(self.folder / stored)

    def owned(self, stored: str) -> Path:
        """The absolute path of something that may be deleted: really inside the workspace, links followed. Raises
        `CatalogError` where it is not."""
        path = Path(self.absolute(stored))
        real, root = Path(os.path.realpath(path)), Path(os.path.realpath(self.folder))
        if real == root or not real.is_relative_to(root):
            raise CatalogError(
                f"{path} is not inside the workspace {self.folder}.", where="catalog",
                hint="Only files of the workspace are deleted; remove it by hand if it is yours.",
            )
        return path


State = Literal["ok", "missing", "changed"]
Sizes = tuple[tuple[str, int, int | None, str | None], ...]  # name, bytes, mtime_ns, sample

_stat = os.stat
_BLOCK = 4096
_BLOCKS = 16  # of a long file: its beginning, its end, and those between, at equal distances
_KEPT = 100_000  # files whose sample is remembered


def recorded(folder: str | Path, names: Iterable[str] | None = None) -> dict[str, list[Any]]:
    """What a row keeps of the files in `folder`: name with ``/`` between parts → ``[bytes, mtime_ns, sample]``.

    Of those in `names`; None takes all that are there, links left out.
    """
    root = Path(folder)
    if names is None:
        found = (path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink())
        names = [path.relative_to(root).as_posix() for path in found]
    facts: dict[str, list[Any]] = {}
    for name in names:
        there = (root / name).stat()
        facts[name] = [there.st_size, there.st_mtime_ns, sample(root / name, there.st_size)]
    return facts


def sample(path: str | Path, size: int) -> str:
    """A hash of the file's content; of one above 64 KiB that of sixteen blocks of 4 KiB."""
    digest = hashlib.blake2b(digest_size=12)
    with open(path, "rb", buffering=0) as file:
        if size <= _BLOCK * _BLOCKS:
            digest.update(file.read())
        else:
            for i in range(_BLOCKS):
                file.seek((size - _BLOCK) * i // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()


class FileStates:
    """Looks at files from the machine `here`; remembers what it read of rows and files. Threads may share one."""

    def __init__(self, here: str) -> None:
        self._here = here
        self._lock = threading.Lock()
        self._read: dict[str, Sizes] = {}  # what rows hold → the same as values
        self._sampled: dict[str, tuple[int, int, str]] = {}  # path → bytes, mtime_ns, sample

    def look(
        self, folder: str, stored: str | None, size_bytes: int, host: str, renewed: dict[str, str] | None = None
    ) -> tuple[State, str]:
        """The state of the files in `folder`, and what is wrong with them as a sentence (``""`` if nothing is).

        `stored` is what `recorded` said, as the row holds it; rows of earlier versions have sizes alone, or None: then
        the sum of bytes is compared. `renewed` gets `stored` → the same with the times of now, where these differ and
        the content does not.
        """
        if stored is None:
            return self._by_sum(folder, size_bytes, host)
        files = self._read.get(stored) or self._parsed(stored)
        later = False
        try:
            for name, size, mtime, digest in files:
                found = _stat(f"{folder}/{name}")
                if found.st_size != size:
                    return "changed", f"{name} has {found.st_size:,} bytes; it had {size:,} when it was added."
                if found.st_mtime_ns != mtime and mtime is not None:
                    later = True
                    if self._sample(f"{folder}/{name}", found) != digest:
                        return "changed", f"{name} was written to after it was added: its content is another."
        except OSError:
            return "missing", self._gone(folder, name, host)
        if later and renewed is not None:
            renewed[stored] = json.dumps(self._now(folder, files), ensure_ascii=False, separators=(",", ":"))
        return "ok", ""

    def _parsed(self, stored: str) -> Sizes:
        data: Mapping[str, Any] = json.loads(stored)
        files = tuple(
            (name, int(facts[0]), int(facts[1]), str(facts[2]))
            if isinstance(facts, list)
            else (name, int(facts), None, None)
            for name, facts in data.items()
        )
        with self._lock:
            if len(self._read) >= _KEPT:
                self._read.clear()
            self._read[stored] = files
        return files

    def _sample(self, path: str, there: os.stat_result) -> str:
        if not stat.S_ISREG(there.st_mode):  # opening a pipe would wait for ever
            return ""
        known = self._sampled.get(path)
        if known is not None and known[:2] == (there.st_size, there.st_mtime_ns):
            return known[2]
        found = sample(path, there.st_size)
        with self._lock:
            if len(self._sampled) >= _KEPT:
                self._sampled.clear()
            self._sampled[path] = (there.st_size, there.st_mtime_ns, found)
        return found

    def _now(self, folder: str, files: Sizes) -> dict[str, list[Any]]:
        """What a row would keep of the same content: the times at which it was sampled, where it was."""
        facts: dict[str, list[Any]] = {}
        for name, size, mtime, digest in files:
            known = self._sampled.get(f"{folder}/{name}")
            facts[name] = [size, known[1] if known is not None and known[2] == digest else mtime, digest]
        return facts

    def _by_sum(self, folder: str, size_bytes: int, host: str) -> tuple[State, str]:
        try:
            with os.scandir(folder) as entries:
                found = sum(entry.stat().st_size for entry in entries if entry.is_file(follow_symlinks=False))
        except OSError:
            return "missing", self._gone(folder, "", host)
        if found != size_bytes:
            return "changed", f"Its files have {found:,} bytes; they had {size_bytes:,} when it was added."
        return "ok", ""

    def _gone(self, folder: str, name: str, host: str) -> str:
        if name and os.path.isdir(folder):
            return f"{name} is no longer in its folder."
        if host == self._here:
            return "Its folder is gone."
        return f"Its files are on {host}, and cannot be seen from here."
