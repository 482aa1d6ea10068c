"""Defines `ExtractionQueries`: extractions, which are passes of an SAE over a corpus."""

import builtins
import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, select
from sqlalchemy.orm import Session, aliased

from saewidgets.catalog.filestate import Files, state_of
from saewidgets.catalog.origins import find_origin
from saewidgets.catalog.rows import RowsOfJobs, has_words, of_job, shared, statuses
from saewidgets.catalog.tables import ExtractionRow, JobRow, SAERow, TrainingRow
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus
from saewidgets.feature_records import ExtractionRecord
from saewidgets.records import JobRecord, Records

SOURCE_TYPES = ("training", "sae")
# Without a job (it came whole, or its job is gone) its status follows from its results.
_WITHOUT_JOB: ColumnElement[str] = case(
    (ExtractionRow.n_tokens.is_not(None), JobStatus.COMPLETED.value), else_=JobStatus.INTERRUPTED.value
)
_SHOWN_STATUS = func.coalesce(JobRow.status, _WITHOUT_JOB)
_OWN = aliased(SAERow)  # the SAE that was read
_IMPORTED = aliased(SAERow)  # the SAE that was imported from the training that was read
_NAME = func.coalesce(_OWN.name, _IMPORTED.name, TrainingRow.name)
_PATH = func.coalesce(_OWN.path, _IMPORTED.path, TrainingRow.sae_path)  # of the files that are read live
_OTHER_WEIGHTS = "Made with other weights than the SAE has now."
_ALL: Any = (
    select(
        ExtractionRow, JobRow, _OWN.source, func.coalesce(_OWN.id, _IMPORTED.id),
        TrainingRow.id, _NAME, _PATH, _OWN.repo_id, TrainingRow.name,
    )
    .outerjoin(JobRow, ExtractionRow.job_id == JobRow.id)
    .outerjoin(_OWN, ExtractionRow.external_sae_id == _OWN.id)
    .outerjoin(TrainingRow, TrainingRow.id == func.coalesce(ExtractionRow.training_id, _OWN.training_id))
    .outerjoin(_IMPORTED, ExtractionRow.training_id == _IMPORTED.training_id)
)  # fmt: skip


def new_extraction_id(origin_id: str) -> str:
    """``ext_{training or SAE}_{microseconds}``."""
    return f"ext_{origin_id}_{time.time_ns() // 1000}"


class ExtractionQueries(RowsOfJobs[ExtractionRecord]):
    """`catalog.extractions`."""

    table, record, noun, query = ExtractionRow, ExtractionRecord, "extraction", _ALL

    def create(self, *, sae_id: str | None = None, **columns: Any) -> ExtractionRecord:
        return super().create(external_sae_id=sae_id, **columns)

    def list(self, *, limit: int | None = None, offset: int = 0, **filters: Any) -> Records[ExtractionRecord]:
        """See `Extractions.list`; `has_data` wants only those that can be read."""
        with self._database.read() as session:
            conditions = _conditions(session, **filters)
        return self._read(*conditions, limit=limit, offset=offset)

    def count(self) -> dict[JobStatus, int]:
        query = select(_SHOWN_STATUS, func.count()).select_from(ExtractionRow)
        query = query.outerjoin(JobRow, ExtractionRow.job_id == JobRow.id).group_by(_SHOWN_STATUS)
        with self._database.read() as session:
            return {JobStatus(status): int(number) for status, number in session.execute(query)}

    def owned_by(self, sae_id: str | None = None, training_id: str | None = None) -> dict[str, Path]:
        """Id → folder of those that go when this SAE, or this training, is deleted."""
        owner = ExtractionRow.external_sae_id == sae_id if sae_id else ExtractionRow.training_id == training_id
        with self._database.read() as session:
            rows = session.execute(select(ExtractionRow.id, ExtractionRow.folder).where(owner)).all()
            return {extraction_id: self._files.owned(folder) for extraction_id, folder in rows}

    def existing(self, ids: Iterable[str]) -> set[str]:
        with self._database.read() as session:
            return set(session.scalars(select(ExtractionRow.id).where(ExtractionRow.id.in_(builtins.list(ids)))))

    def _records(
        self, session: Session, rows: Sequence[Any], jobs: Mapping[str | None, JobRecord]
    ) -> builtins.list[ExtractionRecord]:
        return [_record(tuple(row), jobs.get(row[0].job_id), self._files) for row in rows]


