"""Defines `follow`, which shows a run, extraction, capture, download or table of logits in a terminal until it ends,
and `wait_for`, which waits for one in another process."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import typer

from saewidgets.cli.interrupts import Interrupts
from saewidgets.cli.output import count, duration, note, size, write_json
from saewidgets.cli.session import FAILED, NOT_FOUND, PAUSED, USAGE, command_line, session
from saewidgets.errors import StateError
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.records import TrainingRecord
    from saewidgets.workspace import Run, TrainingGroup

POLL = 0.2  # seconds between looks at the catalog
INTERVAL = 10.0  # seconds between lines where there is no terminal
GOOD = (JobStatus.COMPLETED, JobStatus.STOPPED)
Show = Callable[[Any], None]


def standing(record: Any) -> str:
    """Its place in the queue, else its status."""
    return f"queued, number {record.queue_position}" if record.queue_position else record.status.value


def phase(record: Any) -> str:
    """What it does now, in a word or two."""
    progress = record.progress
    if progress is None or record.status is not JobStatus.RUNNING:
        return standing(record)
    if progress.phase != "retrying":
        return str(progress.phase)
    when = f"in {math.ceil(progress.wait_seconds)} s" if progress.wait_seconds else "now"
    return f"retrying (attempt {progress.attempt or 1}, {when})"


def _done(record: Any) -> tuple[int, int | None] | None:
    return None if record.progress is None else (record.progress.done, record.progress.total)


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of thing is shown.

    Attributes:
        noun: what it is called where it ends without a reason.
        counted: how much is done, of how much; None while that is not known.
        unit: what is counted; bytes are written as sizes.
        phase: what it does now, in a word or two.
        values: name → value, beside the count.
        paused: where it stands, said when it has paused; {} is the count.
        pausing: said when it is asked to pause.
        lost: what becomes of the rest, said when nobody waits for the pause any longer.
        resume: the words of the command that goes on with it, before its id.
        good: the statuses that are a good end.
    """

    noun: str
    counted: Callable[[Any], tuple[int, int | None] | None] = _done
    unit: str = "tokens"
    phase: Callable[[Any], str] = phase
    values: Callable[[Any], Mapping[str, str]] = lambda _: {}
    paused: Callable[[Any], str] = lambda _: "Paused."
    pausing: str = "Pausing: writing a checkpoint (Ctrl-C again to leave at once) …"
    lost: str = "what is not in a checkpoint is lost."
    resume: tuple[str, ...] = ()
    good: tuple[JobStatus, ...] = GOOD

    def line(self, record: Any) -> str:
        """All of it in one line."""
        parts = [self.phase(record)]
        if (counted := self.counted(record)) is not None:
            parts = [f"{parts[0]}: {self.amount(*counted)}"]
        progress = record.progress
        if progress is not None and not settled(record.status):
            if progress.rate:
                parts.append(f"{self.amount(progress.rate)}/s")
            if progress.eta_seconds:
                parts.append(f"{duration(progress.eta_seconds)} left")
        return ", ".join([*parts, *(f"{name} {value}" for name, value in self.values(record).items())])

    def amount(self, *numbers: float | None) -> str:
        """The numbers with their unit."""
        if self.unit == "bytes":
            return " of ".join(map(size, numbers))
        return f"{' of '.join(map(count, numbers))} {self.unit}"


def _trained(record: TrainingRecord) -> tuple[int, int | None]:
    # What epochs of text are in tokens is known once the text is packed.
    is_open = record.config.get("epochs") and record.config["corpus"]["kind"] != "activations"
    return record.tokens_done, None if is_open and "steps" not in record.facts else record.tokens_total


def _latest(record: TrainingRecord) -> dict[str, str]:
    shown = (("loss", "loss"), ("l0", "L0"), ("fvu", "FVU"))
    return {label: f"{record.latest[key]:.4g}" for key, label in shown if key in record.latest}


def _read(record: Any) -> tuple[int, int | None]:
    return record.progress.done if record.progress is not None else 0, record.tokens_total


def _paused_at(record: Any) -> str:
    return f"Paused at {' of '.join(map(count, _read(record)))} tokens."


