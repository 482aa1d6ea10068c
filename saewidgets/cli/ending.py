"""What everything that is watched from a terminal shares: its phase in a few words, and how a failure is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import typer

from saewidgets.cli.output import note
from saewidgets.cli.session import FAILED, NOT_FOUND, USAGE, session
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.events import Progress
    from saewidgets.records import ErrorInfo


class Watched(Protocol):
    """A record of a training, an extraction or any other job."""

    @property
    def status(self) -> JobStatus: ...

    @property
    def progress(self) -> Progress | None: ...

    @property
    def queue_position(self) -> int | None: ...

    @property
    def error(self) -> ErrorInfo | None: ...


def phase(record: Watched) -> str:
    """What it does now, in a word or two."""
    if record.progress is not None and record.status is JobStatus.RUNNING:
        return record.progress.phase
    return standing(record)


def standing(record: Watched) -> str:
    """Its place in the queue, else its status."""
    return f"queued, number {record.queue_position}" if record.queue_position else record.status.value


def failure(record: Watched, *, otherwise: str = "", first: str = "") -> typer.Exit:
    """Say why it did not end well (with ``--debug`` also where), and return what ends the process.

    Args:
        otherwise: said where nothing is known of the reason.
        first: said before the reason.
    """
    error = record.error
    parts = [first, otherwise]
    if error is not None:
        parts = [first, f"{error.where}: {error.what}" if error.where else error.what, error.hint or ""]
    note(f"Error: {' '.join(filter(None, parts))}")
    if error is not None and error.traceback and session.debug:
        note(error.traceback)
    kind = error.kind if error is not None else "error"
    return typer.Exit({"config": USAGE, "not_found": NOT_FOUND}.get(kind, FAILED))