def seen_latents(session: Session) -> dict[str, tuple[float, int]]:
    """Id of the SAE or training → (when, how many latents fired) of its newest extraction that has an end."""
    query = select(
        func.coalesce(ExtractionRow.external_sae_id, ExtractionRow.training_id), ExtractionRow.created_at,
        ExtractionRow.seen,
    ).where(ExtractionRow.n_tokens.is_not(None))
    rows = session.execute(query.order_by(ExtractionRow.created_at))
    return {origin: (when, int(seen or 0)) for origin, when, seen in rows}


def remove_jobs(session: Session, owner: ColumnElement[bool]) -> None:
    """Delete the jobs of the extractions for which `owner` holds: the extractions are about to be deleted."""
    ids = session.scalars(select(ExtractionRow.job_id).where(owner, ExtractionRow.job_id.is_not(None))).all()
    if ids:
        session.execute(delete(JobRow).where(JobRow.id.in_(ids)))


def _conditions(
    session: Session, *, origin: str | None = None,
    status: JobStatus | str | Collection[JobStatus | str] | None = None, source_type: str | None = None,
    search: str | None = None, has_data: bool = False,
) -> builtins.list[ColumnElement[bool]]:
    found: builtins.list[ColumnElement[bool]] = []
    if origin is not None:
        found.append(find_origin(session, origin).owns(ExtractionRow))
    if status is not None:
        found.append(_SHOWN_STATUS.in_(sorted(statuses(status))))
    if source_type is not None:
        if source_type not in SOURCE_TYPES:
            raise ConfigError(
                f"Extractions have no source {source_type!r}.", where="source_type",
                hint=f"Use one of: {', '.join(SOURCE_TYPES)}.",
            )
        column = ExtractionRow.training_id if source_type == "training" else ExtractionRow.external_sae_id
        found.append(column.is_not(None))
    found += has_words(search, _NAME, ExtractionRow.model, ExtractionRow.hook_name, ExtractionRow.id)
    if has_data:
        found.append(ExtractionRow.n_tokens.is_not(None))
    return found


def _record(values: Sequence[Any], job: JobRecord | None, files: Files) -> ExtractionRecord:
    row: ExtractionRow = values[0]
    source, sae_id, training_id, name, path, repo_id, training_name = values[2:]
    stands = of_job(row, job, files)
    if job is None:
        stands["seconds_running"] = float(row.facts.get("seconds", 0.0))
    if other_weights := path is not None and _differ(row, files.absolute(path)):
        stands["note"] = " ".join(filter(None, [stands["note"], _OTHER_WEIGHTS]))
    told = job.result if job is not None and isinstance(job.result, dict) else {}
    return ExtractionRecord(**{
        **shared(ExtractionRecord, row), **stands, "training_id": training_id, "sae_id": sae_id, "name": name,
        "repo_id": repo_id, "training_name": training_name,
        "source_type": "training" if row.training_id is not None else "sae", "source": source or "trained",
        "seen": row.seen if row.n_tokens is not None else told.get("seen", row.seen), "other_weights": other_weights,
    })  # fmt: skip


def _differ(row: ExtractionRow, folder: str) -> bool:
    """Whether the SAE's files have changed since it was read; False if unknown."""
    read = row.facts.get("weights")
    if not isinstance(read, Mapping) or not read:
        return False
    return state_of(folder, json.dumps(read), row.host, row.host)[0] == "changed"

