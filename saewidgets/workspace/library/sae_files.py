"""`folder_of`, `remove_files`, `unlisted`: where the files of the library's SAEs are, and what it may remove of them.

Around what makes or removes a folder and its row lies a note of its name in ``.unlisted/``. A process that is killed
there leaves the note, and a later opening of the workspace removes the folder unless a row names it.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from saewidgets.durable import storage_errors
from saewidgets.errors import CatalogError, NotFoundError, StorageError
from saewidgets.records import SAERecord
from saewidgets.render.numbers import size as bytes_text
from saewidgets.workspace.folders import DRAFT_SECONDS, remove_tree

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


FOLDER = "saes"  # of the library, in the workspace
NOTES = ".unlisted"
log = logging.getLogger(__name__)

_FULL = ("no space left", "disk quota")  # in other words where a library reports it as text


def no_room(error: OSError, folder: Path, what: str, needed: int) -> StorageError:
    """The error for the files of `what` (`needed` bytes) that the disk of `folder` refuses."""
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


def remove_files(workspace: Workspace, path: Path) -> int:
    """Remove them if they are the library's own. Returns the bytes freed; see `remove_tree` for links."""
    return remove_tree(workspace.folder, path) if is_own(workspace, path) else 0


def is_own(workspace: Workspace, path: Path) -> bool:
    """Whether `path` is a place of the library, whatever is there: what a link leads to is somebody else's."""
    return (workspace.folder / FOLDER).resolve() in (path.parent.resolve() / path.name).parents


@contextmanager
def unlisted(workspace: Workspace, *folders: Path) -> Iterator[None]:
    """Around what makes or removes folders of the library and their rows; what lies elsewhere is left alone."""
    home = workspace.folder / NOTES
    notes = [home / folder.name for folder in folders if is_own(workspace, folder)]
    with storage_errors("The workspace cannot be written", home, "Check its permissions and the free space."):
        for note in notes:
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(workspace.catalog.key, "utf-8")
    try:
        yield
    finally:
        for note in notes:
            _settle(workspace, note, remove=False)


def sweep(workspace: Workspace) -> None:
    """Remove the folders that killed processes left two days ago or earlier. What a row names stays, and so does what
    belongs to another catalog."""
    for note in (workspace.folder / NOTES).glob("sae_*"):
        try:
            forgotten = note.lstat().st_mtime < time.time() - DRAFT_SECONDS and not note.is_symlink()
            if forgotten and workspace.catalog.key in note.read_text("utf-8", errors="replace"):
                _settle(workspace, note, remove=True)
        except (OSError, StorageError) as error:  # the next opening tries again
            log.warning("What was left of %s could not be removed: %s", note.name, error)


def _settle(workspace: Workspace, note: Path, *, remove: bool) -> None:
    """Remove the note once a row names its folder, or the folder is gone."""
    folder = workspace.folder / FOLDER / note.name
    try:
        if os.path.lexists(folder) and not workspace.catalog.saes.names_folder(folder):
            if not remove:
                return
            remove_tree(workspace.folder, folder)
            log.info("Removed %s, which a process left that was killed.", folder.name)
        note.unlink(missing_ok=True)
    except (CatalogError, PermissionError) as error:  # Windows does not remove what is open
        log.warning("It is not known whether %s is listed: %s", folder.name, error)
