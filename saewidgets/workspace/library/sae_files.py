"""The files of an SAE of the library: where they are, and which of them the library may remove."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from saewidgets.errors import NotFoundError, StorageError
from saewidgets.records import SAERecord
from saewidgets.render.numbers import size as bytes_text
from saewidgets.workspace.folders import remove_tree

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


# What to say where the disk refuses an SAE: which folder, how much it needs, and whose files they were.

_FULL = ("no space left", "disk quota")  # in other words where a library reports it as text


def no_room(error: OSError, folder: Path, what: str, needed: int) -> StorageError:
    """The error for files that cannot be written.

    Args:
        error: what the system or a format said.
        folder: where they were to go: one that a person knows, no draft.
        what: whose files they are, by the name that the person gave.
        needed: their bytes.
    """
    said = str(error.what if isinstance(error, StorageError) else error.strerror or error).rstrip(".")
    full = error.errno in (errno.ENOSPC, errno.EDQUOT) or any(words in said.lower() for words in _FULL)
    room = f" It needs {bytes_text(needed)}{_free(folder)}." if full else ""
    return StorageError(
        f"{what} cannot be written into the library: {said}.{room}", where=str(folder),
        hint="Free some space, check that the workspace can be written, and try again.",
    )


def _free(folder: Path) -> str:
    try:
        return f", and {bytes_text(shutil.disk_usage(folder).free)} is free"
    except OSError:
        return ""


FOLDER = "saes"  # of the library, in the workspace


def place_of(record: SAERecord) -> Path:
    """Where its files are, or what is left of them. Raises `NotFoundError` if this machine has no such folder."""
    path = Path(record.path)
    if not path.is_dir():
        raise NotFoundError(
            "The files of the SAE are not here.", where=record.path,
            hint=f"They were on {record.host}. If they were moved, say where to: ws.saes.locate(id, path).",
        )
    return path


def folder_of(record: SAERecord) -> Path:
    """Where its files are."""
    path = place_of(record)
    if record.state == "missing":
        raise NotFoundError(
            record.state_note, where=record.path,
            hint="Put it back, or say where the files are now: ws.saes.locate(id, path).",
        )
    return path


def remove_files(workspace: Workspace, path: Path | None) -> int:
    """Remove them if they are the library's own. Returns the bytes freed; see `remove_tree` for links."""
    return remove_tree(workspace.folder, path) if path is not None and is_own(workspace, path) else 0


def is_own(workspace: Workspace, path: Path) -> bool:
    """Whether `path` is a place of the library, whatever is there: what a link leads to is somebody else's."""
    return (workspace.folder / FOLDER).resolve() in (path.parent.resolve() / path.name).parents
