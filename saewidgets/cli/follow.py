"""Defines `follow`, which shows a run, extraction, capture, download or table of logits in a terminal until it ends,
and `ask`, which waits until the process that runs a job has carried out a request."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import typer

from saewidgets.cli.interrupts import Interrupts
from saewidgets.cli.output import count, duration, note, size, write_json
from saewidgets.cli.session import FAILED, NOT_FOUND, PAUSED, USAGE, answer, command_line, session
from saewidgets.errors import StateError
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.records import TrainingRecord
    from saewidgets.workspace import Run, TrainingGroup

POLL = 0.2  # seconds between looks at the catalog
INTERVAL = 10.0  # seconds between lines where there is no terminal
GOOD = (JobStatus.COMPLETED, JobStatus.STOPPED)
Show = Callable[[Any], None]
Counted = tuple[int, int | None] | None
"""How much is done, of how much; None while that is not known."""


def phase(record: Any) -> str:
    """Its current phase in a word or two; else its status, or its place in the queue."""
    progress = record.progress
    if progress is None or record.status not in (JobStatus.STARTING, JobStatus.RUNNING):
        return f"queued, number {record.queue_position}" if record.queue_position else str(record.status.value)
    if progress.phase != "retrying":
        return str(progress.phase)
    when = f"in {math.ceil(progress.wait_seconds)} s" if progress.wait_seconds else "now"
    return f"retrying (attempt {progress.attempt or 1}, {when})"


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of thing is shown."""

    resume: tuple[str, ...]  # the words of the command that goes on with it, before its id
    lost: str = "what is not in a checkpoint is lost."  # shown when the wait for the pause ends
    counted: Callable[[Any], Counted] = lambda r: r.progress and (r.progress.done, r.progress.total)
    unit: str = "tokens"  # of what is counted; bytes are written as sizes
    values: Callable[[Any], Mapping[str, str]] = lambda _: {}  # beside the count
    ended: Callable[[Any], Sequence[str | None]] = lambda _: ()  # the lines printed after success
    good: tuple[JobStatus, ...] = GOOD  # the statuses that are a good end
    goes_on: bool = False  # `resume` also goes on with what has failed, where that was
    name: Callable[[Any], str] = lambda record: str(record.name)
    shown: Callable[[str], tuple[str, ...]] = lambda id: ("show", id)  # the words of the command that shows it

    def amount(self, *numbers: float | None) -> str:
        """The numbers with their unit."""
        if self.unit == "bytes":
            return " of ".join(map(size, numbers))
        return f"{' of '.join(map(count, numbers))} {self.unit}"

    def line(self, record: Any) -> str:
        """Its status in one line."""
        counted, progress = self.counted(record), record.progress
        parts = [phase(record) if counted is None else f"{phase(record)}: {self.amount(*counted)}"]
        if progress is not None and not settled(record.status):
            if progress.rate:
                parts.append(f"{self.amount(progress.rate)}/s")
            if progress.eta_seconds:
                parts.append(f"{duration(progress.eta_seconds)} left")
        return ", ".join([*parts, *(f"{name} {value}" for name, value in self.values(record).items())])


def _trained(record: TrainingRecord) -> Counted:
    # What epochs of text are in tokens is known once the text is packed.
    is_open = record.config.get("epochs") and record.config["corpus"]["kind"] != "activations"
    return record.tokens_done, None if is_open and "steps" not in record.facts else record.tokens_total


def _latest(record: TrainingRecord) -> dict[str, str]:
    shown = (("loss", "loss"), ("l0", "L0"), ("fvu", "FVU"))
    return {label: f"{record.latest[key]:.4g}" for key, label in shown if key in record.latest}


def _read(record: Any) -> Counted:
    return record.progress.done if record.progress is not None else 0, record.tokens_total


def _in_time(record: Any, amount: str) -> str:
    return f"{record.status.value.capitalize()}: {amount} in {duration(record.seconds_running)}. {record.id}"


RUN = Kind(
    ("resume",), counted=_trained, values=_latest,
    ended=lambda r: (_in_time(r, f"{count(r.tokens_done)} tokens"), r.sae_path and f"SAE: {r.sae_path}"),
)  # fmt: skip
CAPTURE = Kind(
    ("activations", "resume"), "what is not in a checkpoint is captured again.", _read,
    ended=lambda r: (r.note, _in_time(r, f"{count(r.n_tokens)} tokens, {size(r.size_bytes)},")),
)  # fmt: skip
EXTRACTION = Kind(
    ("extractions", "resume"), counted=_read, ended=lambda r: (_in_time(r, f"{count(r.n_tokens)} tokens"),),
    values=lambda r: {} if r.seen is None else {"features": count(r.seen)},
    name=lambda r: f"The extraction of {r.name}", shown=lambda _: ("extractions", "list"),
)  # fmt: skip
DOWNLOAD = Kind(
    ("hub", "resume"), "what arrived is kept.", unit="bytes", good=(JobStatus.COMPLETED,), goes_on=True,
    name=lambda r: str(r.payload.get("name") or r.id), shown=lambda _: ("hub", "downloads"),
)  # fmt: skip
LOGITS = Kind(
    ("extractions", "logits"), "what was not kept yet is computed again.", unit="features", good=(JobStatus.COMPLETED,)
)


