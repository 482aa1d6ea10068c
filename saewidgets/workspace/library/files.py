"""The files of an SAE of the library: where they are, and which of them the library may remove."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from saewidgets.errors import NotFoundError
from saewidgets.records import SAERecord
from saewidgets.workspace.files import remove_tree

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

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
    """Where its files are.

    Raises:
        NotFoundError: they are not on this machine, or some of them are gone.
    """
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
