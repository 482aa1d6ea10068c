"""What the handles of trainings and extractions do alike: look at the catalog, and steer the job behind them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from saewidgets.errors import StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.jobs import Job
from saewidgets.records import ErrorInfo

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


class JobHandle:
    """Something of the catalog that a job works on. It holds no state of its own: every property reads the catalog.

    A subclass says what it is (`_what`) and which table of the catalog its rows are in.
    """

    _what: ClassVar[str]

    def __init__(self, workspace: Workspace, rows: Any, row_id: str) -> None:
        self._workspace = workspace
        self._rows = rows
        self.id = row_id

    @property
    def record(self) -> Any:
        """Everything the catalog knows of it now."""
        self._workspace.manager.sweep()
        return self._rows.get(self.id)

    @property
    def status(self) -> JobStatus:
        status: JobStatus = self.record.status
        return status

    @property
    def progress(self) -> Progress | None:
        progress: Progress | None = self.record.progress
        return progress

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
