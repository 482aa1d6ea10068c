"""How far something is, on standard error: a bar in a terminal, a line now and then in a file, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

from saewidgets.cli.ending import Watched, phase
from saewidgets.cli.output import count, duration, note, size
from saewidgets.events import JobStatus

INTERVAL = 10.0  # seconds between lines

R = TypeVar("R", bound=Watched)
Show = Callable[[R], None]


@dataclass(frozen=True, slots=True)
class Look(Generic[R]):
    """What is shown of a record.

    Attributes:
        counted: how much is done, of how much; None while that is not known.
        unit: what is counted; bytes are written as sizes.
        phase: what it does now, in a word or two.
        values: name → value, beside the count.
        news: something to tell at once instead of with the next line; None where there is nothing.
    """

    counted: Callable[[R], tuple[int, int | None] | None]
    unit: str = "tokens"
    phase: Callable[[R], str] = phase
    values: Callable[[R], Mapping[str, str]] = lambda _: {}
    news: Callable[[R], object] = lambda _: None

    def line(self, record: R) -> str:
        """All of it in one line."""
        parts = [self.phase(record)]
        if (counted := self.counted(record)) is not None:
            done, total = counted
            parts = [f"{parts[0]}: {self._amount(done, total)}"]
        progress = record.progress
        if progress is not None and not settled(record.status):
            if progress.rate:
                parts.append(f"{self._amount(progress.rate)}/s")
            if progress.eta_seconds:
                parts.append(f"{duration(progress.eta_seconds)} left")
        return ", ".join([*parts, *(f"{name} {value}" for name, value in self.values(record).items())])

    def _amount(self, *numbers: float | None) -> str:
        if self.unit == "bytes":
            return " of ".join(map(size, numbers))
        return f"{' of '.join(map(count, numbers))} {self.unit}"


def settled(status: JobStatus) -> bool:
    """Nothing more will be shown: it has ended, or waits for somebody."""
    return status.is_final or status is JobStatus.PAUSED


def display(record: R, look: Look[R], *, quiet: bool) -> AbstractContextManager[Show[R]]:
    """What is called with every new record of the same run or job, while it is open."""
    if quiet:
        return nullcontext(lambda record: None)
    return _bar(record, look) if sys.stderr.isatty() else _lines(look)


@contextmanager
def _bar(record: R, look: Look[R]) -> Iterator[Show[R]]:
    from tqdm.auto import tqdm  # a tenth of a second: only where there is something to show

    done, total = look.counted(record) or (0, None)
    with tqdm(
        total=total, initial=done, unit="B" if look.unit == "bytes" else f" {look.unit}", unit_scale=True,
        mininterval=0.2, dynamic_ncols=True, file=sys.stderr,
    ) as bar:  # fmt: skip

        def show(record: R) -> None:
            bar.set_description_str(look.phase(record), refresh=False)
            bar.set_postfix(look.values(record), refresh=False)
            if (counted := look.counted(record)) is not None:
                done, bar.total = counted  # text may have to be tokenised before the total is known
                bar.update(max(0, done - bar.n))
            if settled(record.status):
                bar.refresh()

        yield show


@contextmanager
def _lines(look: Look[R]) -> Iterator[Show[R]]:
    shown, last = -INTERVAL, ""
    told: object = None

    def show(record: R) -> None:
        nonlocal shown, last, told
        news, told = told, look.news(record)
        urgent = told is not None and told != news
        if time.monotonic() - shown < INTERVAL and not settled(record.status) and not urgent:
            return
        shown = time.monotonic()
        line = look.line(record)
        if line != last:
            note(line)
        last = line

    yield show
