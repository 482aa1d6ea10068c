"""Watching a run from a terminal: the progress bar, and Ctrl-C as Pause."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import typer

from saewidgets.cli.output import count, duration, note
from saewidgets.cli.session import FAILED, NOT_FOUND, PAUSED, USAGE, session
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.records import TrainingRecord
    from saewidgets.workspace import Run

SHOWN = (("loss", "loss"), ("l0", "L0"), ("fvu", "FVU"))
POLL = 0.2  # seconds between looks at the catalog
LOG_INTERVAL = 10.0  # seconds between lines when the output is a file
Show = Callable[["TrainingRecord"], None]


def _settled(status: JobStatus) -> bool:
    return status.is_final or status is JobStatus.PAUSED


@contextmanager
def _terminate_like_ctrl_c() -> Iterator[None]:
    """SIGTERM pauses as Ctrl-C does, so that a batch system's time limit loses nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _phase(record: TrainingRecord) -> str:
    if record.progress is not None:
        return record.progress.phase
    return f"queued, number {record.queue_position}" if record.queue_position else record.status.value


def _values(record: TrainingRecord) -> dict[str, str]:
    return {label: f"{record.latest[key]:.4g}" for key, label in SHOWN if key in record.latest}


@contextmanager
def _bar(record: TrainingRecord) -> Iterator[Show]:
    """A progress bar, for a terminal."""
    from tqdm.auto import tqdm  # a tenth of a second: only where there is something to show

    with tqdm(
        total=record.tokens_total, initial=record.tokens_done, unit=" tokens", unit_scale=True, mininterval=0.2,
        dynamic_ncols=True, file=sys.stderr,
    ) as bar:  # fmt: skip

        def show(record: TrainingRecord) -> None:
            bar.set_description_str(_phase(record), refresh=False)
            bar.set_postfix(_values(record), refresh=False)
            bar.update(max(0, record.tokens_done - bar.n))
            if _settled(record.status):
                bar.refresh()

        yield show


def _line(record: TrainingRecord) -> str:
    progress = record.progress
    parts = [f"{_phase(record)}: {count(record.tokens_done)} of {count(record.tokens_total)} tokens"]
    if progress and progress.rate:
        parts.append(f"{count(progress.rate)} tokens/s")
    if progress and progress.eta_seconds and not _settled(record.status):
        parts.append(f"{duration(progress.eta_seconds)} left")
    return ", ".join([*parts, *(f"{label} {value}" for label, value in _values(record).items())])


@contextmanager
def _lines(record: TrainingRecord) -> Iterator[Show]:
    """A line now and then, for a file."""
    shown, last = -LOG_INTERVAL, ""

    def show(record: TrainingRecord) -> None:
        nonlocal shown, last
        if time.monotonic() - shown < LOG_INTERVAL and not _settled(record.status):
            return
        shown = time.monotonic()
        line = _line(record)
        if line != last:
            note(line)
        last = line

    yield show


@contextmanager
def _nothing(record: TrainingRecord) -> Iterator[Show]:
    yield lambda record: None


def _watch(run: Run, quiet: bool) -> TrainingRecord:
    record = run.record
    display = _nothing if quiet else _bar if sys.stderr.isatty() else _lines
    with display(record) as show:
        while True:
            record = run.record
            show(record)
            if _settled(record.status):
                return record
            time.sleep(POLL)


def follow(run: Run, *, quiet: bool = False) -> TrainingRecord:
    """Show `run` until it ends or pauses. Ctrl-C pauses it with a checkpoint; a second Ctrl-C gives up waiting.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused.
    """
    try:
        with _terminate_like_ctrl_c():
            record = _watch(run, quiet)
    except KeyboardInterrupt:
        record = _pause(run)
    if record.status is JobStatus.PAUSED:
        where = f"{count(record.tokens_done)} of {count(record.tokens_total)} tokens, step {count(record.step)}"
        note(f"Paused at {where}.")
        note(f"Resume it with: {command_line('resume', run.id)}")
        raise typer.Exit(PAUSED)
    return record


def _pause(run: Run) -> TrainingRecord:
    note("\nPausing: writing a checkpoint (Ctrl-C again to leave at once) …")
    try:
        if not run.record.status.is_final:
            run.pause()
        while not _settled(run.record.status):
            time.sleep(0.1)
    except KeyboardInterrupt:
        note("Left without waiting; what is not in a checkpoint is lost.")
        note(f"Resume it with: {command_line('resume', run.id)}")
        raise typer.Exit(PAUSED) from None
    return run.record


def command_line(*words: str) -> str:
    """A command to type that acts on the same workspace."""
    home = ["--home", str(session.home)] if session.home else []
    return " ".join(["saewidgets", *home, *words])


def finish(record: TrainingRecord) -> None:
    """Say how a run ended.

    Raises:
        typer.Exit: with a status that is not zero when it did not end well.
    """
    if record.status in (JobStatus.COMPLETED, JobStatus.STOPPED):
        word = "Completed" if record.status is JobStatus.COMPLETED else "Stopped"
        note(f"{word}: {count(record.tokens_done)} tokens in {duration(record.seconds_running)}. {record.id}")
        if record.sae_path:
            note(f"SAE: {record.sae_path}")
        return
    error = record.error
    parts = [f"{record.id} {record.status.value}."]
    if error:
        parts += [f"{error.where}: {error.what}" if error.where else error.what, error.hint or ""]
    note(f"Error: {' '.join(filter(None, parts))}")
    if error and error.traceback and session.debug:
        note(error.traceback)
    kind = error.kind if error else "error"
    raise typer.Exit({"config": USAGE, "not_found": NOT_FOUND}.get(kind, FAILED))
