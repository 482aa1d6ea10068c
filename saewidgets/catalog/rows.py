"""Rows to the records that the API returns, and parts of records to what rows hold."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import cache
from itertools import repeat
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from saewidgets.catalog.filestate import Files, FileStates
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
from saewidgets.errors import NotFoundError
from saewidgets.events import JobStatus, Progress
from saewidgets.records import CheckpointRecord, ErrorInfo, JobRecord, SAERecord

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


@cache
def _shared(record: type[Any], table: type[Base]) -> tuple[str, ...]:
    columns = set(table.__mapper__.columns.keys())
    return tuple(field.name for field in fields(record) if field.name in columns)


def shared(record: type[Any], row: Base) -> dict[str, Any]:
    """The values of the row that the record, a dataclass, has under the same names."""
    return {name: getattr(row, name) for name in _shared(record, type(row))}  # type: ignore[arg-type]  # a class is hashable


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


# The columns of an SAE in the order of the record's fields.
SAE_COLUMNS = (
    "id", "name", "source", "model", "hook_name", "layer", "architecture", "d_in", "d_sae", "format", "path",
    "training_id", "size_bytes", "host", "created_at", "details", "d_out", "dtype", "repo_id", "revision", "repo_path",
    "notes", "tags", "statistics", "updated_at", "files",
)  # fmt: skip
# What `json.loads` does around it (white space, encodings) takes as long as the small data of most rows.
_decode = json.JSONDecoder().raw_decode
# A frozen record sets its fields one by one through a Python function, which takes as long as the query.
_SETTERS = {field.name: getattr(SAERecord, field.name).__set__ for field in fields(SAERecord)}


def sae_records(
    rows: Sequence[Sequence[Any]], files: Files, states: FileStates, renewed: dict[str, str],
    seen: Mapping[str, tuple[float, int]],
) -> list[SAERecord]:
    """With absolute paths, and the state of the files now. Column by column: lists are of thousands.

    Args:
        rows: the values of `SAE_COLUMNS`, those that are JSON as the text that is stored; and the name of the training.
        files: translates paths.
        states: looks at the files.
        renewed: see `FileStates.look`.
        seen: see `extractions.seen_latents`.
    """
    if not rows:
        return []
    columns: dict[str, Iterable[Any]] = dict(zip((*SAE_COLUMNS, "training_name"), zip(*rows, strict=True), strict=True))
    folders = columns["path"] = [files.absolute(path) for path in columns["path"]]
    looks = zip(folders, columns.pop("files"), columns["size_bytes"], columns["host"], strict=True)
    found = [states.look(*look, renewed) for look in looks]
    columns["state"], columns["state_note"] = zip(*found, strict=True)
    columns["metadata"] = _decoded(columns.pop("details"))
    columns["tags"] = [() if text == "[]" else tuple(_decode(text)[0]) for text in columns["tags"]]
    columns["statistics"] = [{} if text is None else _decode(text)[0] for text in columns["statistics"]]
    extracted: Iterable[int] = repeat(0)
    if seen:
        none = (0.0, 0)
        pairs = zip(columns["id"], columns["training_id"], strict=True)
        extracted = [max(seen.get(one, none), seen.get(other, none))[1] for one, other in pairs]
    columns["features_extracted"] = extracted
    records = [object.__new__(SAERecord) for _ in rows]
    for name, put in _SETTERS.items():
        deque(map(put, records, columns[name]), maxlen=0)
    return records


def _decoded(texts: Iterable[str]) -> list[Any]:
    """The JSON values in `texts`, read as one: keys that many of them have are made once."""
    texts = list(texts)
    values: list[Any] = _decode(f"[{','.join(texts)}]")[0]
    return values if len(values) == len(texts) else [_decode(text)[0] for text in texts]
