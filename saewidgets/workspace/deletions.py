"""Defines `Deletions`, the runs and SAEs whose deletion can still be undone."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.errors import NotFoundError, SAEWidgetsError, StateError

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

logger = logging.getLogger(__name__)
UNDO_SECONDS = 10.0
_ABANDONED = 600.0  # seconds after which nobody is still deleting what was begun


class Deletions:
    """Hides runs and SAEs from the widgets at once, and deletes them after `UNDO_SECONDS`.

    A file ``trash/ID`` with the name stands for each, so that all processes know it, and the next one that opens the
    workspace finishes what a killed one left. The process that renames the file deletes; the one that removes it
    restores.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._folder = workspace.folder / "trash"

    def pending(self) -> dict[str, str]:
        """Id → name of what is deleted soon."""
        found = {}
        for marker in self._markers():
            with suppress(FileNotFoundError):  # it has just been restored or deleted
                found[marker.name] = marker.read_text("utf-8")
        return found

    def _markers(self) -> list[Path]:
        return sorted(self._folder.glob("[!.]*")) if self._folder.is_dir() else []

    def add(self, item_id: str) -> None:
        """Delete a run or an SAE after `UNDO_SECONDS`. Raises what `delete` would."""
        workspace = self._workspace
        if item_id.startswith("sae_"):
            record: Any = workspace.saes.require_deletable(item_id)
        else:
            record = workspace.trainings.require_deletable(item_id)
        self._folder.mkdir(exist_ok=True)
        draft = self._folder / f".new-{record.id}"
        draft.write_text(record.name, "utf-8")
        self._wait(draft.replace(self._folder / record.id))

    def undo(self, item_id: str) -> None:
        """Restore it. Raises `StateError` if it is too late."""
        try:
            (self._folder / item_id).unlink()
        except FileNotFoundError:
            raise StateError("It was deleted already.", where=item_id, hint="Undo works for ten seconds.") from None

    def finish(self) -> None:
        """Wait for what is pending, whichever process began it."""
        for begun in self._folder.glob(".deleting-*"):
            with suppress(FileNotFoundError):
                if begun.stat().st_mtime < time.time() - _ABANDONED:
                    begun.replace(self._folder / begun.name.removeprefix(".deleting-"))
        for marker in self._markers():
            self._wait(marker)

    def _wait(self, marker: Path) -> None:
        with suppress(FileNotFoundError):
            left = marker.stat().st_mtime + UNDO_SECONDS - time.time()
            timer = threading.Timer(min(max(left, 0.0), UNDO_SECONDS), self._delete, [marker])
            timer.name, timer.daemon = "saewidgets-delete", True
            timer.start()

    def _delete(self, marker: Path) -> None:
        workspace, begun = self._workspace, marker.with_name(f".deleting-{marker.name}")
        if workspace.closed:
            return  # the next process that opens it finishes
        try:
            marker.replace(begun)
        except FileNotFoundError:
            return  # restored, or another process deletes it
        try:
            (workspace.saes if marker.name.startswith("sae_") else workspace.trainings).delete(marker.name)
        except NotFoundError:
            pass
        except SAEWidgetsError as error:  # it is in use again, so it is shown again
            logger.warning("%s was not deleted: %s", marker.name, error)
        begun.unlink(missing_ok=True)
