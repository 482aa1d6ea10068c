"""The one thread through which events of running jobs reach the store: batched, a few writes per second.

Emitting costs a runner an append. Progress is coalesced (the last one counts), everything else is kept in order. What
cannot be written is tried again; what can never be written is reported, not swallowed.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence

from saewidgets.errors import SAEWidgetsError
from saewidgets.events import Event, Metrics, Progress
from saewidgets.jobs.store import JobStore, Recorded
from saewidgets.jobs.thread import LazyThread

log = logging.getLogger(__name__)

MAX_PENDING = 200_000
"""Events kept while the store cannot be written; beyond that the oldest metrics are dropped and counted."""

_LINGER = 1.0
"""Seconds without an event after which the thread ends."""


class EventWriter(LazyThread):
    """Takes events from any thread and writes them with `JobStore.record`.

    Args:
        store: where they go.
        owner: this process.
        interval: least seconds between two writes.
        on_written: called with ``(job_id, event)`` once the event is in the store (or reported as lost), so that who
            hears of an event finds it there.
    """

    def __init__(
        self, store: JobStore, owner: str, interval: float, on_written: Callable[[str, Event], None] | None = None
    ) -> None:
        super().__init__("writer")
        self._store = store
        self._owner = owner
        self._interval = interval
        self._on_written = on_written
        self._events: list[Recorded] = []
        self._progress: dict[tuple[str, str | None], Progress] = {}
        self._put = 0  # events taken so far
        self._done = 0  # of which written or reported as lost
        self._urgent = False
        self.lost: dict[str, int] = {}  # job id → events that could not be written

    def put(self, job_id: str, subject: str | None, event: Event) -> None:
        """Take an event. Returns at once."""
        with self._changed:
            self._put += 1
            if isinstance(event, Progress):
                self._progress[job_id, subject] = event
            else:
                self._events.append((job_id, subject, event))
                if len(self._events) > MAX_PENDING:
                    self._drop_oldest()
            self._start()
            self._changed.notify_all()

    def flush(self, timeout: float = 30.0) -> bool:
        """Write now all that was put so far; whether that was done within `timeout` seconds."""
        with self._changed:
            target = self._put
            self._urgent = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._done >= target or self._thread is None, timeout)

    def _work(self) -> None:
        last = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events or self._progress or self._closed, _LINGER)
                if not self._urgent and not self._closed:
                    pause = last + self._interval - time.monotonic()
                    if pause > 0:
                        self._changed.wait_for(lambda: self._urgent or self._closed, pause)
                batch = self._events
                # Behind the rest: a reader who sees the progress finds the metrics too.
                batch.extend((job_id, subject, event) for (job_id, subject), event in self._progress.items())
                self._events, self._progress, self._urgent = [], {}, False
                taken = self._put
                if not batch:
                    self._thread = None
                    self._changed.notify_all()
                    return
            self._write(batch)
            last = time.monotonic()
            if self._on_written is not None:
                for job_id, _, event in batch:
                    self._on_written(job_id, event)
            with self._changed:
                self._done = taken
                self._changed.notify_all()

    def _write(self, batch: Sequence[Recorded]) -> None:
        for attempt in itertools.count():
            try:
                self._store.record(self._owner, batch)
                return
            except SAEWidgetsError as error:  # the store is busy, or its disk full
                if attempt % 30 == 0:  # about once a minute
                    log.warning("Events could not be written yet: %s", error)
                if self._closed and attempt > 0:
                    break
                time.sleep(min(2.0, 0.1 * 2 ** min(attempt, 5)))
            except Exception:  # noqa: BLE001 - reported below, event by event
                break
        for item in batch:
            self._write_one(item)

    def _write_one(self, item: Recorded) -> None:
        job_id, _, event = item
        try:
            self._store.record(self._owner, [item])
        except Exception:  # logged with its traceback and counted; the thread must live on for the other jobs
            self.lost[job_id] = self.lost.get(job_id, 0) + 1
            log.exception("This event of %s is lost: %r", job_id, event)

    def _drop_oldest(self) -> None:
        for i, (job_id, _, event) in enumerate(self._events):
            if isinstance(event, Metrics):
                del self._events[i]
                self.lost[job_id] = self.lost.get(job_id, 0) + 1
                return
        del self._events[0]
