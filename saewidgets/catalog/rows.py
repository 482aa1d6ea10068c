"""Rows to the records that the API returns, and parts of records to what rows hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, or_
from sqlalchemy.orm import Session

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
)
from saewidgets.config.arguments import shown
from saewidgets.config.names import search_words
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.events import JobStatus, Progress
from saewidgets.records import CheckpointRecord, ErrorInfo, JobRecord

LARGEST = 2**31 - 1  # what every database holds as a number
_PROGRESS_FIELDS = frozenset(f.name for f in fields(Progress))
_ERROR_FIELDS = frozenset(f.name for f in fields(ErrorInfo))
_NOUNS: dict[type[Base], tuple[str, str]] = {
    TrainingRow: ("training", "It may have been deleted; list the trainings to see them."),
    SAERow: ("SAE", "It may have been deleted; list the SAEs to see them."),
    ExtractionRow: ("extraction", "It may have been deleted; list the extractions to see them."),
    ActivationStoreRow: (
        "store of activations",
        "It may have been deleted; list them with ws.activations.list() or `saewidgets activations list`.",
    ),
    JobRow: ("job", "It may have been deleted; list the jobs to see them."),
    CheckpointRow: ("checkpoint", "List the checkpoints of the run."),
    TemplateRow: ("template", "List them with ws.templates.list() or `saewidgets templates list`."),
}
AnyRow = TypeVar("AnyRow", bound=Base)


def find(session: Session, table: type[AnyRow], id: str) -> AnyRow:
    """The row with this id. Raises `NotFoundError`."""
    row = session.get(table, id)
    if row is None:
        raise missing(table, id)
    return row


def missing(table: type[Base], id: str) -> NotFoundError:
    """The error for an id that names no row."""
    noun, hint = _NOUNS[table]
    return NotFoundError(f"There is no {noun} {id!r}.", hint=hint)


def change(row: Base, changes: Mapping[str, Any]) -> None:
    """Set columns of a row. Raises `ValueError` if one of them does not exist."""
    if unknown := changes.keys() - row.__mapper__.columns.keys():
        raise ValueError(f"A {type(row).__name__} has no columns {', '.join(sorted(unknown))}.")
    for name, value in changes.items():
        setattr(row, name, value)


def check_page(limit: object, offset: object, noun: str) -> None:
    """Raise `ConfigError` unless these are a number of rows, or all of them, and how many to leave out."""
    for name, value in (("limit", limit), ("offset", offset)):
        if name == "limit" and value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
            hint = "Use 0 or more" + (", or None for all." if name == "limit" else ".")
            raise ConfigError(f"This is a number of {noun}, not {shown(value)}.", where=name, hint=hint)


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


def progress_of(data: Mapping[str, Any] | None) -> Progress | None:
    """Leaves out fields that a later version has added."""
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
    return JobRecord(**{
        **shared(JobRecord, row), "status": JobStatus(row.status), "progress": progress_of(row.progress),
        "error": error_of(row.error), "queue_position": queue_position,
        "seconds_running": row.seconds_running + running,
    })  # fmt: skip


def checkpoint_record(row: CheckpointRow, files: Files) -> CheckpointRecord:
    """With the absolute path."""
    return CheckpointRecord(**{
        **shared(CheckpointRecord, row), "path": files.absolute(row.path), "kinds": tuple(row.kinds),
    })  # fmt: skip
