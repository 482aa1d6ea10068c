"""Defines `RowsOfJobs`, which the stores of trainings, extractions and activations share: what a row *is* stands in the
row, where it *stands* (status, progress, error) comes from its job."""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from saewidgets.catalog.database import Database
from saewidgets.catalog.filestate import Files, FileStates
from saewidgets.catalog.queue import delete_with_job, jobs_now, now
from saewidgets.catalog.rows import change, find, missing
from saewidgets.catalog.tables import JobRow
from saewidgets.events import JobStatus
from saewidgets.records import JobRecord, Records

AnyRecord = TypeVar("AnyRecord")


class RowsOfJobs(Generic[AnyRecord]):
    """Rows of one table, each with its job.

    Attributes:
        table, record: the rows, and what is returned for them.
        noun: what a row is called where it cannot be deleted.
        query: gives row and job, and what else `_record` takes; rows without a job are in it.
        status: how a row stands, as a column of that query.
    """

    table: ClassVar[Any]
    record: ClassVar[builtins.type[Any]]
    noun: ClassVar[str]
    query: ClassVar[Select[Any]]
    status: ClassVar[ColumnElement[str]]

    def __init__(self, database: Database, files: Files, host: str) -> None:
        self._database, self._files, self._host = database, files, host
        self._states = FileStates(host)

    def create(self, *, folder: str | Path, facts: Mapping[str, Any] | None = None, **columns: Any) -> AnyRecord:
        """Insert a row, whose id the caller has made.

        Raises:
            sqlalchemy.exc.IntegrityError: a constraint of the table is broken.
        """

        def write(session: Session) -> str:
            row = self.table(
                facts=dict(facts or {}), host=self._host, folder=self._files.stored(folder), created_at=now(session),
                **columns,
            )
            session.add(row)
            return str(row.id)

        return self.get(self._database.write(write))

    def get(self, row_id: str) -> AnyRecord:
        """Raises `NotFoundError`."""
        found = self._read(self.table.id == row_id)
        if not found:
            raise missing(self.table, row_id)
        return found[0]

    def by_job(self, job_id: str) -> Records[AnyRecord]:
        """What one job makes."""
        return self._read(self.table.job_id == job_id)

    def update(self, row_id: str, **changes: Any) -> AnyRecord:
        """Change columns of the row. Raises `ValueError` if one of them does not exist."""
        self._database.write(lambda session: change(find(session, self.table, row_id), changes))
        return self.get(row_id)

    def delete(self, row_id: str) -> Path:
        """Delete a row and its job. Returns its folder, for the caller to remove.

        Raises:
            StateError: it is queued or running.
            NotFoundError: there is no such row.
        """

        def write(session: Session) -> Path:
            row = find(session, self.table, row_id)
            folder = self._files.owned(row.folder)
            delete_with_job(session, row, self.noun)
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

    def _count(self, *conditions: ColumnElement[bool]) -> dict[JobStatus, int]:
        query = select(self.status, func.count()).select_from(self.table)
        query = query.outerjoin(JobRow, self.table.job_id == JobRow.id).where(*conditions).group_by(self.status)
        with self._database.read() as session:
            return {JobStatus(status): int(number) for status, number in session.execute(query)}

    def _records(
        self, session: Session, rows: Sequence[Any], jobs: Mapping[str | None, JobRecord]
    ) -> builtins.list[AnyRecord]:
        raise NotImplementedError
