"""The queues of lanes, the leases that say who works on one, and how jobs stand: queries inside a session."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from saewidgets.catalog.rows import job_record
from saewidgets.catalog.tables import ActivationStoreRow, ExtractionRow, JobRow, LeaseRow, TrainingRow
from saewidgets.catalog.types import database_now
from saewidgets.config.arguments import shown
from saewidgets.errors import ConfigError, StateError
from saewidgets.events import JobStatus
from saewidgets.records import JobRecord


# Statuses as people write them: one or several, as values of the enum or as words.
def statuses(wanted: JobStatus | str | Collection[JobStatus | str]) -> frozenset[JobStatus]:
    """The statuses that `wanted` names.

    Raises:
        ConfigError: one of them is not a status; the hint lists those that are.
    """
    found = set()
    for each in wanted if isinstance(wanted, Collection) and not isinstance(wanted, str) else [wanted]:
        try:
            found.add(JobStatus(each))
        except (ValueError, RecursionError) as error:
            known = ", ".join(status.value for status in JobStatus)
            raise ConfigError(f"{shown(each)} is not a status.", where="status", hint=f"Use {known}.") from error
    return frozenset(found)


ACTIVE = tuple(s.value for s in JobStatus if s.is_active)
EXPIRED = "Its kernel gave no sign of life, and another job took its place."


def queue_positions(session: Session) -> dict[str, int]:
    """Of every queued job: 1 = next on its lane."""
    rows = session.execute(
        select(JobRow.id, JobRow.lane)
        .where(JobRow.status == JobStatus.QUEUED.value)
        .order_by(JobRow.queue_number, JobRow.id)
    )
    positions: dict[str, int] = {}
    seen: dict[str, int] = {}
    for job_id, lane in rows:
        positions[job_id] = seen[lane] = seen.get(lane, 0) + 1
    return positions


def next_queue_number(session: Session) -> int:
    """The end of the queue."""
    return int(session.scalar(select(func.coalesce(func.max(JobRow.queue_number), 0))) or 0) + 1


def now(session: Session) -> float:
    """The database's clock, Unix seconds."""
    return float(session.scalar(select(database_now())) or 0.0)


def interrupt_row(session: Session, row: JobRow, note: str) -> None:
    """Mark a job whose owner has vanished. The owner stays: it may come back and take the job again."""
    moment = now(session)
    _stop_clock(row, moment)
    row.status = JobStatus.INTERRUPTED.value
    row.command = None
    row.note = note
    row.finished_at = moment
    row.updated_at = moment
    free_lease(session, row.id)


def free_lease(session: Session, job_id: str) -> None:
    """Free the slot that the job has, if it has one."""
    session.execute(delete(LeaseRow).where(LeaseRow.job_id == job_id))


def free_slot(session: Session, lane: str, width: int, timeout: float) -> tuple[int | None, int]:
    """A free slot of the lane, after expired leases are taken away; and how many slots are free."""
    expired = session.scalars(
        select(LeaseRow).where(LeaseRow.lane == lane, LeaseRow.heartbeat_at < database_now() - timeout)
    ).all()
    for lease in expired:
        holder = session.get(JobRow, lease.job_id)
        if holder is not None and holder.status in ACTIVE:
            interrupt_row(session, holder, EXPIRED)
        free_lease(session, lease.job_id)
    taken = set(session.scalars(select(LeaseRow.slot).where(LeaseRow.lane == lane)))
    free = [slot for slot in range(width) if slot not in taken]
    return (free[0] if free else None), len(free)


def take_lease(session: Session, row: JobRow, owner: str, slot: int) -> None:
    """Give the job a slot. Raises `IntegrityError` if somebody else was quicker."""
    moment = now(session)
    session.add(
        LeaseRow(lane=row.lane, slot=slot, job_id=row.id, owner=owner, acquired_at=moment, heartbeat_at=moment)
    )
    session.flush()  # the primary key decides between two who try at once
    row.heartbeat_at = row.running_since = row.updated_at = moment
    if row.started_at is None:
        row.started_at = moment


def leave_lane(session: Session, row: JobRow, moment: float) -> None:
    """Nobody works on the job any more."""
    _stop_clock(row, moment)
    row.command = None
    free_lease(session, row.id)


def _stop_clock(row: JobRow, moment: float) -> None:
    if row.running_since is not None:
        row.seconds_running += max(0.0, moment - row.running_since)
        row.running_since = None


NO_JOB = JobRecord(id="", kind="", status=JobStatus.INTERRUPTED, lane="")
"""Where a row stands that came whole, or whose job is gone, unless the row itself knows better."""


# Where a row stands that a job makes (a training, an extraction, a store of activations): status, progress and errors
# are those of the job, read at one moment of the database's clock.
def jobs_now(session: Session, jobs: Iterable[JobRow | None]) -> dict[str | None, JobRecord]:
    """Id → how each of these jobs stands now."""
    found = [job for job in jobs if job is not None]
    if not found:
        return {}
    positions = queue_positions(session) if any(job.status == JobStatus.QUEUED.value for job in found) else {}
    moment = now(session)
    return {job.id: job_record(job, moment, positions.get(job.id)) for job in found}


def refuse_while_going(
    session: Session, row: TrainingRow | ExtractionRow | ActivationStoreRow, called: str, hint: str
) -> JobRow | None:
    """The job of a row that is to be deleted. Raises `StateError` while it is queued or running."""
    job = session.get(JobRow, row.job_id) if row.job_id else None
    if job is not None and (job.status == JobStatus.QUEUED.value or JobStatus(job.status).is_active):
        raise StateError(f"{called} is {job.status} and cannot be deleted.", where=row.id, hint=hint)
    return job


def delete_with_job(session: Session, row: ExtractionRow | ActivationStoreRow, name: str) -> None:
    """Delete a row, which is called `name`, and its job. Raises `StateError` while it is queued or running."""
    job = refuse_while_going(session, row, f"The {name}", "Cancel it first.")
    session.delete(row)
    session.flush()
    if job is not None:
        session.delete(job)
