"""`Model`, the state of a widget; `Devices` of the machine; errors as the line at the top of a widget.

No widgets and no threads here; methods may be called from any thread.
"""

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from saewidgets.errors import SAEWidgetsError
from saewidgets.events import JobStatus
from saewidgets.records import DeviceInfo
from saewidgets.widgets.messages.wire import Deleted, Note, State
from saewidgets.workspace import Workspace
from saewidgets.workspace.folders import files_note

logger = logging.getLogger("saewidgets.widgets")

DEVICES_MAX_AGE = 5.0  # seconds; free memory changes while runs and SAEs come and go
_REST = 40  # a read without a request waits this many times as long as the last one took

S = TypeVar("S", bound=State)


class Model(Generic[S]):
    """What a widget shows of one workspace, read again (by `_read` of subclasses) when it was marked as changed."""

    below: str = ""  # the widget below a box; "" for none

    def __init__(self, workspace: Workspace, state: S) -> None:
        self.workspace = workspace
        self._lock = threading.RLock()
        self._notice: Note | None = None
        self._state = state
        self._reading = threading.Lock()
        self._changed = True
        self._read_at, self._cost = float("-inf"), 0.0

    def set_notice(self, notice: Note | None) -> None:
        with self._lock:
            self._notice = notice

    def show_below(self, what: str, shown: bool) -> None:
        """Open or close one of the widgets below; opening one closes the others."""
        with self._lock:
            if shown or self.below == what:
                self.below = what if shown else ""

    def mark_changed(self) -> None:
        """What is shown may be something else by now. Nothing is read yet."""
        with self._lock:
            self._changed = True

    def look(self) -> None:
        """Read, if the last read is long enough ago for the time it took, so that idle reads cost little."""
        with self._lock:
            if time.monotonic() - self._read_at >= max(1.0, _REST * self._cost):
                self._changed = True
        self.read()

    def read(self) -> None:
        with self._reading:
            with self._lock:
                if not self._changed:
                    return
                self._changed = False
            started = time.monotonic()
            try:
                self._read()
            except BaseException:
                self.mark_changed()  # nothing is known of what failed: read again next time
                raise
            with self._lock:
                self._read_at, self._cost = time.monotonic(), time.monotonic() - started

    def _read(self) -> None:
        raise NotImplementedError

    def state(self) -> S:
        """The newest state; `revision` is higher than before exactly when something is different."""
        with self._lock:
            return self._put({})

    def _shown(self) -> dict[str, Any]:
        """The fields of the state that are kept elsewhere in the model; called under its lock."""
        return {}

    def _put(self, changes: dict[str, Any]) -> S:
        common = {"workspace": self.workspace.label, "notice": self._notice}
        new = self._state.model_copy(update={**common, **self._shown(), **changes})
        if new != self._state:
            self._state = new.model_copy(update={"revision": self._state.revision + 1, "updated_at": time.time()})
        return self._state


class Devices:
    """The devices of a workspace's machine, or (`of_jobs`) of its jobs, read again where they are old. `note` says why
    they cannot be listed."""

    def __init__(self, workspace: Workspace, *, of_jobs: bool = False) -> None:
        self._workspace = workspace
        self._places = workspace.settings.places if of_jobs else ()
        self._read_at = float("-inf")
        self.found: tuple[DeviceInfo, ...] = ()
        self.note: Note | None = None

    @property
    def are_old(self) -> bool:
        return time.monotonic() - self._read_at > DEVICES_MAX_AGE

    def read(self) -> None:
        """Ask the workspace for devices and free memory. Seconds the first time (torch), hence never in a cell."""
        try:
            self.found = self._places or tuple(DeviceInfo(**each) for each in self._workspace.devices())
            self.note = None
        except Exception as error:  # e.g. a broken CUDA driver: widgets work without, and the reason is logged
            logger.exception("The devices of this machine could not be listed")
            self.note = error_note(error)
        self._read_at = time.monotonic()


def error_note(error: BaseException) -> Note:
    """An error as the line at the top of a widget."""
    if isinstance(error, SAEWidgetsError):
        return Note(what=error.what, where=error.where, hint=error.hint)
    return Note(what=f"{type(error).__name__}: {error}")


def place_of(workspace: Workspace, record: Any) -> dict[str, Any]:
    """The fields of a card that say who started what `record` is of, and on which machine it is, where that is another
    user or machine than here. The catalog of one machine says no machine: its name may have changed."""
    here = workspace.settings
    who = f"by {record.started_by}" if record.started_by not in (None, here.user) else ""
    where = f"on {record.host}" if workspace.catalog.path is None and record.host != here.host else ""
    note = files_note(workspace, record)
    goes_on = record.status is JobStatus.QUEUED or record.status.is_active  # there, and what is left needs no files
    words = [who, note] if note and not goes_on else [f"{who} {where}".strip()]
    return {"place": tuple(filter(None, words)), "has_files": not note}


def name_of_workspace(workspace: Workspace) -> str:
    """What code in a widget's state calls its workspace: ``"ws"``, as the documentation does; ``""`` for the default.

    The state is saved with the notebook, and no folder of this machine goes there.
    """
    return "" if workspace.is_default else "ws"


def deleted_of(pending: Mapping[str, str], *, saes: bool) -> tuple[Deleted, ...]:
    """What can be undone of `Deletions.pending`: SAEs, or trainings."""
    return tuple(Deleted(id=i, name=name) for i, name in pending.items() if i.startswith("sae_") is saes)
