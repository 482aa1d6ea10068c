"""The queues of lanes, the leases that say who works on one, and how jobs stand: queries inside a session; and
`RowsOfJobs`, which the stores of trainings, extractions and activations share: what a row *is* stands in the row, where
it *stands* (status, progress, error) comes from its job."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, Text, delete, func, select, type_coerce
from sqlalchemy.orm import Session

from saewidgets.catalog.database import Database
from saewidgets.catalog.filestate import Files
from saewidgets.catalog.rows import change, find, job_record, missing
from saewidgets.catalog.tables import ActivationStoreRow, ExtractionRow, JobRow, LeaseRow, TrainingRow, database_now
from saewidgets.config.arguments import shown
from saewidgets.errors import ConfigError, StateError
from saewidgets.events import JobStatus
from saewidgets.records import JobRecord, Records


# Statuses as people write them: one or several, as values of the enum or as words.
def statuses(wanted: JobStatus | str | Collection[JobStatus | str]) -> frozenset[JobStatus]:
    """The statuses that `wanted` names. Raises `ConfigError` where one of them is not a status."""
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


def unfinished(wanted: str) -> Select[Any]:
    """Jobs that have not ended and name this id (or commit) in what they are to do."""
    named = type_coerce(JobRow.payload, Text).contains(f'"{wanted}"', autoescape=True)
    return select(JobRow).where(JobRow.status.in_([s.value for s in JobStatus if not s.is_final]), named)


def in_use(called: str, row_id: str, job: JobRow, doing: str = "reads it") -> StateError:
    """The error where a row is to be deleted that a job uses."""
    return StateError(
        f"{called} is in use: a job of kind {job.kind} ({job.status}) {doing}, {job.id}.", where=row_id,
        hint=f"Cancel that first, ws.jobs.get({job.id!r}).cancel(), or wait until it has ended.",
    )


AnyRecord = TypeVar("AnyRecord")


class RowsOfJobs(Generic[AnyRecord]):
    """Rows of one table, each with its job: `query` gives both, and what else `_records` takes; rows without a job are
    in it. `noun` is what a row is called where it cannot be deleted."""

    table: ClassVar[Any]
    record: ClassVar[builtins.type[Any]]
    noun: ClassVar[str]
    query: ClassVar[Select[Any]]

    def __init__(self, database: Database, files: Files, host: str) -> None:
        self._database, self._files, self._host = database, files, host

    def create(self, *, folder: str | Path, facts: Mapping[str, Any] | None = None, **columns: Any) -> AnyRecord:
        def write(session: Session) -> str:
            row = self.table(
                facts=dict(facts or {}), host=self._host, folder=self._files.stored(folder), created_at=now(session),
                **columns,
            )
            session.add(row)
            return str(row.id)

        return self.get(self._database.write(write))

    def get(self, row_id: str) -> AnyRecord:
        found = self._read(self.table.id == row_id)
        if not found:
            raise missing(self.table, row_id)
        return found[0]

    def by_job(self, job_id: str) -> Records[AnyRecord]:
        return self._read(self.table.job_id == job_id)

    def update(self, row_id: str, **changes: Any) -> AnyRecord:
        self._database.write(lambda session: change(find(session, self.table, row_id), changes))
        return self.get(row_id)

    def delete(self, row_id: str) -> Path:
        """Delete a row and its job. Returns its folder, for the caller to remove."""

        def write(session: Session) -> Path:
            row = find(session, self.table, row_id)
            folder = self._files.owned(row.folder)
            job = refuse_while_going(session, row, f"The {self.noun}", "Cancel it first.")
            session.delete(row)
            session.flush()
            if job is not None:
                session.delete(job)
            return folder

        return self._database.write(write)

    def _read(
        self, *conditions: ColumnElement[bool], order: Sequence[Any] = (), limit: int | None = None, offset: int = 0
    ) -> Records[AnyRecord]:
        query = self.query.where(*conditions).order_by(*order or (self.table.id,))
        with self._database.read() as session:
            rows = session.execute(query.limit(limit).offset(offset or None)).all()
            jobs = jobs_now(session, (row[1] for row in rows))
            return Records(self._records(session, rows, jobs), self.record)

    def _records(
        self, session: Session, rows: Sequence[Any], jobs: Mapping[str | None, JobRecord]
    ) -> builtins.list[AnyRecord]:
        raise NotImplementedError
