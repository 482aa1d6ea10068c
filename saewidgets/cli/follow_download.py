"""Watching a download from a terminal: bytes, and Ctrl-C as Pause."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from saewidgets.cli.display import display, settled
from saewidgets.cli.ending import failure, standing
from saewidgets.cli.follow import POLL, command_line
from saewidgets.cli.interrupts import Interrupts
from saewidgets.cli.output import duration, note, size
from saewidgets.cli.session import PAUSED
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.records import JobRecord
    from saewidgets.workspace import Job

Show = Callable[["JobRecord"], None]


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


@contextmanager
def _bar(record: JobRecord) -> Iterator[Show]:
    """A progress bar, for a terminal."""
    from tqdm.auto import tqdm  # a tenth of a second: only where there is something to show

    total = int(record.payload.get("total_bytes") or 0)
    with tqdm(
        total=total, unit="B", unit_scale=True, mininterval=0.2, dynamic_ncols=True, file=sys.stderr,
    ) as bar:  # fmt: skip

        def show(record: JobRecord) -> None:
            bar.set_description_str(phase(record), refresh=False)
            if record.progress is not None:
                bar.update(max(0, record.progress.done - bar.n))
            if settled(record.status):
                bar.refresh()

        yield show


def _line(record: JobRecord) -> str:
    progress = record.progress
    if progress is None:
        return phase(record)
    parts = [f"{phase(record)}: {size(progress.done)} of {size(progress.total)}"]
    if progress.rate and record.status.is_active:
        parts.append(f"{size(progress.rate)}/s")
    if progress.eta_seconds and record.status.is_active:
        parts.append(f"{duration(progress.eta_seconds)} left")
    return ", ".join(parts)


def follow(job: Job, *, quiet: bool = False) -> JobRecord:
    """Show a download until it ends or pauses. Ctrl-C pauses it, what arrived is kept; a second one gives up waiting.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused; with the status of its error when it failed.
    """
    interrupts = Interrupts()
    with interrupts.caught(), display(
        job.record, bar=_bar, line_of=_line, quiet=quiet, news_of=_retry
    ) as show:
        while True:
            record = job.record
            show(record)
            if settled(record.status):
                break
            if interrupts.count and record.command is None:
                note("\nPausing …")
                job.pause()
            if interrupts.count > 1:
                note("Left without waiting; what arrived is kept.")
                _say_resume(job.id)
                raise typer.Exit(PAUSED)
            interrupts.wait(POLL)
    if record.status is JobStatus.PAUSED:
        note(f"Paused. {_line(record)}.")
        _say_resume(job.id)
        raise typer.Exit(PAUSED)
    _finish(record)
    return record


def _say_resume(job_id: str) -> None:
    note(f"Resume it with: {command_line('hub', 'resume', job_id)}")


def _finish(record: JobRecord) -> None:
    if record.status is JobStatus.COMPLETED:
        return
    leave = failure(record, otherwise=f"The download is {record.status.value}.")
    if record.status is not JobStatus.CANCELLED:
        _say_resume(record.id)
    raise leave
