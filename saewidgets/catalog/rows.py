"""Rows to the records that the API returns, and parts of records to what rows hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from saewidgets.catalog.files import Files
from saewidgets.catalog.tables import CheckpointRow, JobRow, SAERow
from saewidgets.events import JobStatus, Progress
from saewidgets.records import CheckpointRecord, ErrorInfo, JobRecord, SAERecord

_PROGRESS_FIELDS = frozenset(f.name for f in fields(Progress))
_ERROR_FIELDS = frozenset(f.name for f in fields(ErrorInfo))


def progress_of(data: Mapping[str, Any] | None) -> Progress | None:
    """What the row holds, without fields that a later version has added."""
    return None if data is None else Progress(**{k: v for k, v in data.items() if k in _PROGRESS_FIELDS})


def error_of(data: Mapping[str, Any] | None) -> ErrorInfo | None:
    """The same for errors."""
    return None if data is None else ErrorInfo(**{k: v for k, v in data.items() if k in _ERROR_FIELDS})


def plain(value: Progress | ErrorInfo | None) -> dict[str, Any] | None:
    """What the row holds for it."""
    return None if value is None else asdict(value)


def job_record(row: JobRow, now: float, queue_position: int | None) -> JobRecord:
    """`now` is the database's clock: a running job's seconds go on."""
    running = max(0.0, now - row.running_since) if row.running_since is not None else 0.0
    return JobRecord(
        id=row.id,
        kind=row.kind,
        status=JobStatus(row.status),
        lane=row.lane,
        progress=progress_of(row.progress),
        error=error_of(row.error),
        queue_position=queue_position,
        owner=row.owner,
        heartbeat_at=row.heartbeat_at,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        payload=row.payload,
        command=row.command,
        note=row.note,
        result=row.result,
        seconds_running=row.seconds_running + running,
        updated_at=row.updated_at,
    )


def checkpoint_record(row: CheckpointRow, files: Files) -> CheckpointRecord:
    """With the absolute path."""
    return CheckpointRecord(
        id=row.id,
        training_id=row.training_id,
        step=row.step,
        tokens=row.tokens,
        path=files.absolute(row.path),
        kinds=tuple(row.kinds),
        size_bytes=row.size_bytes,
        metrics=row.metrics,
        created_at=row.created_at,
    )


def sae_record(row: SAERow, files: Files) -> SAERecord:
    """With the absolute path."""
    return SAERecord(
        id=row.id,
        name=row.name,
        source=row.source,
        model=row.model,
        hook_name=row.hook_name,
        layer=row.layer,
        architecture=row.architecture,
        d_in=row.d_in,
        d_sae=row.d_sae,
        format=row.format,
        path=files.absolute(row.path),
        training_id=row.training_id,
        size_bytes=row.size_bytes,
        host=row.host,
        created_at=row.created_at,
        metadata=row.details,
    )
