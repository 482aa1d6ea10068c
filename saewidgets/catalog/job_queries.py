"""Defines `JobQueries`, the jobs of all processes for the job manager, with the leases that name the process working on
each lane; and `record_events`."""

import builtins
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from saewidgets.catalog.checkpoint_queries import save_checkpoint
from saewidgets.catalog.database import Database
from saewidgets.catalog.filestate import Files
from saewidgets.catalog.metric_queries import save_metrics
from saewidgets.catalog.rows import find, job_record, jobs_now, next_queue_number, now, queue_positions
from saewidgets.catalog.tables import JobLogRow, JobRow, LeaseRow, TrainingRow, database_now
from saewidgets.catalog.training_queries import apply_facts
from saewidgets.events import CheckpointSaved, Event, Facts, JobStatus, LogLine, Metrics, Progress
from saewidgets.records import JobRecord, Records


def record_events(session: Session, files: Files, owner: str, batch: Sequence[tuple[str, str | None, Event]]) -> None:
    """Write what running jobs emit. Events of jobs that are not `owner`'s, or whose training is deleted, are dropped;
    log lines of a job that has ended, and so has no owner, are still written. An event belongs to the
    training named as its subject, else to the job's only one."""
    ids = {job_id for job_id, _, _ in batch}
    near = select(JobRow).where(JobRow.id.in_(ids), or_(JobRow.owner == owner, JobRow.owner.is_(None)))
    jobs = {row.id: row for row in session.scalars(near.with_for_update())}
    trainings: dict[str, list[TrainingRow]] = {}
    for training in session.scalars(select(TrainingRow).where(TrainingRow.job_id.in_(jobs)).with_for_update()):
        trainings.setdefault(str(training.job_id), []).append(training)
    moment = now(session)
    metrics: dict[str, list[Metrics]] = {}
    for job_id, subject, event in batch:
        job = jobs.get(job_id)
        if job is None or (job.owner is None and not isinstance(event, LogLine)):
            continue
        job.updated_at = moment
        mine = [t for t in trainings.get(job_id, ()) if subject is None or t.id == subject]
        match event:
            case Progress():
                job.progress = asdict(event)
                for training in mine:
                    training.tokens_done = event.done
                    training.step = training.step if event.step is None else event.step
            case Metrics():
                for training in mine:
                    metrics.setdefault(training.id, []).append(event)
                    training.latest = {**training.latest, **event.values}
            case CheckpointSaved():
                for training in mine:
                    save_checkpoint(session, files, training.id, event)
            case Facts():
                for training in mine:
                    apply_facts(training, event.values, files)
                if not mine:
                    job.result = {**(job.result or {}), **event.values}
            case LogLine():
                line = {"time": event.time, "level": event.level, "message": event.message}
                session.add(JobLogRow(job_id=job_id, training_id=subject, **line))
    for training_id, events in metrics.items():
        save_metrics(session, training_id, events)


ACTIVE = tuple(s.value for s in JobStatus if s.is_active)
EXPIRED = "Its kernel gave no sign of life, and another job took its place."
_CHANGEABLE = frozenset({"status", "owner", "lane", "command", "error", "note", "result"})
_OWNED = (JobStatus.QUEUED.value, *ACTIVE)


