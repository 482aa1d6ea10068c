"""Waiting in a terminal: for something that runs in this process, with Ctrl-C as Pause, or in another one."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

import typer

from saewidgets.cli.display import Look, R, display, settled
from saewidgets.cli.ending import Watched
from saewidgets.cli.interrupts import Interrupts
from saewidgets.cli.output import note
from saewidgets.cli.session import PAUSED, command_line
from saewidgets.errors import StateError
from saewidgets.events import JobStatus

POLL = 0.2  # seconds between looks at the catalog
CHECKPOINT = "Pausing: writing a checkpoint (Ctrl-C again to leave at once) …"
R_co = TypeVar("R_co", bound=Watched, covariant=True)


class Pausable(Protocol[R_co]):
    """A run or a job, or several that are watched as one."""

    @property
    def record(self) -> R_co: ...

    def pause(self) -> None: ...


class Followed(Watched, Protocol):
    """A record of a run or a job."""

    @property
    def id(self) -> str: ...


F = TypeVar("F", bound=Followed)


def watch(
    job: Pausable[R], look: Look[R], *, quiet: bool, pausing: str, left: str, resume: tuple[str, ...],
    paused: Callable[[R], str],
) -> R:  # fmt: skip
    """Show `job` until it has ended. Ctrl-C pauses it; a second one gives up waiting for that.

    Args:
        look: what is shown of its record.
        quiet: show nothing on the way.
        pausing: said when it is asked to pause.
        left: said when nobody waits for that any longer.
        resume: the command that goes on with it.
        paused: where it stands, said when it has paused.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused.
    """
    interrupts = Interrupts()
    asked = False
    with interrupts.caught(), display(job.record, look, quiet=quiet) as show:
        while True:
            record = job.record
            show(record)
            if settled(record.status):
                break
            if interrupts.count and not asked:
                note(f"\n{pausing}")
                asked = True
                _pause(job)
            if interrupts.count > 1:
                break
            interrupts.wait(POLL)
    if record.status.is_final:
        return record
    note(paused(record) if record.status is JobStatus.PAUSED else left)
    note(f"Resume it with: {command_line(*resume)}")
    raise typer.Exit(PAUSED)


def _pause(job: Pausable[R]) -> None:
    try:
        job.pause()
    except StateError:
        if not settled(job.record.status):  # else it has ended meanwhile, which the next look shows
            raise


def wait_for(
    look: Callable[[], F], reached: Collection[JobStatus], seconds: float, *, name: str, look_again: str
) -> F:
    """Wait until whoever runs it has done what was asked.

    Args:
        look: reads the record.
        reached: what it is to become, besides any end.
        seconds: how long to wait; 0 does not.
        name: what to call it.
        look_again: the command that shows it later.

    Raises:
        StateError: it did not within `seconds`; the request stays and takes effect when its owner sees it.
    """
    end = time.monotonic() + seconds
    record = look()
    while record.status not in reached and not record.status.is_final:
        if time.monotonic() >= end:
            if seconds <= 0:
                return record
            raise StateError(
                f"{name} is still {record.status.value} after {seconds:g} seconds.", where=record.id,
                hint=f"The request stays. Look again with: {look_again}",
            )
        time.sleep(0.1)
        record = look()
    return record
