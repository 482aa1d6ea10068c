"""Rows of stores of activations. A store's status and progress are its job's, its arrays lie in its folder."""

from __future__ import annotations

import builtins
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from saewidgets.activation_records import ActivationStoreRecord
from saewidgets.catalog.database import Database
from saewidgets.catalog.filestate import Files, FileStates
from saewidgets.catalog.queue import NO_JOB, delete_with_job, jobs_now, now, statuses
from saewidgets.catalog.rows import change, find, missing, shared
from saewidgets.catalog.tables import ActivationStoreRow, JobRow
from saewidgets.config.names import search_words
from saewidgets.events import JobStatus
from saewidgets.records import JobRecord, Records

_ALL: Any = select(ActivationStoreRow, JobRow).outerjoin(JobRow, ActivationStoreRow.job_id == JobRow.id)


class ActivationStoreStore:
    """`catalog.activations`."""

    def __init__(self, database: Database, files: Files, host: str) -> None:
        self._database, self._files, self._host = database, files, host
        self._states = FileStates(host)

    def create(self, *, folder: str | Path, **columns: Any) -> ActivationStoreRecord:
        """Insert a store that is not whole yet; its id is from `new_store_id`."""

        def write(session: Session) -> str:
            row = ActivationStoreRow(
                facts={}, host=self._host, folder=self._files.stored(folder), created_at=now(session), **columns
            )
            session.add(row)
            return row.id

        return self.get(self._database.write(write))

    def get(self, store_id: str) -> ActivationStoreRecord:
        """Raises `NotFoundError`."""
        found = self._read(_ALL.where(ActivationStoreRow.id == store_id))
        if not found:
            raise missing(ActivationStoreRow, store_id)
        return found[0]

    def by_job(self, job_id: str) -> builtins.list[ActivationStoreRecord]:
        """The store of a job."""
        return self._read(_ALL.where(ActivationStoreRow.job_id == job_id))

    def list(
        self,
        *,
        status: JobStatus | str | Collection[JobStatus | str] | None = None,
        model: str | None = None,
        hook_name: str | None = None,
        search: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Records[ActivationStoreRecord]:
        """See `Activations.list`."""
        wanted = None if status is None else statuses(status)
        words = [word.casefold() for word in search_words(search)]
        query = _ALL.order_by(ActivationStoreRow.created_at.desc(), ActivationStoreRow.id.desc())
        found = [  # a workspace has few of them: each is gigabytes
            record for record in self._read(query)
            if (wanted is None or record.status in wanted)
            and (model is None or record.model == model)
            and (hook_name is None or record.holds(hook_name))
            and all(word in _searched(record) for word in words)
        ]
        return Records(found[offset : None if limit is None else offset + limit], ActivationStoreRecord)

    def update(self, store_id: str, **changes: Any) -> ActivationStoreRecord:
        """Change columns of the row."""

        def write(session: Session) -> None:
            row = find(session, ActivationStoreRow, store_id)
            change(row, changes)

        self._database.write(write)
        return self.get(store_id)

    def delete(self, store_id: str) -> Path:
        """Delete a store and its job. Returns its folder, for the caller to remove.

        Raises:
            StateError: it is queued or being written.
            NotFoundError: there is no such store.
        """

        def write(session: Session) -> Path:
            row = find(session, ActivationStoreRow, store_id)
            folder = self._files.owned(row.folder)
            delete_with_job(session, row, "capture")
            return folder

        return self._database.write(write)

    def _read(self, query: Select[Any]) -> builtins.list[ActivationStoreRecord]:
        with self._database.read() as session:
            rows = session.execute(query).all()
            jobs = jobs_now(session, (job for _, job in rows))
            return [self._record(row, jobs.get(row.job_id)) for row, _ in rows]

    def _record(self, row: ActivationStoreRow, own_job: JobRecord | None) -> ActivationStoreRecord:
        job = own_job or NO_JOB
        folder = self._files.absolute(row.folder)
        state, note = ("incomplete", "") if row.files is None else self._states.look(
            folder, json.dumps(row.files), 0, row.host
        )
        whole = own_job is None and row.n_tokens is not None
        return ActivationStoreRecord(**{
            **shared(ActivationStoreRecord, row), "hook_names": tuple(row.hook_names),
            "status": JobStatus.COMPLETED if whole else job.status, "progress": job.progress, "error": job.error,
            "queue_position": job.queue_position, "folder": folder, "started_at": job.started_at,
            "finished_at": job.finished_at, "seconds_running": job.seconds_running,
            "hooks": row.facts.get("hooks", {}), "note": " ".join(filter(None, [row.note, job.note])) or None,
            "state": state, "state_note": note,
        })  # fmt: skip


def _searched(record: ActivationStoreRecord) -> str:
    return " ".join([record.id, record.name, record.model or "", record.corpus, *record.hook_names]).casefold()
