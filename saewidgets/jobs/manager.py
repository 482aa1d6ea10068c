"""Defines `JobManager` (queues, runs, and talks with the managers of other processes through the store), and the handle
of a job: `Job`, and `Verbs`, what it has in common with the handles of what a job makes."""

from __future__ import annotations

import builtins
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from saewidgets.errors import CatalogError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.jobs.control import InteractiveQueue, Runner
from saewidgets.jobs.executor import Executor
from saewidgets.jobs.job_store import JobSettings, JobStore, lane_device
from saewidgets.jobs.owner import LocalJob, Owner, RunnerOutcome
from saewidgets.jobs.process import close_at_exit, is_alive, new_owner
from saewidgets.jobs.pump import Pump, Subscriber
from saewidgets.jobs.states import OWNED, WORKING, JobCommand, asks_for, plan
from saewidgets.records import ErrorInfo, JobRecord, Records

log = logging.getLogger(__name__)
T = TypeVar("T")

Factory = Callable[[JobRecord], Runner]
"""Makes the runner of a job from its row alone, so that any process can continue it."""

ENDED = "The kernel that ran it ended."
CLOSED = "Paused because the kernel that ran it was shut down."
_OVERLAP = 2.0  # seconds read again at every look at other processes: a transaction may commit after a younger one
_SWEEP_REUSE = 0.1  # seconds for which the answer to "is anybody gone" is used again


def fail_unowned(store: JobStore, job_id: str, error: ErrorInfo) -> JobRecord | None:
    """Let a job fail that waits for a process to take it; None if one has, or it is not queued any more."""
    changes = {"status": JobStatus.FAILED, "error": error, "note": None}  # what it waited for
    return store.change(job_id, changes, when={JobStatus.QUEUED}, owner="")


