"""Defines `ActivationStoreStore`: stores of activations on disk."""

from __future__ import annotations

import builtins
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from saewidgets.catalog.filestate import state_of
from saewidgets.catalog.rows import NO_JOB, RowsOfJobs, shared, statuses
from saewidgets.catalog.tables import ActivationStoreRow, JobRow
from saewidgets.config.names import search_words
from saewidgets.events import JobStatus
from saewidgets.records import ActivationStoreRecord, JobRecord, Records

_ALL: Any = select(ActivationStoreRow, JobRow).outerjoin(JobRow, ActivationStoreRow.job_id == JobRow.id)


class ActivationStoreStore(RowsOfJobs[ActivationStoreRecord]):
    """`catalog.activations`."""

    table, record, noun, query = ActivationStoreRow, ActivationStoreRecord, "capture", _ALL

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
        order = ActivationStoreRow.created_at.desc(), ActivationStoreRow.id.desc()
        found = [  # a workspace has few of them: each is gigabytes
            record for record in self._read(order=order)
            if (wanted is None or record.status in wanted)
            and (model is None or record.model == model)
            and (hook_name is None or record.holds(hook_name))
            and all(word in _searched(record) for word in words)
        ]
        return Records(found[offset : None if limit is None else offset + limit], ActivationStoreRecord)

    def _records(
        self, session: Session, rows: Sequence[Any], jobs: Mapping[str | None, JobRecord]
    ) -> builtins.list[ActivationStoreRecord]:
        return [self._record(row, jobs.get(row.job_id)) for row, _ in rows]

    def _record(self, row: ActivationStoreRow, own_job: JobRecord | None) -> ActivationStoreRecord:
        job = own_job or NO_JOB
        folder = self._files.absolute(row.folder)
        state, note = ("incomplete", "") if row.files is None else state_of(
            folder, json.dumps(row.files), row.host, self._host
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
