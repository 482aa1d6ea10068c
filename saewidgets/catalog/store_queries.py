"""Defines `ActivationStoreQueries`: stores of activations on disk."""

import builtins
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from saewidgets.catalog.filestate import state_of
from saewidgets.catalog.rows import RowsOfJobs, of_job, shared, statuses
from saewidgets.catalog.tables import ActivationStoreRow, JobRow
from saewidgets.config.names import search_words
from saewidgets.events import JobStatus
from saewidgets.records import ActivationStoreRecord, JobRecord, Records

_ALL: Any = select(ActivationStoreRow, JobRow).outerjoin(JobRow, ActivationStoreRow.job_id == JobRow.id)


class ActivationStoreQueries(RowsOfJobs[ActivationStoreRecord]):
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
        found = [  # a workspace has few of them: each is gigabytes
            record for record in self._read()
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

    def _record(self, row: ActivationStoreRow, job: JobRecord | None) -> ActivationStoreRecord:
        stands = of_job(row, job, self._files)
        state, note = ("incomplete", "") if row.files is None else state_of(
            stands["folder"], json.dumps(row.files), stands["host"], self._host, 0, self._files.elsewhere
        )
        return ActivationStoreRecord(**{
            **shared(ActivationStoreRecord, row), **stands, "hook_names": tuple(row.hook_names),
            "hooks": row.facts.get("hooks", {}), "state": state, "state_note": note,
        })  # fmt: skip


def _searched(record: ActivationStoreRecord) -> str:
    return " ".join([record.id, record.name, record.model or "", record.corpus, *record.hook_names]).casefold()
