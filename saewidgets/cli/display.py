"""How far something is, on standard error: a bar in a terminal, a line now and then in a file, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

from saewidgets.cli.output import note
from saewidgets.errors import StateError
from saewidgets.events import JobStatus

INTERVAL = 10.0  # seconds between lines


class Followed(Protocol):
    """A record of a run or a job."""

    @property
    def id(self) -> str: ...

    @property
    def status(self) -> JobStatus: ...


R = TypeVar("R", bound=Followed)
Bar = Callable[[R], AbstractContextManager[Callable[[R], None]]]


def wait_for(
    look: Callable[[], R], reached: Collection[JobStatus], seconds: float, *, name: str, look_again: str
) -> R:
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


def settled(status: JobStatus) -> bool:
    """Nothing more will be shown: it has ended, or waits for somebody."""
    return status.is_final or status is JobStatus.PAUSED


def display(
    record: R, *, bar: Bar[R], line_of: Callable[[R], str], quiet: bool, news_of: Callable[[R], object] = lambda _: None
) -> AbstractContextManager[Callable[[R], None]]:
    """What is called with every new record of the same run or job, while it is open.

    Args:
        news_of: something to tell at once instead of with the next line; None where there is nothing.
    """
    if quiet:
        return _nothing()
    return bar(record) if sys.stderr.isatty() else _lines(line_of, news_of)


@contextmanager
def _lines(line_of: Callable[[R], str], news_of: Callable[[R], object]) -> Iterator[Callable[[R], None]]:
    shown, last = -INTERVAL, ""
    told: object = None

    def show(record: R) -> None:
        nonlocal shown, last, told
        news, told = told, news_of(record)
        urgent = told is not None and told != news
        if time.monotonic() - shown < INTERVAL and not settled(record.status) and not urgent:
            return
        shown = time.monotonic()
        line = line_of(record)
        if line != last:
            note(line)
        last = line

    yield show


@contextmanager
def _nothing() -> Iterator[Callable[[R], None]]:
    yield lambda record: None
