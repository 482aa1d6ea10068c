"""Files of a workspace (`inside`, `draft_folder`, `remove_tree`): no path leads outside, folders are removed whole; and
`files_note`, which tells what has its files on another machine."""

from __future__ import annotations

import os
import shutil
import time
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

from saewidgets.catalog.filestate import state_of
from saewidgets.durable import storage_errors
from saewidgets.errors import FormatError, StateError, StorageError
from saewidgets.records import SAERecord

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

DRAFT = ".incoming-"
TOKENS = "tokens"  # the folder of packed corpora, shared by all that read text
DRAFT_SECONDS = 48 * 3600  # another process may still be writing into a younger one
EMPTY_SECONDS = 600  # it may be about to


def prepare_folder(folder: Path) -> Path:
    """Create `folder` and check that it can be written."""
    hint = "Choose another folder with Workspace(folder) or $SAEWIDGETS_HOME."
    with storage_errors("The workspace folder cannot be created", folder, hint):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError("The workspace folder is not writable.", where=str(folder), hint=hint)
    return folder


def new_folder(folder: Path, what: str) -> bool:
    """Make `folder` and those above it; False if it is taken. `what` names its owner in errors."""
    hint = "Check that the workspace can be written and that its disk has space."
    with storage_errors(f"The folder of the {what} cannot be made", folder, hint):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()
        except FileExistsError:
            return False
    return True


def inside(root: Path, path: Path) -> Path:
    """`path`, resolved, if it lies inside `root`."""
    resolved, base = path.resolve(), root.resolve()
    if resolved != base and base not in resolved.parents:
        raise StorageError("The path leads out of the workspace.", where=str(path))
    return resolved


def plain_name(name: str, where: str) -> str:
    """`name` if it can become a path below a folder: relative, ``/`` between parts, no ``..``, no control characters.
    """
    parts = name.split("/")
    strange = any(unicodedata.category(c) in ("Cc", "Cs") or c in '\\:*?"<>|' for c in name)
    if strange or len(name) > 1_000 or any(part in ("", ".", "..") or len(part.encode()) > 250 for part in parts):
        raise FormatError(
            f"{name[:100]!r} cannot be the name of a file here.", where=where, hint="Rename the file, and try again."
        )
    return name


def link(source: Path, target: Path) -> None:
    """A second name for a file; a copy on another disk, or where the file system has none."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@contextmanager
def draft_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, for files on their way in; it is removed at the end unless it was renamed."""
    draft = parent / f"{DRAFT}{uuid.uuid4().hex[:12]}"
    with storage_errors("The workspace cannot be written", parent, "Check its permissions and the free space."):
        draft.mkdir(parents=True)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # a leftover is swept when the workspace is opened


def remove_tree(root: Path, folder: Path) -> int:
    """Delete `folder`, which must lie strictly inside `root`; returns the bytes freed. Of a folder that somebody
    replaced by a link the link goes, never what it leads to."""
    if folder.is_symlink():
        inside(root, folder.parent)
        folder.unlink()
        return 0
    target = inside(root, folder)
    if target == root.resolve():
        raise StorageError("Refusing to delete the workspace itself.", where=str(folder))
    if not target.exists():
        return 0
    freed = _own_bytes(target)
    # Renamed first: a reader never meets half a folder, and a crash leaves a name that the next opening sweeps away.
    trash = target.with_name(f".deleted-{target.name}-{os.getpid()}")
    target.rename(trash)
    shutil.rmtree(trash)
    return freed


def sweep_trash(root: Path) -> None:
    """Finish deletions that a crash cut short, and remove what it left of files on their way in."""
    for leftover in root.glob("*/.deleted-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for leftover in (*root.glob(f"*/{DRAFT}*"), *root.glob("*/.partial-*")):  # the latter by version 0.1.0
        try:
            forgotten = leftover.stat().st_mtime < time.time() - DRAFT_SECONDS
        except OSError:  # its owner has just finished
            continue
        if forgotten:
            shutil.rmtree(leftover, ignore_errors=True)


def forgotten_folders(parent: Path) -> list[Path]:
    """The folders in `parent` that have been empty for a while."""
    found = []
    for folder in parent.glob("[!.]*"):
        with suppress(OSError):  # it is a file, or has just been removed
            if not any(folder.iterdir()) and folder.stat().st_mtime < time.time() - EMPTY_SECONDS:
                found.append(folder)
    return found


def _own_bytes(folder: Path) -> int:
    """Bytes of all files below `folder` that have no name elsewhere."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            found = path.lstat()
            total += found.st_size if S_ISREG(found.st_mode) and found.st_nlink == 1 else 0
    return total


def files_note(workspace: Workspace, record: Any) -> str:
    """Where the files of a record are, as a sentence, if that is a machine, or another workspace of this one, whose
    folder is not seen here; else ``""``. Only what is shared, catalog or storage, has rows of other folders than its
    own."""
    is_shared = workspace.catalog.path is None or workspace.storage.url is not None
    folder, here = _folder_of(record), workspace.settings.host
    if not is_shared or (record.host == here and not Path(folder).is_relative_to(workspace.folder)):
        return ""
    found = state_of(folder, "{}", record.host, here, elsewhere=workspace.storage.has)[1]
    return "Its files are in another folder of this machine, or gone." if found and record.host == here else found


def require_files(workspace: Workspace, *records: Any) -> None:
    """Raises `StateError` where one has a `files_note`: a run resumed without its files would begin again, and deleting
    a row would leave them without one."""
    for record in records:
        if files_note(workspace, record):
            what = f"The files of {record.name} are on {record.host}, and cannot be seen from here."
            hint = f"Do it there. If that machine is gone, start Python with SAEWIDGETS_HOST={record.host}."
            if record.host == workspace.settings.host:
                what = f"The files of {record.name} are in another folder of this machine, or gone."
                hint = "Do it in the workspace that has them. If they are gone, make an empty folder, then delete it."
            raise StateError(what, where=_folder_of(record), hint=hint)


def _folder_of(record: Any) -> str:
    return str(record.path if isinstance(record, SAERecord) else record.folder)
