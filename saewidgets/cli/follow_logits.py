"""Watching logit tables being computed from a terminal, and Ctrl-C as Pause."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from saewidgets.cli.display import display, settled
from saewidgets.cli.ending import failure, phase
from saewidgets.cli.follow import POLL, command_line
from saewidgets.cli.interrupts import Interrupts
from saewidgets.cli.output import count, duration, note
from saewidgets.cli.session import PAUSED
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.records import JobRecord
    from saewidgets.workspace import Job

Show = Callable[["JobRecord"], None]


@contextmanager
def _bar(record: JobRecord) -> Iterator[Show]:
    """A progress bar, for a terminal."""
    from tqdm.auto import tqdm  # a tenth of a second: only where there is something to show

    with tqdm(total=0, unit=" features", unit_scale=True, mininterval=0.2, dynamic_ncols=True, file=sys.stderr) as bar:

        def show(record: JobRecord) -> None:
            bar.set_description_str(phase(record), refresh=False)
            if record.progress is not None:
                bar.total = record.progress.total
                bar.update(max(0, record.progress.done - bar.n))
            if settled(record.status):
                bar.refresh()

        yield show


def _line(record: JobRecord) -> str:
    progress = record.progress
    if progress is None:
        return phase(record)
    parts = [f"{phase(record)}: {count(progress.done)} of {count(progress.total)} features"]
    if progress.eta_seconds and record.status.is_active:
        parts.append(f"{duration(progress.eta_seconds)} left")
    return ", ".join(parts)


def follow(job: Job, extraction_id: str, *, quiet: bool = False) -> JobRecord:
    """Show the job until it ends or pauses. Ctrl-C pauses it; a second one gives up waiting.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused; with the status of its error when it failed.
    """
    interrupts = Interrupts()
    with interrupts.caught(), display(job.record, bar=_bar, line_of=_line, quiet=quiet) as show:
        while True:
            record = job.record
            show(record)
            if settled(record.status):
                break
            if interrupts.count and record.command is None:
                note("\nPausing …")
                job.pause()
            if interrupts.count > 1:
                break
            interrupts.wait(POLL)
    if record.status is JobStatus.PAUSED or not settled(record.status):
        note(f"Paused. Go on with: {command_line('extractions', 'logits', extraction_id)}")
        raise typer.Exit(PAUSED)
    if record.status is not JobStatus.COMPLETED:
        raise failure(record, otherwise=f"The job is {record.status.value}.")
    return record
