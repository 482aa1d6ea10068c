"""Watching a capture or an import from a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saewidgets.cli.display import Look
from saewidgets.cli.ending import failure
from saewidgets.cli.output import count, duration, note, size
from saewidgets.cli.watch import CHECKPOINT, watch
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.activation_records import ActivationStoreRecord
    from saewidgets.workspace.capture.capture import Capture


def _counted(record: ActivationStoreRecord) -> tuple[int, int | None]:
    return record.progress.done if record.progress is not None else 0, record.tokens_total


def _paused(record: ActivationStoreRecord) -> str:
    done, total = _counted(record)
    return f"Paused at {count(done)} of {count(total)} tokens."


def follow_capture(
    capture: Capture, *, quiet: bool = False, resume: tuple[str, ...] | None = None
) -> ActivationStoreRecord:
    """Show a capture until it ends or pauses. Ctrl-C pauses it with a checkpoint; a second one gives up waiting.

    Args:
        capture: what is shown.
        quiet: show nothing on the way.
        resume: the words of the command that goes on where it paused; None: those that resume the capture.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused; with the status of its error when it failed.
    """
    record = watch(
        capture, Look(_counted), quiet=quiet, pausing=CHECKPOINT, paused=_paused,
        left="Left without waiting; what is not in a checkpoint is captured again.",
        resume=resume or ("activations", "resume", capture.id),
    )
    if record.status not in (JobStatus.COMPLETED, JobStatus.STOPPED):
        raise failure(record, otherwise=f"The capture is {record.status.value}.")
    if record.note:
        note(record.note)
    word = "Completed" if record.status is JobStatus.COMPLETED else "Stopped"
    took = duration(record.seconds_running)
    note(f"{word}: {count(record.n_tokens)} tokens, {size(record.size_bytes)}, in {took}. {record.id}")
    return record
