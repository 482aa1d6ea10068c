"""Defines `Owner`, the jobs of one process: queued ones get their turn, running ones their commands and heartbeat; and
`RunnerOutcome`, how a runner ended: the status, the error and the summary that go into the job's row."""

import itertools
import logging
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic_core import from_json, to_json

from saewidgets.durable import disk_full
from saewidgets.errors import CatalogError, ConfigError, NotFoundError, SAEWidgetsError, StorageError
from saewidgets.events import Interruption, JobStatus, Request
from saewidgets.jobs.control import InteractiveQueue, JobContext, JobControl, Runner
from saewidgets.jobs.job_store import JobSettings, JobStore, lane_device
from saewidgets.jobs.process import is_alive
from saewidgets.jobs.pump import Pump
from saewidgets.jobs.states import asks_for, ending
from saewidgets.records import ErrorInfo, JobRecord

log = logging.getLogger(__name__)
_BY_REQUEST = {Request.PAUSE: JobStatus.PAUSED, Request.CANCEL: JobStatus.CANCELLED}
_RETURNABLE = frozenset({JobStatus.COMPLETED, JobStatus.PAUSED, JobStatus.STOPPED, JobStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class RunnerOutcome:
    """The end of one run of a job. `exception` stays in this process; the row keeps `error`."""

    status: JobStatus
    value: Any = None
    error: ErrorInfo | None = None
    exception: BaseException | None = None


def _returned(value: Any) -> RunnerOutcome:
    status = getattr(value, "status", None)
    try:
        status = JobStatus(status) if status is not None else JobStatus.COMPLETED
    except ValueError:
        status = JobStatus.COMPLETED  # an attribute of that name that means something else
    return RunnerOutcome(status if status in _RETURNABLE else JobStatus.COMPLETED, value)


def _raised(error: BaseException) -> RunnerOutcome:
    if isinstance(error, Interruption):
        return RunnerOutcome(_BY_REQUEST.get(error.request, JobStatus.STOPPED))
    info = error_info(error)
    # The frames would keep the runner's tensors alive; the row has the text.
    error.__traceback__ = None
    return RunnerOutcome(JobStatus.FAILED, error=info, exception=error)


def error_info(error: BaseException) -> ErrorInfo:
    """`error` in the parts that a card shows."""
    text = "".join(traceback.format_exception(error))
    if isinstance(error, SAEWidgetsError):
        return ErrorInfo(
            what=error.what, hint=error.hint, where=error.where, kind=_kind(error), step=getattr(error, "step", None),
            traceback=text, resumes=getattr(error, "resumes", True),
        )
    message = " ".join(str(error).split())
    what = f"{type(error).__name__}: {message}" if message else f"{type(error).__name__} was raised."
    hint = "Free memory or make the batch smaller, then resume." if _kind(error) == "out_of_memory" else None
    return ErrorInfo(what=what, hint=hint, kind=_kind(error), traceback=text)


def _kind(error: BaseException) -> str:
    kind = getattr(error, "kind", None)
    if isinstance(error, SAEWidgetsError) and isinstance(kind, str):
        return kind
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, without importing it
        return "out_of_memory"
    if isinstance(error, ConfigError):
        return "config"
    if isinstance(error, NotFoundError):
        return "not_found"
    if isinstance(error, StorageError) or (isinstance(error, OSError) and disk_full(error)):
        return "disk_full"
    return "error"


def summary(value: Any) -> Any:
    """`value` as plain JSON data for the row: plain parts of mappings, sequences and dataclasses; the rest by type."""
    return from_json(to_json(value, inf_nan_mode="strings", fallback=lambda other: f"<{type(other).__name__}>"))


@dataclass(slots=True)
class LocalJob:
    """What only the owner's process knows about a job."""

    job_id: str
    runner: Runner | None  # None once it has completed: nothing can run it again
    resumed: bool
    has_checked: bool = False  # it has passed its first pause point
    control: JobControl | None = None
    thread: threading.Thread | None = None
    outcome: RunnerOutcome | None = None  # of its latest run here
    finished_at: float | None = None  # the row's, when that run ended: tells whether it was run elsewhere since
    ending: threading.Lock = field(default_factory=threading.Lock)  # held while the row says it ended and this does not

    @property
    def is_running(self) -> bool:
        return self.thread is not None

    def ask(self, request: Request) -> None:
        if self.control is not None:
            self.control.ask(request)


class Owner:
    """The jobs of one process. `tick` is called by the pump's thread only; the rest from any thread."""

    def __init__(
        self, store: JobStore, name: str, settings: JobSettings, pump: Pump, publish: Callable[[JobRecord], None],
        interactive: Callable[[str], InteractiveQueue],
    ) -> None:
        self._store, self._name, self._settings = store, name, settings
        self._pump, self._publish, self._interactive = pump, publish, interactive
        self._jobs: dict[str, LocalJob] = {}
        self._live: set[str] = set()  # queued or running here
        self._lock = threading.RLock()
        self._beaten = 0.0

    @property
    def busy(self) -> bool:
        return bool(self._live)

    def get(self, job_id: str) -> LocalJob | None:
        return self._jobs.get(job_id)

    def running(self) -> set[str]:
        with self._lock:
            return {i for i in self._live if self._jobs[i].is_running}

    def has(self, job_id: str) -> bool:
        """Whether the job is queued or runs here."""
        return job_id in self._live

    def enlist(self, job: LocalJob) -> None:
        with self._lock:
            self._jobs[job.job_id] = job
            self._live.add(job.job_id)

    def join(self, timeout: float) -> list[str]:
        """Wait for the threads of running jobs; returns the ids of those that did not end in time."""
        deadline = time.monotonic() + timeout
        with self._lock:
            threads = {i: self._jobs[i].thread for i in self._live}
        late = []
        for job_id, thread in threads.items():
            if thread is None or thread is threading.current_thread():
                continue
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                late.append(job_id)
        return late

    def tick(self) -> None:
        with self._lock:
            live = set(self._live)
        if not live:
            return
        now = time.monotonic()
        if now - self._beaten >= self._settings.heartbeat:
            self._store.beat(self._name)
            self._beaten = now
        rows = {r.id: r for r in self._store.list(ids=live)}
        for job_id in sorted(live, key=lambda i: (rows[i].queue_position or 0) if i in rows else 0):
            with self._lock:
                job = self._jobs[job_id]
            row = rows.get(job_id)
            if row is not None:
                self._publish(row)  # another process may have asked for something
            if row is None or row.owner != self._name:
                self._lost(job, row)
            elif job.is_running:
                self._steer(job, row)
            elif row.status is JobStatus.INTERRUPTED:  # taken for dead while this process was asleep
                if (changed := self._change(row, {"status": JobStatus.QUEUED})) is not None:
                    self._publish(changed)
            else:
                self._try_to_start(job, row)

    # ------------------------------------------------------------------------------------------------ one job

    def _lost(self, job: LocalJob, row: JobRecord | None) -> None:
        with self._lock:
            if job.is_running:  # another process works in its folder now: end without touching it
                job.ask(Request.CANCEL)
            elif row is None or row.status is not JobStatus.QUEUED or row.owner != self._name:
                self._live.discard(job.job_id)

    def _steer(self, job: LocalJob, row: JobRecord) -> None:
        assert job.control is not None  # set together with the thread
        changed = None
        if row.status is JobStatus.STARTING and job.has_checked:
            changed = self._change(row, {"status": JobStatus.RUNNING})
        elif row.status is JobStatus.INTERRUPTED:  # as above; it is queued again once it has written a checkpoint
            changed = None if row.command else self._change(row, {"command": "resume"})
            job.control.ask(Request.PAUSE)
        elif (asked := asks_for(row.command)) is not None:
            job.control.ask(asked)
        elif row.command == "resume" and row.status is JobStatus.PAUSING and job.control.withdraw():
            changed = self._change(row, {"status": JobStatus.RUNNING, "command": None})
        if changed is not None:
            self._publish(changed)

    def _try_to_start(self, job: LocalJob, row: JobRecord) -> None:
        width = self._settings.widths.get(lane_device(row.lane), self._settings.width)
        limits: dict[str, Any] = {"width": width, "timeout": self._settings.timeout, "is_alive": is_alive}
        started = self._store.acquire(job.job_id, self._name, **limits)
        if started is None:
            return
        queue = self._interactive(started.lane)
        job.has_checked = False
        job.outcome = None

        def on_first_check() -> None:
            job.has_checked = True
            self._pump.wake()  # the pump writes it: a runner's pause point never waits for the store

        job.control = JobControl(queue, on_first_check)
        context = JobContext(
            job.job_id, started.payload, partial(self._pump.emit, job.job_id, None), job.control, job.resumed,
            emitter=lambda subject: partial(self._pump.emit, job.job_id, subject),
        )
        self._publish(started)
        thread = threading.Thread(
            target=self._work, args=(job, context, queue), name=f"saewidgets-{job.job_id}", daemon=True
        )
        queue.enter()
        with self._lock:  # others may join the thread once they see it, so start it first
            job.thread = thread
            thread.start()

    # ------------------------------------------------------------------------------------------------ its thread

    def _work(self, job: LocalJob, context: JobContext, queue: InteractiveQueue) -> None:
        runner = job.runner
        assert runner is not None  # only a completed job has none, and that cannot be queued
        try:
            outcome = _returned(runner(context))
        except BaseException as error:  # noqa: BLE001 - the outermost frame of its thread: the error becomes the job's
            outcome = _raised(error)
        del runner, context
        queue.leave()
        try:
            self._finish(job, outcome)
        except Exception as error:  # nothing above this frame
            log.exception("The end of job %s could not be recorded.", job.job_id)
            job.outcome = _raised(error)
            self._release(job)
            self._store.interrupt(job.job_id, self._name, note="Its end could not be recorded; see the log.")

    def _finish(self, job: LocalJob, outcome: RunnerOutcome) -> None:
        """Write how it ended, however long the store cannot be written (a full disk): who waits for it waits on. Its
        events are written before, so that all of them are there once the end is seen."""
        for attempt in itertools.count():
            try:
                if not self._pump.flush():
                    raise CatalogError("Its events are not written yet.")
                changed = self._save(job, outcome)
            except NotFoundError:
                self._release(job)  # it was deleted
                return
            except SAEWidgetsError as error:
                if attempt % 12 == 0:  # about once a minute
                    log.warning("The end of job %s could not be recorded yet: %s", job.job_id, error)
                time.sleep(min(5.0, 0.2 * 2 ** min(attempt, 5)))
                continue
            if changed is not None:
                self._publish(changed)
            return

    def _save(self, job: LocalJob, outcome: RunnerOutcome) -> JobRecord | None:
        lost = self._pump.lost.get(job.job_id, 0)
        while True:
            row = self._store.get(job.job_id)
            if row.owner != self._name:
                log.warning("Job %s was taken over by another process.", job.job_id)
                self._release(job)
                return None
            status = ending(outcome.status, row.status, row.command)
            changes: dict[str, Any] = {"status": status, "error": outcome.error, "result": summary(outcome.value)}
            if lost:
                changes["note"] = f"{lost:,} events of this run could not be written to the catalog; see the log."
            with job.ending:
                changed = self._change(row, changes)
                if changed is not None:
                    # Before the status is published: who sees it may resume at once.
                    self._release(job, outcome, changed)
                    self._pump.lost.pop(job.job_id, None)
                    return changed

    def _release(self, job: LocalJob, outcome: RunnerOutcome | None = None, row: JobRecord | None = None) -> None:
        with self._lock:
            job.control = job.thread = None
            job.outcome = outcome or job.outcome
            job.finished_at = row.finished_at if row is not None else None
            job.resumed = True
            queued_again = row is not None and row.status is JobStatus.QUEUED
            if self._jobs.get(job.job_id) is job and not queued_again:
                self._live.discard(job.job_id)
            if outcome is not None and outcome.status is JobStatus.COMPLETED:
                job.runner = None  # lets go of a model that the user handed over
        self._pump.wake()

    def _change(self, row: JobRecord, changes: dict[str, Any]) -> JobRecord | None:
        return self._store.change(row.id, changes, when={row.status}, owner=self._name)
