"""Watching an extraction from a terminal: tokens read, latents seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from saewidgets.cli.display import Look
from saewidgets.cli.ending import failure
from saewidgets.cli.output import count, duration, note
from saewidgets.cli.watch import CHECKPOINT, watch
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.feature_records import ExtractionRecord
    from saewidgets.workspace import Extraction


def _counted(record: ExtractionRecord) -> tuple[int, int | None]:
    return record.progress.done if record.progress is not None else 0, record.tokens_total


def _values(record: ExtractionRecord) -> Mapping[str, str]:
    return {} if record.seen is None else {"features": count(record.seen)}


def _paused(record: ExtractionRecord) -> str:
    done, total = _counted(record)
    return f"Paused at {count(done)} of {count(total)} tokens."


def follow_extraction(extraction: Extraction, *, quiet: bool = False) -> ExtractionRecord:
    """Show an extraction until it ends or pauses. Ctrl-C pauses it with a checkpoint; a second one gives up waiting.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused; with the status of its error when it failed.
    """
    record = watch(
        extraction, Look(_counted, values=_values), quiet=quiet, pausing=CHECKPOINT, paused=_paused,
        left="Left without waiting; what is not in a checkpoint is lost.",
        resume=("extractions", "resume", extraction.id),
    )
    if record.status not in (JobStatus.COMPLETED, JobStatus.STOPPED):
        raise failure(record, otherwise=f"The extraction is {record.status.value}.")
    word = "Completed" if record.status is JobStatus.COMPLETED else "Stopped"
    note(f"{word}: {count(record.n_tokens)} tokens in {duration(record.seconds_running)}. {record.id}")
    return record
