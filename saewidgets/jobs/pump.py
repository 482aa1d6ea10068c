"""`Pump`: the one thread of a job manager. What running jobs emit goes through it into the store and to subscribers;
between two batches it does the manager's rounds: heartbeat, commands, turns. `Listeners`: a list of callbacks.

Emitting costs a runner an append. Of several `Progress` the last one counts, everything else is kept in order. What
cannot be written is tried again; what can never be written is reported, not swallowed.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from saewidgets.errors import SAEWidgetsError
from saewidgets.events import SAVING, Event, Metrics, Progress
from saewidgets.jobs.job_store import JobStore, Recorded
from saewidgets.records import JobRecord

log = logging.getLogger(__name__)

Update = tuple[str | None, Event | JobRecord]
"""An event of the job with its subject (the id of the training it belongs to; None: all of the job's), once it is in
the store; or the job's record after a change of status, or of anything where another process runs it."""
Subscriber = Callable[[str, tuple[Update, ...]], None]
"""Called as ``fn(job_id, updates)`` from the pump's thread, in order. It must return at once: the heartbeat waits."""

MAX_PENDING = 200_000  # events kept while the store cannot be written; of more the oldest metrics go, and are counted


class Listeners:
    """Callbacks for changes, called from the thread that made the change."""

    def __init__(self) -> None:
        self._all: tuple[Callable[..., object], ...] = ()

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, fn: Callable[..., object]) -> Callable[[], None]:
        self._all = (*self._all, fn)

        def end() -> None:
            self._all = tuple(each for each in self._all if each is not fn)

        return end

    def tell(self, *news: Any) -> None:
        """Tell all; one that fails does not keep the others from hearing it."""
        for fn in self._all:
            try:
                fn(*news)
            except Exception:  # a broken view must not undo the change; the traceback says which view
                log.exception("A listener failed: %r", fn)


