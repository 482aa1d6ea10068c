"""What the handles of trainings and extractions do alike: look at the catalog, and steer the job behind them."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from saewidgets.errors import NotFoundError, StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.jobs import Job
from saewidgets.records import ErrorInfo
from saewidgets.render.runs import facts_card

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


class Handle(ABC):
    """Something of the catalog, by its id. What was deleted, by whomever, can still be shown, and says so.

    A notebook shows what stands on the last line of a cell, in a list, in an f-string: none of them asks first whether
    it is still there. That holds for the `__repr__` and the `_repr_html_` of every subclass.
    """

    id: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, deleted in (("__repr__", _deleted_text), ("_repr_html_", _deleted_card)):
            if name in vars(cls):
                setattr(cls, name, _shown(vars(cls)[name], deleted))

    @abstractmethod
    def _exists(self) -> bool:
        """Whether the catalog still has it."""


def _shown(show: Callable[[Any], str], deleted: Callable[[Handle], str]) -> Callable[[Any], str]:
    """`show`, or `deleted` where the catalog no longer has it."""

    @functools.wraps(show)
    def shown(handle: Handle) -> str:
        try:
            return show(handle)
        except NotFoundError:
            if handle._exists():  # something else is missing
                raise
            return deleted(handle)

    return shown


def _deleted_text(handle: Handle) -> str:
    return f"<{type(handle).__name__} {handle.id} · deleted>"


def _deleted_card(handle: Handle) -> str:
    return str(facts_card(handle.id, {"Status": "Deleted"}))


class JobHandle(Handle):
    """Something of the catalog that a job works on. It holds no state of its own: every property reads the catalog.

    A subclass says what it is (`_what`) and which table of the catalog its rows are in.
    """

    _what: ClassVar[str]

    def __init__(self, workspace: Workspace, rows: Any, row_id: str) -> None:
        self._workspace = workspace
        self._rows = rows
        self.id = row_id

    def _exists(self) -> bool:
        try:
            self._rows.get(self.id)
        except NotFoundError:
            return False
        return True

    @property
    def record(self) -> Any:
        """Everything the catalog knows of it now. Raises `NotFoundError` if it was deleted."""
        self._workspace.manager.sweep()
        return self._rows.get(self.id)

    @property
    def status(self) -> JobStatus:
        status: JobStatus = self.record.status
        return status

    @property
    def progress(self) -> Progress | None:
        """How far it is: of what has not begun to tell, its status is the phase. None if it ended without telling."""
        record = self.record
        unknown = None if record.status.is_final else Progress(0, record.tokens_total, phase=record.status.value)
        return record.progress or unknown

    @property
    def error(self) -> ErrorInfo | None:
        error: ErrorInfo | None = self.record.error
        return error

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return Path(self.record.folder)

    @property
    def job(self) -> Job:
        """The background job that runs it."""
        return self._workspace.manager.handle(self._job_id)

    @property
    def _job_id(self) -> str:
        record = self._rows.get(self.id)
        job_id: str | None = record.job_id
        if job_id is None:  # the demo's extraction, say, which ran before it came here
            raise StateError(
                f"The {self._what} is {record.status.value}, and no job here runs it.", where=self.id,
                hint="Start a new one.",
            )
        return job_id

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Wait until it has ended or is paused, at most `timeout` seconds; returns the status then."""
        return self.job.wait(timeout)

    def pause(self) -> None:
        """Write a checkpoint, free the device and the memory. Acknowledged at once."""
        self.job.pause()

    def resume(self) -> None:
        """Queue it again; it continues exactly where it stopped, in this process."""
        self.job.resume()

    def cancel(self) -> None:
        """End early and keep nothing new."""
        self.job.cancel()

    def result(self, timeout: float | None = None) -> Any:
        """What its job returned; raises what made it fail."""
        return self.job.result(timeout)
