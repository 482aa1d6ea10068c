"""Notices what other processes do to jobs, so that subscribers here see it too."""

from __future__ import annotations

from collections.abc import Callable, Container

from saewidgets.jobs.fanout import Fanout
from saewidgets.jobs.store import JobStore
from saewidgets.records import JobRecord

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
