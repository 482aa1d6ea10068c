"""How a runner ended: the status, the error and the summary that go into the job's row."""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import PurePath
from typing import Any

from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StorageError
from saewidgets.events import Interruption, JobStatus, Request
from saewidgets.records import ErrorInfo

_BY_REQUEST = {
    Request.PAUSE: JobStatus.PAUSED,
    Request.STOP: JobStatus.STOPPED,
    Request.CANCEL: JobStatus.CANCELLED,
    Request.RUN: JobStatus.STOPPED,
}
_RETURNABLE = frozenset({JobStatus.COMPLETED, JobStatus.PAUSED, JobStatus.STOPPED, JobStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one run of a job. `exception` stays in this process; the row keeps `error`."""

    status: JobStatus
    value: Any = None
    error: ErrorInfo | None = None
    exception: BaseException | None = None


def returned(value: Any) -> Outcome:
    """The outcome of a runner that returned `value`."""
    status = getattr(value, "status", None)
    try:
        status = JobStatus(status) if status is not None else JobStatus.COMPLETED
    except ValueError:
        status = JobStatus.COMPLETED  # an attribute of that name that means something else
    return Outcome(status if status in _RETURNABLE else JobStatus.COMPLETED, value)


def raised(error: BaseException) -> Outcome:
    """The outcome of a runner that raised `error`."""
    if isinstance(error, Interruption):
        return Outcome(_BY_REQUEST[error.request])
    info = error_info(error)
    # The frames would keep the runner's tensors alive; the row has the text.
    error.__traceback__ = None
    return Outcome(JobStatus.FAILED, error=info, exception=error)


def error_info(error: BaseException) -> ErrorInfo:
    """`error` in the parts that a card shows."""
    text = "".join(traceback.format_exception(error))
    if isinstance(error, SAEWidgetsError):
        return ErrorInfo(
            what=error.what, hint=error.hint, where=error.where, kind=_kind(error), step=getattr(error, "step", None),
            traceback=text, resumes=getattr(error, "resumes", True),
        )
    message = " ".join(str(error).split())
    what = f"{type(error).__name__}: {message}" if message else f"{type(error).__name__} was raised."
    hint = "Free memory or make the batch smaller, then resume." if _kind(error) == "out_of_memory" else None
    return ErrorInfo(what=what, hint=hint, kind=_kind(error), traceback=text)


def _kind(error: BaseException) -> str:
    kind = getattr(error, "kind", None)
    if isinstance(error, SAEWidgetsError) and isinstance(kind, str):
        return kind
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
        return "out_of_memory"
    if isinstance(error, ConfigError):
        return "config"
    if isinstance(error, NotFoundError):
        return "not_found"
    if isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno == 28):  # ENOSPC
        return "disk_full"
    return "error"


def summary(value: Any, depth: int = 4) -> Any:
    """`value` as plain JSON data for the row: plain parts of mappings, sequences and dataclasses; the rest by type."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, PurePath):
        return str(value)
    if depth == 0:
        return f"<{type(value).__name__}>"
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: summary(getattr(value, f.name), depth - 1) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): summary(v, depth - 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [summary(v, depth - 1) for v in value]
    return f"<{type(value).__name__}>"
