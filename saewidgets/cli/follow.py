"""Watching a run from a terminal: the progress bar, and Ctrl-C as Pause."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer

from saewidgets.cli.display import display, settled
from saewidgets.cli.ending import failure, standing
from saewidgets.cli.interrupts import Interrupts
from saewidgets.cli.output import count, duration, note
from saewidgets.cli.session import PAUSED, session
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.records import TrainingRecord

SHOWN = (("loss", "loss"), ("l0", "L0"), ("fvu", "FVU"))
POLL = 0.2  # seconds between looks at the catalog
Show = Callable[["TrainingRecord"], None]


class Followable(Protocol):
    """A run, or several that are watched as one."""

    @property
    def id(self) -> str: ...

    @property
    def record(self) -> TrainingRecord: ...

    def pause(self) -> None: ...


def _phase(record: TrainingRecord) -> str:
    if record.progress is not None:
        return record.progress.phase
    return standing(record)


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
            if settled(record.status):
                bar.refresh()

        yield show


def _line(record: TrainingRecord) -> str:
    progress = record.progress
    parts = [f"{_phase(record)}: {count(record.tokens_done)} of {count(record.tokens_total)} tokens"]
    if progress and progress.rate:
        parts.append(f"{count(progress.rate)} tokens/s")
    if progress and progress.eta_seconds and not settled(record.status):
        parts.append(f"{duration(progress.eta_seconds)} left")
    return ", ".join([*parts, *(f"{label} {value}" for label, value in _values(record).items())])


def _watch(run: Followable, quiet: bool, interrupts: Interrupts) -> TrainingRecord | None:
    """Show the run until it has settled, or until an interrupt: None."""
    with display(run.record, bar=_bar, line_of=_line, quiet=quiet) as show:
        while not interrupts.count:
            record = run.record
            show(record)
            if settled(record.status):
                return record
            interrupts.wait(POLL)
    return None


def follow(run: Followable, *, quiet: bool = False) -> TrainingRecord:
    """Show `run` until it ends or pauses. Ctrl-C pauses it with a checkpoint; a second Ctrl-C gives up waiting.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused.
    """
    interrupts = Interrupts()
    with interrupts.caught():
        record = _watch(run, quiet, interrupts) or _pause(run, interrupts)
    if record.status is JobStatus.PAUSED:
        where = f"{count(record.tokens_done)} of {count(record.tokens_total)} tokens, step {count(record.step)}"
        note(f"Paused at {where}.")
        note(f"Resume it with: {command_line('resume', run.id)}")
        raise typer.Exit(PAUSED)
    return record


def _pause(run: Followable, interrupts: Interrupts) -> TrainingRecord:
    note("\nPausing: writing a checkpoint (Ctrl-C again to leave at once) …")
    before = interrupts.count
    if not run.record.status.is_final:
        run.pause()
    while not settled(run.record.status):
        if interrupts.count > before:
            note("Left without waiting; what is not in a checkpoint is lost.")
            note(f"Resume it with: {command_line('resume', run.id)}")
            raise typer.Exit(PAUSED)
        interrupts.wait(0.1)
    return run.record


def command_line(*words: str) -> str:
    """A command to type that acts on the same workspace."""
    home = ["--home", str(session.home)] if session.home else []
    # As it was called where it is not on the path: `make demo` leaves it in .venv/bin.
    program = "saewidgets" if shutil.which("saewidgets") else _called_as()
    return " ".join([program, *home, *words])


def _called_as() -> str:
    name = Path(sys.argv[0])
    return str(name) if name.name.startswith("saewidgets") else "python -m saewidgets"


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
    raise failure(record, first=f"{record.id} {record.status.value}.")