class JobQueries:
    """See `saewidgets.jobs.job_store.JobStore` for what each method promises."""

    def __init__(self, database: Database, files: Files, user: str | None) -> None:
        self._database, self._files, self._user = database, files, user

    def add(self, job_id: str, *, kind: str, lane: str, payload: Mapping[str, Any], owner: str | None) -> JobRecord:
        def write(session: Session) -> JobRecord:
            moment = now(session)
            row = JobRow(
                id=job_id, kind=kind, status=JobStatus.QUEUED.value, lane=lane, payload=dict(payload), owner=owner,
                heartbeat_at=moment, seconds_running=0.0, created_at=moment, updated_at=moment,
                queue_number=next_queue_number(session), started_by=self._user,
            )
            session.add(row)
            session.flush()
            return _record(session, row)

        return self._database.write(write)

    def get(self, job_id: str) -> JobRecord:
        with self._database.read() as session:
            return _record(session, find(session, JobRow, job_id))

    def list(
        self,
        *,
        status: Collection[JobStatus] | None = None,
        kind: str | None = None,
        owner: str | None = None,
        ids: Collection[str] | None = None,
        updated_since: float | None = None,
        limit: int | None = None,
    ) -> Records[JobRecord]:
        conditions = (
            (status, JobRow.status.in_([s.value for s in status or ()])), (kind, JobRow.kind == kind),
            (owner, JobRow.owner == owner), (ids, JobRow.id.in_(ids or ())),
            (updated_since, JobRow.updated_at > (updated_since or 0.0)),
        )  # fmt: skip
        query = select(JobRow).where(*(condition for given, condition in conditions if given is not None))
        query = query.order_by(JobRow.created_at.desc(), JobRow.queue_number.desc(), JobRow.id.desc())
        with self._database.read() as session:
            rows = session.scalars(query.limit(limit)).all()
            found = jobs_now(session, rows)
            return Records([found[row.id] for row in rows], JobRecord)

    def change(
        self, job_id: str, changes: Mapping[str, Any], *, when: Collection[JobStatus], owner: str | None = None
    ) -> JobRecord | None:
        unknown = changes.keys() - _CHANGEABLE
        if unknown:
            raise ValueError(f"These fields of a job cannot be changed: {', '.join(sorted(unknown))}.")

        def write(session: Session) -> JobRecord | None:
            row = session.get(JobRow, job_id)
            if row is None or JobStatus(row.status) not in when or (owner is not None and (row.owner or "") != owner):
                return None
            _apply(session, row, changes)
            session.flush()
            return _record(session, row)

        return self._database.write(write)

    def delete(self, job_id: str) -> None:
        self._database.write(lambda session: session.execute(delete(JobRow).where(JobRow.id == job_id)))

    def acquire(
        self, job_id: str, owner: str, *, width: int, timeout: float,
        is_alive: Callable[[str], bool | None] = lambda owner: None,
    ) -> JobRecord | None:
        with self._database.read() as session:  # usually it is not its turn: look before taking the write lock
            row = session.get(JobRow, job_id)
            if row is None or queue_positions(session).get(job_id, width + 1) > width:
                return None
            leases = session.scalars(select(LeaseRow).where(LeaseRow.lane == row.lane)).all()
            moment = now(session)
            if sum(lease.heartbeat_at >= moment - timeout or bool(is_alive(lease.owner)) for lease in leases) >= width:
                return None

        def write(session: Session) -> JobRecord | None:
            row = session.get(JobRow, job_id)
            if row is None or row.owner != owner or row.status != JobStatus.QUEUED.value:
                return None
            slot, free = free_slot(session, row.lane, width, timeout, is_alive)
            if slot is None or queue_positions(session).get(job_id, free + 1) > free:
                return None
            lease = LeaseRow(lane=row.lane, slot=slot, job_id=row.id, owner=owner)
            lease.acquired_at = lease.heartbeat_at = row.heartbeat_at = row.running_since = now(session)
            session.add(lease)
            session.flush()  # the primary key decides between two who try at once
            _apply(session, row, {"status": JobStatus.STARTING})
            return _record(session, row)

        try:
            return self._database.write(write)
        except IntegrityError:  # another process has taken the slot in between
            return None

    def beat(self, owner: str) -> None:
        def write(session: Session) -> None:
            session.execute(
                update(JobRow)
                .where(JobRow.owner == owner, JobRow.status.in_(_OWNED))
                .values(heartbeat_at=database_now())
            )
            session.execute(update(LeaseRow).where(LeaseRow.owner == owner).values(heartbeat_at=database_now()))

        self._database.write(write, alone=False)

    def stale(self, timeout: float) -> Records[JobRecord]:
        query = select(JobRow, database_now()).where(
            JobRow.status.in_(_OWNED), JobRow.heartbeat_at < database_now() - timeout
        )
        with self._database.read() as session:
            return Records([job_record(row, moment, None) for row, moment in session.execute(query)], JobRecord)

    def interrupt(self, job_id: str, owner: str, *, note: str, older_than: float | None = None) -> JobRecord | None:
        def write(session: Session) -> JobRecord | None:
            row = session.get(JobRow, job_id)
            if row is None or (row.owner or "") != owner or row.status not in _OWNED:
                return None
            if older_than is not None and (row.heartbeat_at or 0.0) >= now(session) - older_than:
                return None
            _apply(session, row, {"status": JobStatus.INTERRUPTED, "note": note})
            session.flush()
            return _record(session, row)

        return self._database.write(write, patience=0.0)  # lists must not hang; the next one tries again

    def record(self, owner: str, batch: Sequence[tuple[str, str | None, Event]]) -> None:
        self._database.write(lambda session: record_events(session, self._files, owner, batch), alone=False)

    def log(
        self, job_id: str, *, training_id: str | None = None, limit: int | None = None
    ) -> builtins.list[LogLine]:
        """The last `limit` lines of the job's log, oldest first. `training_id`: only this one's, and what concerns all.
        """
        query = select(JobLogRow).where(JobLogRow.job_id == job_id).order_by(JobLogRow.id.desc()).limit(limit)
        if training_id is not None:
            query = query.where(or_(JobLogRow.training_id.is_(None), JobLogRow.training_id == training_id))
        with self._database.read() as session:
            rows = session.scalars(query).all()
        return [LogLine(row.message, row.level, row.time) for row in reversed(rows)]  # type: ignore[arg-type]


