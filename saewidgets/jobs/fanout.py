"""Tells subscribers what happens to jobs, at most ten times a second per job.

Of several `Progress` the last one counts; a change of status is delivered at once and never dropped.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Container

from saewidgets.events import Event, Progress
from saewidgets.jobs.store import JobStore
from saewidgets.jobs.thread import LazyThread
from saewidgets.records import JobRecord

log = logging.getLogger(__name__)

Update = Event | JobRecord
"""An event of the job, or its record after a change of status."""
Subscriber = Callable[[str, tuple[Update, ...]], None]
"""Called as ``fn(job_id, updates)`` from one thread of the manager; updates are in order."""

MAX_PENDING = 5_000
"""Events per job that wait for a slow subscriber; older ones are dropped (the catalog has them all)."""


class _Pending:
    def __init__(self) -> None:
        self.updates: deque[Update] = deque()
        self.progress: Progress | None = None
        self.urgent = False
        self.last = 0.0

    def take(self) -> tuple[Update, ...]:
        updates = (*self.updates, self.progress) if self.progress else tuple(self.updates)
        self.updates.clear()
        self.progress, self.urgent = None, False
        return updates


class Fanout(LazyThread):
    """The subscribers of one manager and the thread that calls them."""

    def __init__(self, interval: float) -> None:
        super().__init__("fanout")
        self._interval = interval
        self._subscribers: tuple[Subscriber, ...] = ()
        self._pending: dict[str, _Pending] = {}

    @property
    def has_subscribers(self) -> bool:
        return bool(self._subscribers)

    def subscribe(self, fn: Subscriber) -> Callable[[], None]:
        """Add a subscriber; the returned function removes it again."""
        with self._changed:
            self._subscribers = (*self._subscribers, fn)
            self._start()

        def unsubscribe() -> None:
            with self._changed:
                self._subscribers = tuple(s for s in self._subscribers if s is not fn)
                self._changed.notify_all()

        return unsubscribe

    def put(self, job_id: str, update: Update) -> None:
        """Take an update. Returns at once; does nothing while nobody has subscribed."""
        if not self._subscribers:
            return
        with self._changed:
            pending = self._pending.setdefault(job_id, _Pending())
            if isinstance(update, Progress):
                pending.progress = update
            elif isinstance(update, JobRecord):
                if pending.progress:  # it came before
                    pending.updates.append(pending.progress)
                    pending.progress = None
                pending.updates.append(update)
                pending.urgent = True
            else:
                pending.updates.append(update)
                if len(pending.updates) > MAX_PENDING:
                    self._drop_oldest(pending.updates)
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                due = self._due()
                if not due:
                    if self._closed or not self._subscribers:
                        self._thread = None
                        return
                    self._changed.wait(self._next())
                    continue
                subscribers = self._subscribers
            for job_id, updates in due:
                for fn in subscribers:
                    try:
                        fn(job_id, updates)
                    except Exception:  # a broken view must not stop the others; the traceback says which
                        log.exception("A subscriber of job updates failed: %r", fn)

    def _due(self) -> list[tuple[str, tuple[Update, ...]]]:
        now = time.monotonic()
        due = []
        for job_id, pending in list(self._pending.items()):
            if not pending.updates and pending.progress is None:
                if now - pending.last > 60:
                    del self._pending[job_id]
            elif pending.urgent or self._closed or now - pending.last >= self._interval:
                pending.last = now
                due.append((job_id, pending.take()))
        return due

    def _next(self) -> float | None:
        waiting = [p.last for p in self._pending.values() if p.updates or p.progress]
        return max(0.001, min(waiting) + self._interval - time.monotonic()) if waiting else None

    @staticmethod
    def _drop_oldest(updates: deque[Update]) -> None:
        for i, update in enumerate(updates):
            if not isinstance(update, JobRecord):
                del updates[i]
                return


_OVERLAP = 2.0
"""Seconds read again each time: a transaction may commit later than a younger one."""


class Watcher:
    """Reads rows that changed since the last look."""

    def __init__(self, store: JobStore, publish: Callable[[JobRecord], None], fanout: Fanout) -> None:
        self._store = store
        self._publish = publish
        self._fanout = fanout
        self._since: float | None = None
        self._seen: dict[str, float] = {}  # job id → updated_at last seen

    def look(self, own: Container[str]) -> None:
        """Publish the jobs that others changed; `own` are those that run here."""
        if self._since is None:
            self._seen = {r.id: r.updated_at for r in self._store.list(limit=1000)}
        else:
            for record in reversed(self._store.list(updated_since=self._since - _OVERLAP)):
                if self._seen.get(record.id) != record.updated_at:
                    self._seen[record.id] = record.updated_at
                    if record.id in own:
                        continue
                    if record.progress is not None and record.status.is_active:
                        self._fanout.put(record.id, record.progress)
                    self._publish(record)
        self._since = max([*self._seen.values(), self._since or 0.0])
