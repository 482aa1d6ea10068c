"""Shared by the queries of several tables: ids, rows as records, the database's clock, and `RowsOfJobs`, the base of
the stores of trainings, extractions and activations: their status, progress and error come from the row's job, all
else from the row."""

import builtins
import gc
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, Text, func, or_, select, type_coerce
from sqlalchemy.orm import Session

from saewidgets.catalog.database import Database
from saewidgets.catalog.filestate import Files
from saewidgets.catalog.tables import (
    ActivationStoreRow,
    Base,
    CheckpointRow,
    ExtractionRow,
    JobRow,
    SAERow,
    TemplateRow,
    TrainingRow,
    UsedRow,
    database_now,
)
from saewidgets.config.arguments import shown
from saewidgets.config.names import search_words
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.records import CheckpointRecord, ErrorInfo, JobRecord, Records

# ------------------------------------------------------------------------------------------------ ids
# Sortable by creation where lists are in that order, random where they are not.

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80


class _Ulids:
    """Monotonic ULIDs (https://github.com/ulid/spec): two made within one millisecond differ by one, and a clock that
    steps back is held, so that the order of ids made by one process is the order of creation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._time = 0
        self._random = 0

    def __call__(self) -> str:
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._time:
                # The top bit stays clear: there is always room to count up within the millisecond.
                self._time, self._random = now, secrets.randbits(_RANDOM_BITS - 1)
            else:
                self._random += 1
            value = (self._time << _RANDOM_BITS) | self._random
        return "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))


ulid = _Ulids()


def _new(prefix: str, make: Callable[[], object] = ulid) -> Callable[[], str]:
    return lambda: f"{prefix}_{make()}"


new_training_id = _new("train")
new_group_id = _new("group")  # of trainings that share a job
new_checkpoint_id = _new("ckpt")
new_store_id = _new("acts")  # of a store of activations
new_sae_id = _new("sae", uuid.uuid4)
new_template_id = _new("tmpl", uuid.uuid4)


# ------------------------------------------------------------------------------------------------ rows

LARGEST = 2**31 - 1  # what every database holds as a number
_NOUNS: dict[type[Base], str] = {
    TrainingRow: "training", SAERow: "SAE", ExtractionRow: "extraction", ActivationStoreRow: "store of activations",
    JobRow: "job", CheckpointRow: "checkpoint", TemplateRow: "template",
}  # fmt: skip
AnyRow = TypeVar("AnyRow", bound=Base)
AnyPart = TypeVar("AnyPart", Progress, ErrorInfo)


def find(session: Session, table: type[AnyRow], id: str) -> AnyRow:
    """The row with this id. Raises `NotFoundError`."""
    row = session.get(table, id)
    if row is None:
        raise missing(table, id)
    return row


def missing(table: type[Base], id: str) -> NotFoundError:
    """The error for an id that names no row."""
    return NotFoundError(f"There is no {_NOUNS[table]} {id!r}.", hint="List what there is: it may have been deleted.")


def change(row: Base, changes: Mapping[str, Any]) -> None:
    """Set columns of a row. Raises `ValueError` if one of them does not exist."""
    if unknown := changes.keys() - row.__mapper__.columns.keys():
        raise ValueError(f"A {type(row).__name__} has no columns {', '.join(sorted(unknown))}.")
    for name, value in changes.items():
        setattr(row, name, value)


def named(session: Session, table: type[UsedRow], name: str) -> str:
    """The key of a model or a dataset; one that was not used yet gets a row, and is not suggested."""
    if session.get(table, name) is None:
        session.add(table(name=name, facts={}, uses=0, created_at=now(session), used_at=0.0))
        session.flush()
    return name


def has_words(search: str | None, *columns: Any) -> list[ColumnElement[bool]]:
    """The conditions for rows that have every word of `search` in one of these columns."""
    return [or_(*(each.icontains(word, autoescape=True) for each in columns)) for word in search_words(search)]


@cache
def _shared(record: type[Any], table: type[Base]) -> tuple[str, ...]:
    columns = set(table.__mapper__.columns.keys())
    return tuple(field.name for field in fields(record) if field.name in columns)


def shared(record: type[Any], row: Base) -> dict[str, Any]:
    """The values of the row that the record, a dataclass, has under the same names."""
    return {name: getattr(row, name) for name in _shared(record, type(row))}  # type: ignore[arg-type]  # a class is hashable


def made(kind: type[AnyPart], data: Mapping[str, Any] | None) -> AnyPart | None:
    """The progress or the error that a row holds as data, less fields that a later version has added."""
    return None if data is None else kind(**{f.name: data[f.name] for f in fields(kind) if f.name in data})


def job_record(row: JobRow, now: float, queue_position: int | None) -> JobRecord:
    """`now` is the database's clock: a running job's seconds go on."""
    running = max(0.0, now - row.running_since) if row.running_since is not None else 0.0
    return JobRecord(**{
        **shared(JobRecord, row), "status": JobStatus(row.status), "progress": made(Progress, row.progress),
        "error": made(ErrorInfo, row.error), "queue_position": queue_position,
        "seconds_running": row.seconds_running + running,
    })  # fmt: skip


def checkpoint_record(row: CheckpointRow, files: Files) -> CheckpointRecord:
    """The record of a row, with its absolute path."""
    return CheckpointRecord(**{
        **shared(CheckpointRecord, row), "path": files.absolute(row.path), "kinds": tuple(row.kinds),
    })  # fmt: skip


# ------------------------------------------------------------------------------------------------ jobs of rows


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


def queue_positions(session: Session) -> dict[str, int]:
    """The place of every queued job: 1 = next on its lane."""
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


NO_JOB = JobRecord(id="", kind="", status=JobStatus.INTERRUPTED, lane="")
"""The status of a row without a job (imported whole, or its job was deleted), unless the row has one."""


def of_job(
    row: TrainingRow | ExtractionRow | ActivationStoreRow, job: JobRecord | None, files: Files
) -> dict[str, Any]:
    """What the records of rows that jobs make have in common; without its job a row with tokens is complete. Its
    machine is that of the job's lane, which moves to the one that resumes it."""
    status = NO_JOB.status if getattr(row, "n_tokens", None) is None else JobStatus.COMPLETED
    stands = job or NO_JOB
    names = ("progress", "error", "queue_position", "started_at", "finished_at", "seconds_running", "started_by")
    return {name: getattr(stands, name) for name in names} | {
        "status": job.status if job is not None else status, "folder": files.absolute(row.folder),
        "host": stands.lane.rpartition("/")[0] or row.host,
        "note": " ".join(filter(None, [row.note, stands.note])) or None,
    }  # fmt: skip


# Where a row stands that a job makes (a training, an extraction, a store of activations): status, progress and errors
# are those of the job, read at one moment of the database's clock.
def jobs_now(session: Session, jobs: Iterable[JobRow | None]) -> dict[str | None, JobRecord]:
    """Id → current status of each of these jobs."""
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


@contextmanager
def _without_collection() -> Iterator[None]:
    """For the rows of a list: a thousand make so many objects, which all stay, that Python's garbage collector would
    take as long again to look through all there are."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


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

    def _read(self, *conditions: ColumnElement[bool], limit: int | None = None, offset: int = 0) -> Records[AnyRecord]:
        """Newest first."""
        query = self.query.where(*conditions).order_by(self.table.created_at.desc(), self.table.id.desc())
        with self._database.read() as session, _without_collection():
            rows = session.execute(query.limit(limit).offset(offset or None)).all()
            jobs = jobs_now(session, (row[1] for row in rows))
            return Records(self._records(session, rows, jobs), self.record)

    def _records(
        self, session: Session, rows: Sequence[Any], jobs: Mapping[str | None, JobRecord]
    ) -> builtins.list[AnyRecord]:
        raise NotImplementedError