RUN: Kind = Kind(
    "run", _trained, values=_latest, resume=("resume",),
    phase=lambda record: standing(record) if record.progress is None else record.progress.phase,
    paused=lambda record: f"Paused at {' of '.join(map(count, _trained(record)))} tokens, step {count(record.step)}.",
)  # fmt: skip
CAPTURE: Kind = Kind(
    "capture", _read, paused=_paused_at, lost="what is not in a checkpoint is captured again.",
    resume=("activations", "resume"),
)  # fmt: skip
EXTRACTION: Kind = Kind(
    "extraction", _read, paused=_paused_at, resume=("extractions", "resume"),
    values=lambda record: {} if record.seen is None else {"features": count(record.seen)},
)  # fmt: skip
DOWNLOAD: Kind = Kind(
    "download", unit="bytes", pausing="Pausing …", paused=lambda record: f"Paused. {DOWNLOAD.line(record)}.",
    lost="what arrived is kept.", resume=("hub", "resume"), good=(JobStatus.COMPLETED,),
)  # fmt: skip
LOGITS: Kind = Kind(
    "job", unit="features", pausing="Pausing …", lost="what was not kept yet is computed again.",
    resume=("extractions", "logits"), good=(JobStatus.COMPLETED,),
)  # fmt: skip


def follow(job: Any, kind: Kind, *, quiet: bool = False, resume: tuple[str, ...] | None = None) -> Any:
    """Show `job` until it ends or pauses. Ctrl-C pauses it; a second one gives up waiting for that.

    Args:
        job: what is shown.
        kind: how.
        quiet: show nothing on the way.
        resume: the words of the command that goes on where it paused; None: those of its kind.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused.
    """
    interrupts = Interrupts()
    asked = False
    with interrupts.caught(), _display(job.record, kind, quiet=quiet) as show:
        while True:
            record = job.record
            show(record)
            if settled(record.status):
                break
            if interrupts.count and not asked:
                note(f"\n{kind.pausing}")
                asked = True
                _pause(job)
            if interrupts.count > 1:
                break
            interrupts.wait(POLL)
    if record.status.is_final:
        return record
    note(kind.paused(record) if record.status is JobStatus.PAUSED else f"Left without waiting; {kind.lost}")
    note(f"Resume it with: {command_line(*(resume or (*kind.resume, job.id)))}")
    raise typer.Exit(PAUSED)


def _pause(job: Any) -> None:
    try:
        job.pause()
    except StateError:
        if not settled(job.record.status):  # else it has ended meanwhile, which the next look shows
            raise


def settled(status: JobStatus) -> bool:
    """Nothing more will be shown: it has ended, or waits for somebody."""
    return status.is_final or status is JobStatus.PAUSED


def finish(record: Any, kind: Kind) -> Any:
    """Say how it ended, and return the record.

    Raises:
        typer.Exit: with the status of its error when it did not end well.
    """
    if record.status not in kind.good:
        first, otherwise = "", f"The {kind.noun} is {record.status.value}."
        if kind is RUN:
            first, otherwise = f"{record.id} {record.status.value}.", ""
        leave = failure(record, first=first, otherwise=otherwise)
        if kind is DOWNLOAD and record.status is not JobStatus.CANCELLED:
            note(f"Resume it with: {command_line(*kind.resume, record.id)}")
        raise leave
    if kind.unit == "tokens":
        if kind is CAPTURE and record.note:
            note(record.note)
        n_tokens = record.tokens_done if kind is RUN else record.n_tokens
        amount = f"{count(n_tokens)} tokens{f', {size(record.size_bytes)},' if kind is CAPTURE else ''}"
        note(f"{record.status.value.capitalize()}: {amount} in {duration(record.seconds_running)}. {record.id}")
        if kind is RUN and record.sae_path:
            note(f"SAE: {record.sae_path}")
    return record


def failure(record: Any, *, otherwise: str = "", first: str = "") -> typer.Exit:
    """Say why it did not end well (with ``--debug`` also where), and return what ends the process.

    Args:
        record: of what failed.
        otherwise: said where nothing is known of the reason.
        first: said before the reason.
    """
    error = record.error
    parts = [first, otherwise]
    if error is not None:
        parts = [first, f"{error.where}: {error.what}" if error.where else error.what, error.hint or ""]
    note(f"Error: {' '.join(filter(None, parts))}")
    if error is not None and error.traceback and session.debug:
        note(error.traceback)
    kind = error.kind if error is not None else "error"
    return typer.Exit({"config": USAGE, "not_found": NOT_FOUND}.get(kind, FAILED))