class JobManager:
    """Runs jobs in background threads of this process and sees those of all others.

    Threads are daemons, so a run never keeps the interpreter alive; `close` (called at exit) first asks running jobs
    to write a checkpoint and waits `settings.close_wait` seconds for them.
    """

    def __init__(self, store: JobStore, settings: JobSettings | None = None) -> None:
        self.settings = settings or JobSettings()
        self.owner = new_owner(self.settings.host)
        self._store = store
        self._factories: dict[str, Factory] = {}
        self._ended: dict[str, Callable[[JobRecord], None]] = {}
        self._local: set[str] = set()  # kinds that run here even where there is an executor
        self._lock = threading.RLock()
        self._interactive: dict[str, InteractiveQueue] = {}
        times = self.settings
        self._pump = Pump(store, self.owner, times.write_interval, times.poll, self._tick, self._idle)
        self._published = threading.Condition()
        self._news = 0
        self._shown: dict[str, tuple[float, tuple[object, ...] | None]] = {}  # job id → what was published last
        self.executor: Executor | None = None  # None: jobs are threads of this process
        self._starts: dict[str, int] = {}  # job id → how often the executor was asked to bring up a process for it
        self._own = Owner(store, self.owner, self.settings, self._pump, self.publish, self.interactive)
        self._seen: dict[str, float] | None = None  # job id → updated_at, of what other processes changed
        self._swept = 0.0
        self._closed = False
        self._process = os.getpid()
        close_at_exit(self)

    # ------------------------------------------------------------------------------------------------ starting

    def register(
        self, kind: str, factory: Factory, ended: Callable[[JobRecord], None] | None = None, *, is_local: bool = False
    ) -> None:
        """Say how to make the runner of a `kind` of job from its row, here or where one that began elsewhere is
        resumed. `ended` is called, from any thread and maybe more than once, when this process learns that such a job
        has a final status; it must be quick and not raise. `is_local`: never given to the executor."""
        if is_local:
            self._local.add(kind)
        self._factories[kind] = factory
        if ended is not None:
            self._ended[kind] = ended

    def submit(
        self,
        kind: str,
        payload: Mapping[str, Any],
        lane: str,
        *,
        job_id: str | None = None,
        before_start: Callable[[str], object] = lambda job_id: None,
    ) -> Job:
        """Queue a job; it starts when its lane is free. `before_start` is called with its id when the row exists and
        before the job can start, to insert rows that refer to it; if it raises, the job is removed."""
        self._check_open()
        job_id = job_id or f"job_{uuid.uuid4()}"
        record = self._store.add(job_id, kind=kind, lane=lane, payload=payload, owner=self._first_owner(kind))
        try:
            runner = self._make_runner(record)
            before_start(job_id)
        except BaseException:
            self._store.delete(job_id)
            raise
        self._start(LocalJob(job_id, runner, resumed=False), record)
        return Job(self, job_id)

    def take(self, job_id: str) -> Job | None:
        """Run a queued job that has no owner in this process; None if another was quicker, or it is not queued."""
        self._check_open()
        record = self._store.get(job_id)
        runner = self._make_runner(record)
        mine = {"owner": self.owner, "lane": self.lane(lane_device(record.lane)), "note": None}
        changed = self._store.change(job_id, mine, when={JobStatus.QUEUED}, owner="")
        if changed is None:
            return None
        self._enlist(LocalJob(job_id, runner, resumed=record.started_at is not None), changed)
        return Job(self, job_id)

    def take_over(self, job_id: str) -> Job | None:
        """Go on here with a job whose process is gone, as soon as that is certain; None if it is not so."""
        deadline = time.monotonic() + 3 * self.settings.timeout
        while (record := self._store.get(job_id)).status in OWNED and time.monotonic() < deadline:
            self.sweep(fresh=True)
            time.sleep(self.settings.poll)
        if record.status is not JobStatus.INTERRUPTED:
            return None
        self.resume(job_id)
        return Job(self, job_id)

    def _executor_of(self, kind: str) -> Executor | None:
        return None if kind in self._local else self.executor

    def _first_owner(self, kind: str) -> str | None:
        """Of a job that is queued; None where the executor brings up the process that takes it."""
        return self.owner if self._executor_of(kind) is None else None

    def _start(self, job: LocalJob, record: JobRecord) -> None:
        """Begin to work on a job that was queued just now: here, or through the executor."""
        if (executor := self._executor_of(record.kind)) is None:
            self._enlist(job, record)
            return
        self.publish(record)
        start = self._starts[job.job_id] = self._starts.get(job.job_id, 0) + 1

        def waits() -> bool:
            self._check_open()
            return any(r.status is JobStatus.QUEUED and r.owner is None for r in self._store.list(ids=[job.job_id]))

        def failed(why: str) -> None:
            if start != self._starts[job.job_id]:
                return  # it took the job, was lost, and another start waits by now
            error = ErrorInfo(why, hint="See `saewidgets doctor`; then start it again.")
            changed = fail_unowned(self._store, job.job_id, error)
            if changed is None and not executor.restarts(job.job_id):
                changed = self._store.change(job.job_id, {"note": why}, when=WORKING)
            if changed is not None:
                self.publish(changed)

        try:
            executor.start(job.job_id, waits, failed, int(record.payload.get("workers", 1)))
        except OSError as error:  # the row is there, and would wait for ever
            failed(f"The job could not be started: {error}")
        if executor.waits_for is not None:  # from now on it may take long, and there is somebody to wait for
            note = {"note": executor.waits_for}
            if (changed := self._store.change(job.job_id, note, when={JobStatus.QUEUED}, owner="")) is not None:
                self.publish(changed)

    def _enlist(self, job: LocalJob, record: JobRecord) -> None:
        self._own.enlist(job)
        self.publish(record)
        self._pump.wake()

    def resume(self, job_id: str) -> None:
        """Queue a job again that is paused or has ended, on its lane of this machine. This process becomes its owner.
        """
        self._check_open()
        self.sweep(fresh=True)
        while True:
            record = self._store.get(job_id)
            todo = plan("resume", record.status)
            if todo is None:
                return
            local = self._own.get(job_id)
            if todo.command is not None:
                if self._ask(record, "resume", todo.status):
                    return
                continue
            if record.status is JobStatus.INTERRUPTED and local is not None and local.is_running:
                return self._pump.wake()  # it was asleep: its owner pauses it now, and queues it again
            runner = self._make_runner(record)
            changes = {"status": JobStatus.QUEUED, "owner": self._first_owner(record.kind)}
            changes["lane"] = self.lane(lane_device(record.lane))
            changed = self._store.change(job_id, changes, when={record.status})
            if changed is not None:
                return self._start(LocalJob(job_id, runner, resumed=True), changed)

    # ------------------------------------------------------------------------------------------------ steering

    def request(self, job_id: str, command: JobCommand, *, note: str | None = None) -> JobRecord:
        """Send a command to a job; the status becomes `pausing` or `stopping` at once. It takes effect at the
        job's next pause point, within `settings.poll` seconds more if it runs in another process; a job that is not
        running changes at once."""
        if command == "resume":
            self.resume(job_id)
            return self._store.get(job_id)
        self.sweep(fresh=True)
        while True:
            record = self._store.get(job_id)
            todo = plan(command, record.status)
            if todo is None:
                return record
            if (changed := self._ask(record, todo.command, todo.status, note)) is not None:
                return changed

    def ask_checkpoint(self, job_id: str) -> None:
        """Let a job that runs here write a checkpoint at its next safe point and go on. Raises `StateError`."""
        local = self._own.get(job_id)
        if local is not None and local.is_running and local.control is not None:
            local.control.ask_checkpoint()
        else:
            record = self._store.get(job_id)
            where = "in another process" if record.status.is_active else record.status.value
            raise StateError(
                f"Job {job_id} is {where}, so it cannot be asked for a checkpoint here.",
                hint="Pausing writes one wherever it runs.",
            )

    def pause_all(self) -> int:
        return self._pause(self.list(status={JobStatus.QUEUED, JobStatus.STARTING, JobStatus.RUNNING}))

    def _pause(self, records: Iterable[JobRecord], note: str | None = None) -> int:
        asked = 0
        for record in records:
            try:
                self.request(record.id, "pause", note=note)
                asked += 1
            except (StateError, NotFoundError) as error:  # it ended in the meantime
                log.info("Not paused: %s", error)
        return asked

    def run_between(self, lane: str, fn: Callable[[], T]) -> Future[T]:
        """Run short interactive work on a lane's device without waiting for the lane; see `InteractiveQueue`."""
        return self.interactive(lane).submit(fn)

    # ------------------------------------------------------------------------------------------------ looking

    def lane(self, device: str) -> str:
        """The lane of one device of this machine: one job at a time, the rest queue."""
        return f"{self.settings.host}/{device}{self.settings.place}"

    def handle(self, job_id: str) -> Job:
        self._store.get(job_id)
        return Job(self, job_id)

    def get(self, job_id: str) -> JobRecord:
        self.sweep()
        return self._store.get(job_id)

    def list(self, *, status: Collection[JobStatus] | None = None, kind: str | None = None) -> Records[JobRecord]:
        self.sweep()
        return self._store.list(status=status, kind=kind)

    def subscribe(self, fn: Subscriber) -> Callable[[], None]:
        return self._pump.subscribe(fn)

    def wait(self, job_id: str, timeout: float | None = None) -> JobStatus:
        """See `Verbs.wait`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            news = self._news
            record = self.get(job_id)  # outside the lock: the store may be slow
            status = record.status
            if (status.is_final or status is JobStatus.PAUSED) and not self._goes_on(record):
                if (ended := self._ended.get(record.kind)) is not None and status.is_final:
                    ended(record)  # whichever thread learned of the end, waiters find it complete
                return status
            left = self.settings.poll if deadline is None else min(self.settings.poll, deadline - time.monotonic())
            if left <= 0:
                return status
            with self._published:
                if news == self._news:
                    self._published.wait(left)

    def _goes_on(self, record: JobRecord) -> bool:
        """Whether an interrupted job is queued again by itself: its process, taken for dead, is this one, or its
        executor starts it on another machine."""
        if record.status is not JobStatus.INTERRUPTED:
            return False
        executor = self._executor_of(record.kind)
        return self._own.has(record.id) or (executor is not None and bool(executor.restarts(record.id)))

    def sweep(self, *, fresh: bool = False) -> None:
        """Mark the jobs of vanished owners `interrupted` and free their lanes: at once where the owner's process ran on
        this machine and is gone; else when its heartbeat is too old. `fresh`: what is decided now depends on it.
        """
        with self._lock:
            due = fresh or time.monotonic() - self._swept >= min(_SWEEP_REUSE, self.settings.poll)
            self._swept = time.monotonic() if due else self._swept
        try:
            if due:
                self._interrupt_the_vanished()
        except CatalogError as error:
            # The write lock is taken. What can be read is better than nothing; the next look tries again.
            log.warning("Jobs of vanished processes could not be marked: %s", error)
            self._swept = time.monotonic() + self.settings.heartbeat

    def _interrupt_the_vanished(self) -> None:
        alive: dict[str | None, bool | None] = {}  # by owner
        for record in self._store.list(status=OWNED):
            owner = record.owner
            if owner is None or owner == self.owner:
                continue
            if owner not in alive:
                alive[owner] = is_alive(owner)
            if alive[owner] is False:
                self._interrupt(record, ENDED)
        timeout = self.settings.timeout
        for record in self._store.stale(timeout):
            if record.owner == self.owner or alive.get(record.owner):
                continue  # it was asleep, the clock has jumped, or the machine is busy
            age, note = timeout, f"Its kernel has given no sign of life for {timeout:.0f} seconds."
            if record.owner is None and record.note is not None:  # it waits for a cluster
                executor = self._executor_of(record.kind)
                if executor is None or executor.restarts(record.id, connect=False) is not False:
                    continue
                note = "The cluster has no process for it any more."
            elif record.owner is None:
                age, note = max(timeout, self.settings.start), "The process that was to run it never came."
            self._interrupt(record, note, age)

    def _interrupt(self, record: JobRecord, note: str, older_than: float | None = None) -> None:
        if record.note and record.status is JobStatus.RUNNING:  # how the cluster was lost, say
            note = f"{record.note} {note}"
        if changed := self._store.interrupt(record.id, record.owner or "", note=note, older_than=older_than):
            self.publish(changed)

    def outcome(self, record: JobRecord) -> RunnerOutcome | None:
        """What the runner returned or raised, if it ended in this process and has not been run elsewhere since."""
        local = self._own.get(record.id)
        if local is None:
            return None
        with local.ending:  # the row is seen to have ended a moment before its thread has said here how
            return local.outcome if local.finished_at == record.finished_at else None

    def flush(self) -> bool:
        return self._pump.flush()

    def interactive(self, lane: str) -> InteractiveQueue:
        with self._lock:
            if lane not in self._interactive:
                self._interactive[lane] = InteractiveQueue(lane, self.settings.interactive_patience)
            return self._interactive[lane]

    # ------------------------------------------------------------------------------------------------ ending

    def close(
        self, wait: float | None = None, at_rest: Callable[[], None] | None = None
    ) -> builtins.list[str]:
        """Pause what runs here (a checkpoint first) and what is queued here, and end the threads; returns the ids of
        jobs that did not reach a pause point in `wait` seconds. `at_rest` is called when none runs any more; what is
        emitted then is still written. May be called twice."""
        with self._lock:
            if self._is_closed:
                return []
            self._closed = True
        try:
            self._pause(self._store.list(owner=self.owner, status=OWNED), CLOSED)
        except CatalogError as error:
            # The threads end all the same; what still runs reads `interrupted` once this process is gone.
            log.warning("Running jobs could not be asked to pause: %s", error)
        late = self._own.join(self.settings.close_wait if wait is None else wait)
        with suppress(CatalogError):  # said above
            for record in self._store.list(owner=self.owner, status=OWNED):  # this process may live on
                self._store.interrupt(record.id, self.owner, note=ENDED)
        if at_rest is not None:
            at_rest()
        self._pump.close()
        return late

    def __enter__(self) -> JobManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------ inside

    def publish(self, record: JobRecord) -> None:
        """Tell subscribers and waiters, once for every change, and never an older state after a newer one."""
        shown = (record.status, record.owner, record.command, record.note, record.lane, record.queue_position)
        with self._published:
            updated, before = self._shown.get(record.id, (0.0, None))
            if record.updated_at < updated or shown == before:
                return
            self._shown[record.id] = (record.updated_at, shown)
            self._news += 1
            self._pump.tell(record)
            self._published.notify_all()
        ended = self._ended.get(record.kind)
        if ended is not None and record.status.is_final:
            ended(record)

    def _ask(
        self, record: JobRecord, command: JobCommand | None, status: JobStatus, note: str | None = None
    ) -> JobRecord | None:
        """Write a command and the status it leads to; None if the row has changed meanwhile."""
        changes: dict[str, Any] = {"command": command}
        if status is not record.status:
            changes["status"] = status
        if note is not None:
            changes["note"] = note
        changed = self._store.change(record.id, changes, when={record.status})
        if changed is None:
            return None
        local = self._own.get(record.id)
        if local is not None and (asked := asks_for(command)) is not None:
            local.ask(asked)
        self.publish(changed)
        self._pump.wake()
        return changed

    def _make_runner(self, record: JobRecord) -> Runner:
        factory = self._factories.get(record.kind)
        if factory is None:
            raise StateError(
                f"This process does not know how to run a job of kind {record.kind!r}.", where=record.id,
                hint="Resume it where it was started, or through a Workspace.",
            )
        return factory(record)

    def _tick(self) -> None:
        self._own.tick()
        if self._pump.has_subscribers:
            if time.monotonic() - self._swept >= self.settings.heartbeat:
                self.sweep()
            self._look()

    def _look(self) -> None:
        """Publish what other processes changed since the last round."""
        if self._seen is None:
            self._seen = {record.id: record.updated_at for record in self._store.list(limit=1000)}
            return
        own = self._own.running()
        since = max(self._seen.values(), default=0.0) - _OVERLAP
        for record in reversed(self._store.list(updated_since=since)):
            if self._seen.get(record.id) != record.updated_at:
                self._seen[record.id] = record.updated_at
                if record.id not in own:
                    if record.progress is not None and record.status.is_active:
                        self._pump.tell(record)
                    self.publish(record)

    def _idle(self) -> bool:
        return not self._own.busy and not self._pump.has_subscribers

    @property
    def _is_closed(self) -> bool:
        """Also in a fork: the process that it comes from runs the jobs, and has the threads."""
        return self._closed or self._process != os.getpid()

    def _check_open(self) -> None:
        if self._is_closed:
            what = "is closed" if self._closed else "was opened by the process that this one was forked from"
            raise StateError(f"The workspace {what}.", hint="Open a new one: Workspace(folder).")


class Verbs:
    """What every handle of something in the background can do; every property reads the row."""

    id: str
    _manager: JobManager

    @property
    def _job_id(self) -> str:
        return self.id

    @property
    def record(self) -> Any:
        """The whole row as it is now."""
        return self._manager.get(self._job_id)

    @property
    def status(self) -> JobStatus:
        status: JobStatus = self.record.status
        return status

    @property
    def progress(self) -> Progress | None:
        progress: Progress | None = self.record.progress
        return progress

    @property
    def error(self) -> ErrorInfo | None:
        """Why it failed; None unless it did."""
        error: ErrorInfo | None = self.record.error
        return error

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Wait until nothing more happens by itself (it has ended or is paused), at most `timeout` seconds; returns the
        status then."""
        return self._manager.wait(self._job_id, timeout)

    def pause(self) -> None:
        """Write a checkpoint and free the lane and the memory. Acknowledged at once, done at the next pause point."""
        self._request("pause")

    def resume(self) -> None:
        """Queue it again; it continues from its last checkpoint, in this process."""
        self._request("resume")

    def stop(self, save: bool = True) -> None:
        """End early and keep what was learned. `save=False` keeps nothing new, which is `cancel`."""
        self._request("stop" if save else "cancel")

    def cancel(self) -> None:
        """End early and keep nothing new."""
        self._request("cancel")

    def _request(self, command: JobCommand) -> None:
        self._manager.request(self._job_id, command)

    def result(self, timeout: float | None = None) -> Any:
        """What the runner returned; a plain summary of it if it ran in another process.

        Raises:
            TimeoutError: it had not ended after `timeout` seconds.
            StateError: it has no result (paused, cancelled, interrupted).
            Exception: what made it fail; `SAEWidgetsError` with the same words if that was in another process.
        """
        status, job_id = self.wait(timeout), self._job_id
        record = self._manager.get(job_id)
        outcome = self._manager.outcome(record)
        if status is JobStatus.FAILED:
            if outcome is not None and outcome.exception is not None:
                raise outcome.exception
            info = record.error or ErrorInfo("The job failed.")
            raise SAEWidgetsError(info.what, where=info.where, hint=info.hint)
        if status in (JobStatus.COMPLETED, JobStatus.STOPPED):
            return record.result if outcome is None else outcome.value
        if not status.is_final and status is not JobStatus.PAUSED:
            raise TimeoutError(f"Job {job_id} is still {status} after {timeout} seconds.")
        raise StateError(f"Job {job_id} is {status} and has no result.", hint="Resume it, or start it again.")


class Job(Verbs):
    """One job."""

    def __init__(self, manager: JobManager, job_id: str) -> None:
        self._manager, self.id = manager, job_id

    def __repr__(self) -> str:
        try:
            record = self.record
        except NotFoundError:  # a list that holds it is shown all the same
            return f"<Job {self.id}, deleted>"
        parts = [f"Job {record.id}", record.kind, record.status.value]
        if record.progress is not None and not record.status.is_final:
            p = record.progress
            parts.append(f"{p.done:,} of {p.total:,} {p.unit} ({p.fraction:.0%})")
        if record.queue_position is not None:
            parts.append(f"number {record.queue_position} in the queue of {record.lane}")
        if record.error is not None:
            parts.append(record.error.what)
        return f"<{', '.join(parts)}>"
