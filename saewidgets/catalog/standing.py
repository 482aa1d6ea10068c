"""Where a row stands that a job makes (a training, an extraction, a store of activations): status, progress and errors
are those of the job, read at one moment of the database's clock."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.orm import Session

from saewidgets.catalog.queue import now, queue_positions
from saewidgets.catalog.rows import job_record
from saewidgets.catalog.tables import ActivationStoreRow, ExtractionRow, JobRow
from saewidgets.errors import StateError
from saewidgets.events import JobStatus
from saewidgets.records import JobRecord

NO_JOB = JobRecord(id="", kind="", status=JobStatus.INTERRUPTED, lane="")
"""Where a row stands that came whole, or whose job is gone, unless the row itself knows better."""


def jobs_now(session: Session, jobs: Iterable[JobRow | None]) -> dict[str | None, JobRecord]:
    """Id → how each of these jobs stands now."""
    found = [job for job in jobs if job is not None]
    if not found:
        return {}
    positions = queue_positions(session) if any(job.status == JobStatus.QUEUED.value for job in found) else {}
    moment = now(session)
    return {job.id: job_record(job, moment, positions.get(job.id)) for job in found}


def delete_with_job(session: Session, row: ExtractionRow | ActivationStoreRow, name: str) -> None:
    """Delete a row and its job.

    Args:
        name: what the row is, for the error.

    Raises:
        StateError: it is queued or running.
    """
    job = session.get(JobRow, row.job_id) if row.job_id else None
    if job is not None and (job.status == JobStatus.QUEUED.value or JobStatus(job.status).is_active):
        raise StateError(f"The {name} is {job.status} and cannot be deleted.", where=row.id, hint="Cancel it first.")
    session.delete(row)
    session.flush()
    if job is not None:
        session.delete(job)