def follow_run(run: Run, *, json: bool, quiet: bool) -> None:
    """Show a run until it ends, then its record or how it ended.

    Raises:
        typer.Exit: with a status that is not zero when it was paused or did not end well.
    """
    record = follow(run, RUN, quiet=quiet)
    if json:
        write_json(run.record)
    finish(record, RUN)


class _Whole:
    """A group as something that can be followed: its position is that of the run that is farthest behind."""

    def __init__(self, group: TrainingGroup) -> None:
        self._group = group
        self.id = group[0].id  # any of them stands for all: `saewidgets resume` takes the id of a run
        self.pause = group.pause

    @property
    def record(self) -> TrainingRecord:
        records = self._group.records
        going = [record for record in records if not record.ended_alone] or list(records)
        behind = min(going, key=lambda record: record.step)
        name, status, error = self._group.name, self._group.status, self._group.error
        return replace(behind, name=name, status=status, latest={}, error=error)


def follow_group(group: TrainingGroup, *, json: bool, quiet: bool) -> None:
    """Show a group until it ends or pauses, then how each run ended.

    Raises:
        typer.Exit: with a status that is not zero when it was paused, or when a run did not end well.
    """
    follow(_Whole(group), RUN, quiet=quiet)
    records = group.records
    if json:
        write_json(list(records))
    leaves = []
    for record in records:
        if record.status not in GOOD:
            leaves.append(failure(record, first=f"{record.name} ({record.id}) {record.status.value}."))
            continue
        words = f"{count(record.tokens_done)} tokens in {duration(record.seconds_running)}"
        note(f"{record.status.value.capitalize()}: {record.name}, {words}. {record.id}")
        if record.sae_path:
            note(f"  SAE: {record.sae_path}")
    if leaves:
        raise leaves[0]


def wait_for(
    job: Any, reached: Collection[JobStatus], seconds: float, *, name: str, look_again: tuple[str, ...]
) -> Any:
    """Wait until whoever runs it has done what was asked.

    Args:
        job: what was asked.
        reached: what it is to become, besides any end.
        seconds: how long to wait; 0 does not.
        name: what to call it.
        look_again: the words of the command that shows it later.

    Raises:
        StateError: it did not within `seconds`; the request stays and takes effect when its owner sees it.
    """
    end = time.monotonic() + seconds
    record = job.record
    while record.status not in reached and not record.status.is_final:
        if time.monotonic() >= end:
            if seconds <= 0:
                return record
            raise StateError(
                f"{name} is still {record.status.value} after {seconds:g} seconds.", where=record.id,
                hint=f"The request stays. Look again with: {command_line(*look_again)}",
            )
        time.sleep(0.1)
        record = job.record
    return record


def _display(record: Any, kind: Kind, *, quiet: bool) -> AbstractContextManager[Show]:
    """What is called with every new record of the same run or job, while it is open."""
    if quiet:
        return nullcontext(lambda record: None)
    return _bar(record, kind) if sys.stderr.isatty() else _lines(kind)


@contextmanager
def _bar(record: Any, kind: Kind) -> Iterator[Show]:
    from tqdm.auto import tqdm  # a tenth of a second: only where there is something to show

    done, total = kind.counted(record) or (0, None)
    with tqdm(
        total=total, initial=done, unit="B" if kind.unit == "bytes" else f" {kind.unit}", unit_scale=True,
        mininterval=0.2, dynamic_ncols=True, file=sys.stderr,
    ) as bar:  # fmt: skip

        def show(record: Any) -> None:
            bar.set_description_str(kind.phase(record), refresh=False)
            bar.set_postfix(kind.values(record), refresh=False)
            if (counted := kind.counted(record)) is not None:
                done, bar.total = counted  # text may have to be tokenised before the total is known
                bar.update(max(0, done - bar.n))
            if settled(record.status):
                bar.refresh()

        yield show


@contextmanager
def _lines(kind: Kind) -> Iterator[Show]:
    shown, last = -INTERVAL, ""
    attempt: int | None = None

    def show(record: Any) -> None:
        nonlocal shown, last, attempt
        progress = record.progress
        before, attempt = attempt, progress.attempt if progress and progress.phase == "retrying" else None
        urgent = attempt is not None and attempt != before  # a failed attempt does not wait for the next line
        if time.monotonic() - shown < INTERVAL and not settled(record.status) and not urgent:
            return
        shown = time.monotonic()
        line = kind.line(record)
        if line != last:
            note(line)
        last = line

    yield show
