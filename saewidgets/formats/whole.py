"""Writing a folder whole or not at all."""

from __future__ import annotations

import errno
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from saewidgets.durable import sync
from saewidgets.errors import StorageError
from saewidgets.render.numbers import size


class OccupiedError(StorageError):
    """The place of a folder is taken by something that is not replaced."""


@contextmanager
def whole_folder(path: Path, replaceable: Sequence[str], needed: int | None = None) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place when the block ends well, and vanishes when it does not.

    An existing `path` is replaced only if everything in it is named in `replaceable`. `needed`: about how many bytes
    are written, for what is said when the disk is full.

    Raises:
        OccupiedError: `path` holds something else.
        StorageError: the disk refuses; nothing half-written stays behind.
    """
    path = path.absolute()
    _refuse_foreign(path, replaceable)
    draft = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        draft.mkdir(parents=True)
        yield draft
        for file in draft.iterdir():
            sync(file)
        sync(draft)
        _take_place(draft, path)
        sync(path.parent)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk as its own error
        if isinstance(error, StorageError):
            raise
        said = str(getattr(error, "strerror", None) or error).rstrip(".")
        raise StorageError(
            f"Writing failed: {said}.{_room(error, said, path, needed)}", where=str(path),
            hint="Free space or choose another folder.",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _room(error: Exception, said: str, path: Path, needed: int | None) -> str:
    """How much is needed and how much is free, where it is that."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "no space left" in said.lower()
    if not full or needed is None:
        return ""
    try:
        free = f", and {size(shutil.disk_usage(path.parent).free)} is free"
    except OSError:
        free = ""
    return f" It needs {size(needed)}{free}."


def _refuse_foreign(path: Path, replaceable: Sequence[str]) -> None:
    if path.is_dir() and not path.is_symlink():
        foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in replaceable)
        if not foreign:
            return
        found = f"it holds {', '.join(foreign[:5])}"
    elif path.exists() or path.is_symlink():
        found = "it is not a folder"
    else:
        return
    raise OccupiedError(f"This cannot be replaced: {found}.", where=str(path), hint="Choose a new or empty folder.")


def _take_place(draft: Path, path: Path) -> None:
    if not path.exists():
        draft.rename(path)
        return
    old = draft.with_suffix(".old")
    path.rename(old)
    try:
        draft.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)  # the new one is in place; a leftover is only space