class Pump:
    """Takes events from any thread. `tick` does a round, every `poll` seconds; while `idle` there is no need for them,
    and the thread ends, so that an unused manager can be collected."""

    def __init__(
        self, store: JobStore, owner: str, write_interval: float, poll: float, tick: Callable[[], None] = lambda: None,
        idle: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store, self._owner, self._interval, self._poll = store, owner, write_interval, poll
        self._tick, self._idle = tick, idle
        self._changed = threading.Condition()  # guards all that follows
        self._thread: threading.Thread | None = None
        self._closed = self._woken = False
        self._events: list[Recorded] = []
        self._progress: dict[tuple[str, str | None], Progress] = {}
        self._updates: list[tuple[str, Update]] = []  # for subscribers
        self._subscribers = Listeners()
        self._write_at = self._tick_at = 0.0
        self._failures = 0
        self._writing = threading.RLock()
        self._complained = 0.0
        self.lost: dict[str, int] = {}  # job id → events that could not be written

    # Up to `close`: called from any thread.

    def emit(self, job_id: str, subject: str | None, event: Event) -> None:
        """Take an event. Returns at once, except before a checkpoint is written: what was measured up to it has to be
        in the store then. A process that is killed right after would have lost that for good."""
        with self._changed:
            first = not self._events and not self._progress
            if isinstance(event, Progress):
                self._progress[job_id, subject] = event
            else:
                self._events.append((job_id, subject, event))
                if len(self._events) > MAX_PENDING:
                    self._drop_oldest()
            if first:
                self._start()
            saving = isinstance(event, Progress) and event.phase == SAVING
            measured = saving and any(isinstance(each, Metrics) for _, _, each in self._events)
        if measured:
            self.flush()

    def tell(self, job: JobRecord) -> None:
        """Tell subscribers of a change of a job's row: its status, or whatever another process that runs it wrote."""
        with self._changed:
            if self._subscribers:
                self._updates.append((job.id, (None, job)))
                self._start()

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._start()

    def flush(self) -> bool:
        """Write now what was emitted so far, in the caller's thread; False where the store cannot be written."""
        return self._write(last=False)

    @property
    def has_subscribers(self) -> bool:
        return bool(self._subscribers)

    def subscribe(self, fn: Subscriber) -> Callable[[], None]:
        end = self._subscribers.add(fn)
        self.wake()
        return end

    def close(self, timeout: float = 5.0) -> None:
        """Hand over what is left and end the thread. May be called twice, and from the thread itself."""
        with self._changed:
            if self._events or self._progress:
                self._start()
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _start(self) -> None:
        """See that the thread looks; `_changed` is held."""
        if self._thread is None and not self._closed:
            self._tick_at = time.monotonic() + self._poll
            self._thread = threading.Thread(target=self._work, name="saewidgets-pump", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    # From here on: the pump's own thread, besides `flush` from whoever calls it.

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._closed or self._woken or self._updates) and (left := self._left()) > 0:
                    self._changed.wait(left)
                closed, woken, now = self._closed, self._woken, time.monotonic()
                due = (closed or now >= self._write_at) and bool(self._events or self._progress)
                self._woken = False
            if due and not self._write(last=False) and closed:
                self._write(last=True)
            self._deliver()
            if not closed and (woken or now >= self._tick_at):
                self._round()
            with self._changed:
                at_rest = not (self._woken or self._updates or self._events or self._progress) and self._idle()
                if closed or at_rest:
                    self._thread = None
                    return

    def _left(self) -> float:
        write_at = self._write_at if self._events or self._progress else self._tick_at
        return min(write_at, self._tick_at) - time.monotonic()

    def _round(self) -> None:
        try:
            self._tick()
        except SAEWidgetsError as error:  # the store is busy or away: the next round tries again
            self._complain("The state of background jobs could not be kept up to date: %s", error)
        except Exception:  # a bug here must not end the heartbeat of all jobs; the traceback says where
            log.exception("A round of the job manager failed.")
        self._tick_at = time.monotonic() + self._poll

    def _deliver(self) -> None:
        with self._changed:
            updates, self._updates = self._updates, []
        by_job: dict[str, list[Update]] = {}
        for job_id, update in updates:
            by_job.setdefault(job_id, []).append(update)
        for job_id, each in by_job.items():
            self._subscribers.tell(job_id, tuple(each))

    def _write(self, *, last: bool) -> bool:
        with self._writing:
            with self._changed:
                batch, self._events = self._events, []
                # Behind the rest: a reader who sees the progress finds the metrics too.
                batch += [(job_id, subject, event) for (job_id, subject), event in self._progress.items()]
                self._progress = {}
            if batch and not self._record(batch, last):
                return False
            with self._changed:
                self._failures, self._write_at = 0, time.monotonic() + self._interval
                if self._subscribers and batch:
                    self._updates += [(job_id, (subject, event)) for job_id, subject, event in batch]
                    self._start()
            return True

    def _record(self, batch: list[Recorded], last: bool) -> bool:
        """Write a batch; False, keeping it, where the store is busy or its disk full, unless this is the last try."""
        try:
            self._store.record(self._owner, batch)
            return True
        except SAEWidgetsError as error:
            if not last:
                self._complain("Events could not be written yet: %s", error)
                self._put_back(batch)
                return False
        except Exception:  # noqa: BLE001 - reported below, event by event
            pass
        for item in batch:
            try:
                self._store.record(self._owner, [item])
            except Exception:  # logged with its traceback and counted; the thread must live on for the other jobs
                self.lost[item[0]] = self.lost.get(item[0], 0) + 1
                log.exception("This event of %s is lost: %r", item[0], item[2])
        return True

    def _put_back(self, batch: Sequence[Recorded]) -> None:
        with self._changed:
            self._failures += 1
            self._write_at = time.monotonic() + min(2.0, 0.1 * 2 ** min(self._failures, 5))
            self._events[:0] = [item for item in batch if not isinstance(item[2], Progress)]
            for job_id, subject, event in batch:
                if isinstance(event, Progress):
                    self._progress.setdefault((job_id, subject), event)

    def _complain(self, what: str, error: Exception) -> None:
        if time.monotonic() - self._complained > 30:
            self._complained = time.monotonic()
            log.warning(what, error)

    def _drop_oldest(self) -> None:
        for i, (job_id, _, event) in enumerate(self._events):
            if isinstance(event, Metrics):
                del self._events[i]
                self.lost[job_id] = self.lost.get(job_id, 0) + 1
                return
        del self._events[0]