def _record(session: Session, row: JobRow) -> JobRecord:
    position = queue_positions(session).get(row.id) if row.status == JobStatus.QUEUED.value else None
    return job_record(row, now(session), position)


def _apply(session: Session, row: JobRow, changes: Mapping[str, Any]) -> None:
    moment = now(session)
    row.updated_at = moment
    if "status" in changes:
        status = JobStatus(changes["status"])
        if status is JobStatus.QUEUED:
            row.queue_number = next_queue_number(session)
            row.error = row.note = row.finished_at = None
        if status is JobStatus.STARTING and row.started_at is None:
            row.started_at = moment
        if not status.is_active:
            if row.running_since is not None:
                row.seconds_running += max(0.0, moment - row.running_since)
                row.running_since = None
            row.command = None
            free_lease(session, row.id)
        if status is JobStatus.PAUSED or (status.is_final and status is not JobStatus.INTERRUPTED):
            row.owner = None  # that of an interrupted one may come back and take the job again
        if status.is_final:
            row.finished_at = moment
        row.status = status.value
    if "owner" in changes:
        row.owner = changes["owner"]
        row.heartbeat_at = moment
    for name in ("lane", "command", "note", "result"):
        if name in changes:
            setattr(row, name, changes[name])
    if "error" in changes:
        row.error = None if changes["error"] is None else asdict(changes["error"])


def free_lease(session: Session, job_id: str) -> None:
    """Free the slot that the job has, if it has one."""
    session.execute(delete(LeaseRow).where(LeaseRow.job_id == job_id))


def free_slot(
    session: Session, lane: str, width: int, timeout: float, is_alive: Callable[[str], bool | None]
) -> tuple[int | None, int]:
    """A free slot of the lane, after expired leases are taken away; and how many slots are free."""
    expired = session.scalars(
        select(LeaseRow).where(LeaseRow.lane == lane, LeaseRow.heartbeat_at < database_now() - timeout)
    ).all()
    for lease in expired:
        if is_alive(lease.owner):
            continue
        holder = session.get(JobRow, lease.job_id)
        if holder is not None and holder.status in ACTIVE:
            _apply(session, holder, {"status": JobStatus.INTERRUPTED, "note": EXPIRED})
        free_lease(session, lease.job_id)
    taken = set(session.scalars(select(LeaseRow.slot).where(LeaseRow.lane == lane)))
    free = [slot for slot in range(width) if slot not in taken]
    return (free[0] if free else None), len(free)
