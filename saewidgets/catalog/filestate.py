"""Defines `Files`, paths relative to the workspace, and `recorded` and `state_of`, which tell whether files changed
since they were listed.

A check costs a few microseconds: name, size and time of the last change. Only where the time differs (the workspace was
copied, or the file was written to) a sample of the content is compared with what was recorded.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import Any, Literal

from saewidgets.errors import CatalogError


class Files:
    """Translates between paths on this machine and what rows hold: relative ones, so that a workspace can be moved."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))
        self.elsewhere: Callable[[str], bool] = _nowhere  # whether files that are not here are brought when needed

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

_BLOCK = 4096
_BLOCKS = 16  # of a long file: its beginning, its end, and those between, at equal distances
_REMEMBERED = 100_000  # rows and files


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
        facts[name] = [there.st_size, there.st_mtime_ns, _sample(f"{root}/{name}", there.st_size, there.st_mtime_ns)]
    return facts


def _nowhere(folder: str) -> bool:
    return False


def state_of(
    folder: str, stored: str | None, host: str, here: str, size_bytes: int = 0,
    elsewhere: Callable[[str], bool] = _nowhere,
) -> tuple[State, str]:
    """The state of the files in `folder` on the machine `here`, and what is wrong with them as a sentence (``""`` if
    nothing is).

    `stored` is what `recorded` said, as the row holds it; rows of earlier versions have sizes alone, or None: then the
    sum of bytes is compared with `size_bytes`.
    """
    name = ""
    try:
        if stored is None:
            with os.scandir(folder) as entries:
                found_bytes = sum(each.stat().st_size for each in entries if each.is_file(follow_symlinks=False))
            if found_bytes != size_bytes:
                return "changed", f"Its files have {found_bytes:,} bytes; they had {size_bytes:,} when it was added."
        os.stat(folder)
        for name, size, mtime, sample in _files_of(stored or "{}"):
            found = os.stat(f"{folder}/{name}")
            is_same = S_ISREG(found.st_mode) and found.st_size == size and (  # a pipe would never end
                mtime in (None, found.st_mtime_ns) or _sample(f"{folder}/{name}", size, found.st_mtime_ns) == sample
            )
            if not is_same:
                return "changed", f"{name} was written to after it was added."
    except OSError:
        if elsewhere(folder):
            return "ok", ""
        if name and os.path.isdir(folder):
            return "missing", f"{name} is no longer in its folder."
        away = f"Its files are on {host}, and cannot be seen from here."
        return "missing", "Its folder is gone." if host == here else away
    return "ok", ""


@lru_cache(_REMEMBERED)
def _files_of(stored: str) -> tuple[tuple[str, int, int | None, str | None], ...]:
    """(name, bytes, mtime_ns, sample) of every file of a row."""
    return tuple(
        (name, *facts) if isinstance(facts, list) else (name, facts, None, None)
        for name, facts in json.loads(stored).items()
    )


@lru_cache(_REMEMBERED)
def _sample(path: str, size: int, mtime_ns: int) -> str:
    """A hash of the content that a file has at a time; of one above 64 KiB that of sixteen blocks of 4 KiB."""
    digest = hashlib.blake2b(digest_size=12)
    with open(path, "rb", buffering=0) as file:
        if size <= _BLOCK * _BLOCKS:
            digest.update(file.read())
        else:
            for i in range(_BLOCKS):
                file.seek((size - _BLOCK) * i // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()
