"""Folders of the library that no row names yet, or no more: a process that is killed in between leaves them.

While a folder is in that state a note of its name lies in ``.unlisted/``, locked by the process that looks after it.
The system gives up the lock when that process ends, however that happens; the next opening of the workspace removes the
folders of such notes, unless a row names them.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog.lock import try_lock
from saewidgets.errors import CatalogError, StorageError
from saewidgets.workspace.folders import remove_tree
from saewidgets.workspace.library.sae_files import FOLDER

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

NOTES = ".unlisted"
# Of notes whose lock says nothing: from another machine, or on a file system without locks.
SECONDS = 48 * 3600
_NAME = re.compile(r"sae_[0-9A-Za-z-]{1,100}")
_MAX_BYTES = 4096
log = logging.getLogger(__name__)


@contextmanager
def unlisted(workspace: Workspace, folder: Path | None) -> Iterator[None]:
    """Around what makes or removes `folder` and its row. At the end the folder stays if a row names it.

    Args:
        workspace: whose library.
        folder: of the library, there or not; what lies elsewhere is the user's own and is left alone, as is None.
    """
    if folder is None or folder.parent.resolve() != (workspace.folder / FOLDER).resolve():
        yield
        return
    note = workspace.folder / NOTES / folder.name
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(note, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _refused(error, workspace.folder) from error
    mine = False
    try:
        mine = try_lock(descriptor) is not False  # else another thread or process looks after the same folder
        if mine:
            _write(descriptor, {"catalog": workspace.catalog.key, "host": workspace.settings.host}, workspace.folder)
        yield
    finally:
        try:
            if mine and _settled(workspace, folder):
                _forget(note)
        except CatalogError as error:  # the note stays for the next opening
            log.warning("It is not known whether %s is listed: %s", folder.name, error)
        finally:
            os.close(descriptor)


def sweep(workspace: Workspace) -> None:
    """Remove the folders that processes left which ended between making or removing a folder and its row.

    What a row of this catalog names stays, and so does what another catalog or a living process looks after. Nothing is
    raised: what cannot be removed now is tried again at the next opening.
    """
    try:
        notes = sorted((workspace.folder / NOTES).iterdir())
    except OSError:  # there has never been one
        return
    for note in notes:
        if not _NAME.fullmatch(note.name) or note.is_symlink():
            continue
        try:
            _sweep_one(workspace, note)
        except (OSError, CatalogError) as error:
            log.warning("What was left of %s could not be removed: %s", note.name, error)


def _sweep_one(workspace: Workspace, note: Path) -> None:
    descriptor = os.open(note, os.O_RDWR)
    try:
        locked = try_lock(descriptor)
        if locked is False:
            return
        data = _read(descriptor)
        folder = workspace.folder / FOLDER / note.name
        if data.get("catalog", workspace.catalog.key) != workspace.catalog.key:
            return
        here = locked is True and data.get("host", workspace.settings.host) == workspace.settings.host
        if not here and note.stat().st_mtime > time.time() - SECONDS:
            return
        if not _settled(workspace, folder):
            if not data:  # not written by this package: nobody says that it may go
                return
            remove_tree(workspace.folder, folder)
            log.info("Removed %s, which a process left that was killed.", folder.name)
        _forget(note)
    finally:
        os.close(descriptor)


def _settled(workspace: Workspace, folder: Path) -> bool:
    """Whether there is nothing to look after: a row names the folder, or it is gone."""
    return not os.path.lexists(folder) or workspace.catalog.saes.names_folder(folder)


def _forget(note: Path) -> None:
    try:
        note.unlink(missing_ok=True)
    except PermissionError:  # Windows does not remove what is open: the next opening does
        log.debug("The note %s stays until the workspace is opened again.", note.name)


def _write(descriptor: int, data: dict[str, Any], home: Path) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(data).encode())
        os.fsync(descriptor)
    except OSError as error:
        raise _refused(error, home) from error


def _refused(error: OSError, home: Path) -> StorageError:
    return StorageError(
        f"The workspace cannot be written: {error.strerror or error}.", where=str(home),
        hint="Check its permissions and the free space.",
    )


def _read(descriptor: int) -> dict[str, Any]:
    """What the note says; nothing if its writer was killed before it was whole, when there was no folder yet."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        data = json.loads(os.read(descriptor, _MAX_BYTES))
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
