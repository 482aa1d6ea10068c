"""Watching logit tables being computed from a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saewidgets.cli.display import Look
from saewidgets.cli.ending import failure
from saewidgets.cli.watch import watch
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.records import JobRecord
    from saewidgets.workspace import Job


def _counted(record: JobRecord) -> tuple[int, int | None] | None:
    return None if record.progress is None else (record.progress.done, record.progress.total)


def follow_logits(job: Job, extraction_id: str, *, quiet: bool = False) -> JobRecord:
    """Show the job until it ends or pauses. Ctrl-C pauses it; a second one gives up waiting.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused; with the status of its error when it failed.
    """
    record = watch(
        job, Look(_counted, unit="features"), quiet=quiet, pausing="Pausing …", paused=lambda _: "Paused.",
        left="Left without waiting; what was not kept yet is computed again.",
        resume=("extractions", "logits", extraction_id),
    )
    if record.status is not JobStatus.COMPLETED:
        raise failure(record, otherwise=f"The job is {record.status.value}.")
    return record
