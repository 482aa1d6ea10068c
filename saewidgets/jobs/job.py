"""`Job`: the handle of a background job, and `Verbs`, what it has in common with the handles of what a job makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saewidgets.errors import NotFoundError, SAEWidgetsError, StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.records import ErrorInfo, JobRecord

if TYPE_CHECKING:
    from saewidgets.jobs.manager import JobManager


class Verbs:
    """What every handle of something in the background can do; every property reads the row."""

    id: str
    _manager: JobManager

    @property
    def _job_id(self) -> str:
        return self.id

    @property
    def record(self) -> Any:
        """The whole row as it is now."""
        return self._manager.get(self._job_id)

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
        """Why it failed; None unless it did."""
        error: ErrorInfo | None = self.record.error
        return error

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Wait until nothing more happens by itself: it has ended or is paused.

        Args:
            timeout: seconds; None waits as long as it takes.

        Returns:
            The status then, which is one of the others if the time ran out.
        """
        return self._manager.wait(self._job_id, timeout)

    def pause(self) -> None:
        """Write a checkpoint and free the lane and the memory. Acknowledged at once, done at the next pause point."""
        self._manager.request(self._job_id, "pause")

    def resume(self) -> None:
        """Queue it again; it continues from its last checkpoint, in this process."""
        self._manager.resume(self._job_id)

    def stop(self, save: bool = True) -> None:
        """End early and keep what was learned. `save=False` keeps nothing new, which is `cancel`."""
        self._manager.request(self._job_id, "stop" if save else "cancel")

    def cancel(self) -> None:
        """End early and keep nothing new."""
        self._manager.request(self._job_id, "cancel")

    def result(self, timeout: float | None = None) -> Any:
        """What the runner returned; a plain summary of it if it ran in another process.

        Raises:
            TimeoutError: it had not ended after `timeout` seconds.
            StateError: it has no result (paused, cancelled, interrupted).
            Exception: what made it fail; `SAEWidgetsError` with the same words if that was in another process.
        """
        status, job_id = self.wait(timeout), self._job_id
        record = self._manager.get(job_id)
        outcome = self._manager.outcome(record)
        if status is JobStatus.FAILED:
            if outcome is not None and outcome.exception is not None:
                raise outcome.exception
            info = record.error or ErrorInfo("The job failed.")
            raise SAEWidgetsError(info.what, where=info.where, hint=info.hint)
        if status in (JobStatus.COMPLETED, JobStatus.STOPPED):
            return record.result if outcome is None else outcome.value
        if not status.is_final and status is not JobStatus.PAUSED:
            raise TimeoutError(f"Job {job_id} is still {status} after {timeout} seconds.")
        raise StateError(f"Job {job_id} is {status} and has no result.", hint="Resume it, or start it again.")


class Job(Verbs):
    """One job."""

    def __init__(self, manager: JobManager, job_id: str) -> None:
        self._manager, self.id = manager, job_id

    @property
    def record(self) -> JobRecord:
        """The whole row as it is now."""
        record: JobRecord = super().record
        return record

    def __repr__(self) -> str:
        try:
            record = self.record
        except NotFoundError:  # a list that holds it is shown all the same
            return f"<Job {self.id}, deleted>"
        parts = [f"Job {record.id}", record.kind, record.status.value]
        if record.progress is not None and not record.status.is_final:
            p = record.progress
            parts.append(f"{p.done:,} of {p.total:,} {p.unit} ({p.fraction:.0%})")
        if record.queue_position is not None:
            parts.append(f"number {record.queue_position} in the queue of {record.lane}")
        if record.error is not None:
            parts.append(record.error.what)
        return f"<{', '.join(parts)}>"
