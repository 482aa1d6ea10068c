"""Watching a download from a terminal: bytes, and what is tried again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from saewidgets.cli.display import Look
from saewidgets.cli.ending import failure, standing
from saewidgets.cli.output import note
from saewidgets.cli.session import command_line
from saewidgets.cli.watch import watch
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.records import JobRecord
    from saewidgets.workspace import Job


def phase(record: JobRecord) -> str:
    """What it does now, in a few words."""
    progress = record.progress
    if progress is not None and record.status is JobStatus.RUNNING:
        if progress.phase != "retrying":
            return progress.phase
        when = f"in {math.ceil(progress.wait_seconds)} s" if progress.wait_seconds else "now"
        return f"retrying (attempt {progress.attempt or 1}, {when})"
    return standing(record)


def _retry(record: JobRecord) -> int | None:
    """Which repetition it waits for; None while all is well."""
    progress = record.progress
    return progress.attempt if progress is not None and progress.phase == "retrying" else None


def _counted(record: JobRecord) -> tuple[int, int | None] | None:
    return None if record.progress is None else (record.progress.done, record.progress.total)


_LOOK = Look(_counted, unit="bytes", phase=phase, news=_retry)


def follow_download(job: Job, *, quiet: bool = False) -> JobRecord:
    """Show a download until it ends or pauses. Ctrl-C pauses it, what arrived is kept; a second one gives up waiting.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused; with the status of its error when it failed.
    """
    resume = ("hub", "resume", job.id)
    record = watch(
        job, _LOOK, quiet=quiet, pausing="Pausing …", left="Left without waiting; what arrived is kept.",
        resume=resume, paused=lambda record: f"Paused. {_LOOK.line(record)}.",
    )  # fmt: skip
    if record.status is JobStatus.COMPLETED:
        return record
    leave = failure(record, otherwise=f"The download is {record.status.value}.")
    if record.status is not JobStatus.CANCELLED:
        note(f"Resume it with: {command_line(*resume)}")
    raise leave
