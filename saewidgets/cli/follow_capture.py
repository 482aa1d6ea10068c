"""Watching a capture or an import from a terminal, and Ctrl-C as Pause."""

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
from saewidgets.cli.output import count, duration, note, size
from saewidgets.cli.session import PAUSED
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.activation_records import ActivationStoreRecord
    from saewidgets.workspace.capture.capture import Capture

Show = Callable[["ActivationStoreRecord"], None]


def _done(record: ActivationStoreRecord) -> int:
    return record.progress.done if record.progress is not None else 0


@contextmanager
def _bar(record: ActivationStoreRecord) -> Iterator[Show]:
    """A progress bar, for a terminal."""
    from tqdm.auto import tqdm  # a tenth of a second: only where there is something to show

    with tqdm(
        total=record.tokens_total, initial=_done(record), unit=" tokens", unit_scale=True, mininterval=0.2,
        dynamic_ncols=True, file=sys.stderr,
    ) as bar:  # fmt: skip

        def show(record: ActivationStoreRecord) -> None:
            bar.total = record.tokens_total  # known when the text is tokenised
            bar.set_description_str(phase(record), refresh=False)
            bar.update(max(0, _done(record) - bar.n))
            if settled(record.status):
                bar.refresh()

        yield show


def _line(record: ActivationStoreRecord) -> str:
    progress = record.progress
    parts = [f"{phase(record)}: {count(_done(record))} of {count(record.tokens_total)} tokens"]
    if progress and progress.rate and not settled(record.status):
        parts.append(f"{count(progress.rate)} tokens/s")
    if progress and progress.eta_seconds and not settled(record.status):
        parts.append(f"{duration(progress.eta_seconds)} left")
    return ", ".join(parts)


def follow_capture(capture: Capture, *, quiet: bool = False) -> ActivationStoreRecord:
    """Show a capture until it ends or pauses. Ctrl-C pauses it with a checkpoint; a second one gives up waiting.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused; with the status of its error when it failed.
    """
    interrupts = Interrupts()
    asked = False
    with interrupts.caught(), display(capture.record, bar=_bar, line_of=_line, quiet=quiet) as show:
        while True:
            record = capture.record
            show(record)
            if settled(record.status):
                break
            if interrupts.count and not asked:
                note("\nPausing: writing a checkpoint (Ctrl-C again to leave at once) …")
                asked = True
                capture.pause()
            if interrupts.count > 1:
                note("Left without waiting; what is not in a checkpoint is captured again.")
                _say_resume(capture.id)
                raise typer.Exit(PAUSED)
            interrupts.wait(POLL)
    if record.status is JobStatus.PAUSED:
        note(f"Paused at {count(_done(record))} of {count(record.tokens_total)} tokens.")
        _say_resume(capture.id)
        raise typer.Exit(PAUSED)
    if record.status not in (JobStatus.COMPLETED, JobStatus.STOPPED):
        raise failure(record, otherwise=f"The capture is {record.status.value}.")
    if record.note:
        note(record.note)
    word = "Completed" if record.status is JobStatus.COMPLETED else "Stopped"
    took = duration(record.seconds_running)
    note(f"{word}: {count(record.n_tokens)} tokens, {size(record.size_bytes)}, in {took}. {record.id}")
    return record


def _say_resume(store_id: str) -> None:
    note(f"Resume it with: {command_line('activations', 'resume', store_id)}")