def follow(job: Any, kind: Kind, *, resume: tuple[str, ...] | None = None) -> Any:
    """Show `job` until it has come to a good end, say so, and return its record. Ctrl-C pauses it (see `watch`). Raises
    `typer.Exit` with status 130 when it was paused, with that of its error when it did not end well."""
    record = watch(job, kind, resume=resume)
    finish(record, kind)
    return record


def watch(job: Any, kind: Kind, *, resume: tuple[str, ...] | None = None) -> Any:
    """Show `job` until it ends or pauses, and return its last record. Ctrl-C pauses it; a second one gives up waiting.

    `resume` has the words of the command that goes on where it paused; None: those of its kind. Raises `typer.Exit`
    with status 130 when it was paused.
    """
    interrupts = Interrupts()
    asked = False
    display: AbstractContextManager[Show] = nullcontext(lambda record: None)
    if not session.quiet:
        display = _bar(job.record, kind) if sys.stderr.isatty() else _lines(kind)
    with interrupts.caught(), display as show:
        while True:
            record = job.record
            show(record)
            if settled(record.status):
                break
            if interrupts.count and not asked:
                note("\nPausing (Ctrl-C again to leave at once) …")
                asked = True
                try:
                    job.pause()
                except StateError:
                    if not settled(job.record.status):  # else it has ended meanwhile, which the next look shows
                        raise
            if interrupts.count > 1:
                break
            interrupts.wait(POLL)
    if record.status.is_final:
        return record
    paused = f"Paused{kind.line(record).removeprefix('paused')}."
    note(paused if settled(record.status) else f"Left without waiting; {kind.lost}")
    note(f"Resume it with: {command_line(*(resume or (*kind.resume, job.id)))}")
    raise typer.Exit(PAUSED)


def settled(status: JobStatus) -> bool:
    """Whether nothing more will be shown: it has ended or is paused."""
    return status.is_final or status is JobStatus.PAUSED


def finish(record: Any, kind: Kind) -> None:
    """Say how it ended. Raises `typer.Exit` with the status of its error when it did not end well."""
    if record.status in kind.good:
        for line in filter(None, kind.ended(record)):
            note(line)
        return
    leave = failure(record, record.id)
    if kind.goes_on and record.status is not JobStatus.CANCELLED:
        note(f"Resume it with: {command_line(*kind.resume, record.id)}")
    raise leave


def failure(record: Any, name: str) -> typer.Exit:
    """Say why `name` did not end well (with ``--debug`` also where), and return what ends the process."""
    parts, error = [f"{name} {record.status.value}."], record.error
    if error is not None:
        parts.append(f"{error.where}: {error.message}" if error.where else error.message)
    note(f"Error: {' '.join(parts)}")
    if error is not None and error.traceback and session.debug:
        note(error.traceback)
    kind = error.kind if error is not None else "error"
    return typer.Exit({"config": USAGE, "not_found": NOT_FOUND}.get(kind, FAILED))


def follow_run(run: Run) -> None:
    """Show a run until it ends, then its record or how it ended. Raises `typer.Exit` as `follow` does."""
    record = watch(run, RUN)
    if session.json:
        write_json(run.record)
    finish(record, RUN)


class _FollowedGroup:
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


def follow_group(group: TrainingGroup) -> None:
    """Show a group until it ends, then how each run ended. Raises `typer.Exit` as `follow` does."""
    watch(_FollowedGroup(group), RUN)
    records = group.records
    if session.json:
        write_json(list(records))
    leaves = []
    for record in records:
        if record.status not in GOOD:
            leaves.append(failure(record, f"{record.name} ({record.id})"))
            continue
        note(_in_time(record, f"{record.name}, {count(record.tokens_done)} tokens"))
        if record.sae_path:
            note(f"  SAE: {record.sae_path}")
    if leaves:
        raise leaves[0]


def ask(job: Any, verb: str, kind: Kind, seconds: float, **how: Any) -> Any:
    """Pause, stop or cancel `job` (its method `verb`, called with `how`), wait until its process has done so, but no
    more than `seconds`, print its status, and return its record."""
    name = kind.name(job.record)
    getattr(job, verb)(**how)
    end = time.monotonic() + seconds
    while not ((record := job.record).status.is_final or (verb == "pause" and record.status is JobStatus.PAUSED)):
        if seconds <= 0:
            break
        if time.monotonic() >= end:
            raise StateError(
                f"{name} is still {record.status.value} after {seconds:g} seconds.", where=record.id,
                hint=f"The request stays. Look again with: {command_line(*kind.shown(record.id))}",
            )
        time.sleep(0.1)
    answer(record, f"{name} is {record.status.value} ({record.id})")
    return record


@contextmanager
def _bar(record: Any, kind: Kind) -> Iterator[Show]:
    from tqdm.auto import tqdm  # a tenth of a second: only where there is something to show

    done, total = kind.counted(record) or (0, None)
    with tqdm(
        total=total, initial=done, unit="B" if kind.unit == "bytes" else f" {kind.unit}", unit_scale=True,
        mininterval=0.2, dynamic_ncols=True, file=sys.stderr,
    ) as bar:  # fmt: skip

        def show(record: Any) -> None:
            bar.set_description_str(phase(record), refresh=False)
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
