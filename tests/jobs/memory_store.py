"""A `JobStore` without a database: what the manager's own tests run on."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from saewidgets.errors import NotFoundError
from saewidgets.events import Event, JobStatus, LogLine, Progress
from saewidgets.jobs.states import OWNED
from saewidgets.records import JobRecord, Records

S = JobStatus


class MemoryStore:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._rows: dict[str, JobRecord] = {}
        self._queue: dict[str, int] = {}
        self._since: dict[str, float] = {}
        self._leases: dict[str, tuple[str, str, float]] = {}  # job id → lane, owner, heartbeat
        self._numbers = 0
        self.skew = 0.0  # makes the clock jump
        self.events: list[tuple[str, str | None, Event]] = []
        self.fail: Exception | None = None  # raised by the next writes of events

    def now(self) -> float:
        return time.time() + self.skew

    def add(self, job_id: str, *, kind: str, lane: str, payload: Mapping[str, Any], owner: str) -> JobRecord:
        with self._lock:
            now = self.now()
            self._rows[job_id] = JobRecord(
                id=job_id, kind=kind, status=S.QUEUED, lane=lane, owner=owner, heartbeat_at=now, created_at=now,
                payload=dict(payload), updated_at=now,
            )
            self._enqueue(job_id)
            return self.get(job_id)

    def get(self, job_id: str) -> JobRecord:
        with self._lock:
            if job_id not in self._rows:
                raise NotFoundError(f"There is no job {job_id!r}.")
            row = self._rows[job_id]
            since = self._since.get(job_id)
            seconds = row.seconds_running + (self.now() - since if since is not None else 0.0)
            return replace(row, queue_position=self._positions().get(job_id), seconds_running=seconds)

    def list(
        self,
        *,
        status: Collection[JobStatus] | None = None,
        kind: str | None = None,
        owner: str | None = None,
        ids: Collection[str] | None = None,
        updated_since: float | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Records[JobRecord]:
        with self._lock:
            rows = [self.get(i) for i in reversed(list(self._rows))]
        rows = [
            r for r in rows
            if (status is None or r.status in status)
            and (kind is None or r.kind == kind)
            and (owner is None or r.owner == owner)
            and (ids is None or r.id in ids)
            and (updated_since is None or r.updated_at > updated_since)
        ]
        return Records(rows[offset:][:limit], JobRecord)

    def change(
        self, job_id: str, changes: Mapping[str, Any], *, when: Collection[JobStatus], owner: str | None = None
    ) -> JobRecord | None:
        with self._lock:
            row = self._rows.get(job_id)
            if row is None or row.status not in when or (owner is not None and row.owner != owner):
                return None
            now = self.now()
            values: dict[str, Any] = {"updated_at": now}
            status = changes.get("status")
            if status is not None:
                if status is S.QUEUED:
                    self._enqueue(job_id)
                    values.update(error=None, note=None, finished_at=None)
                if not status.is_active:
                    self._leave(job_id)
                    values.update(command=None, seconds_running=self._rows[job_id].seconds_running)
                if status is S.PAUSED or (status.is_final and status is not S.INTERRUPTED):
                    values["owner"] = None
                if status.is_final:
                    values["finished_at"] = now
            if changes.get("owner") is not None:
                values["heartbeat_at"] = now
            self._rows[job_id] = replace(self._rows[job_id], **{**values, **changes})
            return self.get(job_id)

    def delete(self, job_id: str) -> None:
        with self._lock:
            self._rows.pop(job_id, None)
            self._leases.pop(job_id, None)

    def acquire(self, job_id: str, owner: str, *, width: int, timeout: float) -> JobRecord | None:
        with self._lock:
            row = self._rows.get(job_id)
            if row is None or row.owner != owner or row.status is not S.QUEUED:
                return None
            free = self._free(row.lane, width, timeout)
            if self._positions()[job_id] > free:
                return None
            return self._take(row, owner, status=S.STARTING)

    def reclaim(self, job_id: str, owner: str, *, width: int, timeout: float) -> JobRecord | None:
        with self._lock:
            row = self._rows.get(job_id)
            if row is None or row.owner != owner or row.status is not S.INTERRUPTED:
                return None
            if self._free(row.lane, width, timeout) > 0:
                return self._take(row, owner, status=S.RUNNING, note=None, finished_at=None)
            self._rows[job_id] = replace(
                row, status=S.PAUSING, command="pause", finished_at=None, heartbeat_at=self.now(), updated_at=self.now()
            )
            return self.get(job_id)

    def beat(self, owner: str) -> None:
        with self._lock:
            for row in list(self._rows.values()):
                if row.owner == owner and row.status in OWNED:
                    self._rows[row.id] = replace(row, heartbeat_at=self.now())
            for job_id, (lane, holder, _) in list(self._leases.items()):
                if holder == owner:
                    self._leases[job_id] = (lane, holder, self.now())

    def stale(self, timeout: float) -> Records[JobRecord]:
        limit = self.now() - timeout
        return Records([r for r in self.list(status=OWNED) if (r.heartbeat_at or 0) < limit], JobRecord)

    def interrupt(self, job_id: str, owner: str, *, note: str, older_than: float | None = None) -> JobRecord | None:
        with self._lock:
            row = self._rows.get(job_id)
            if row is None or row.owner != owner or row.status not in OWNED:
                return None
            if older_than is not None and (row.heartbeat_at or 0) >= self.now() - older_than:
                return None
            return self.change(job_id, {"status": S.INTERRUPTED, "note": note}, when={row.status})

    def record(self, owner: str, batch: Sequence[tuple[str, str | None, Event]]) -> None:
        with self._lock:
            if self.fail is not None:
                raise self.fail
            for job_id, subject, event in batch:
                row = self._rows.get(job_id)
                if row is None or not (row.owner == owner or (row.owner is None and isinstance(event, LogLine))):
                    continue
                self.events.append((job_id, subject, event))
                if isinstance(event, Progress):
                    self._rows[job_id] = replace(row, progress=event, updated_at=self.now())

    def _enqueue(self, job_id: str) -> None:
        self._numbers += 1
        self._queue[job_id] = self._numbers

    def _positions(self) -> dict[str, int]:
        positions: dict[str, int] = {}
        lanes: dict[str, int] = {}
        for row in sorted((r for r in self._rows.values() if r.status is S.QUEUED), key=lambda r: self._queue[r.id]):
            positions[row.id] = lanes[row.lane] = lanes.get(row.lane, 0) + 1
        return positions

    def _free(self, lane: str, width: int, timeout: float) -> int:
        for job_id, (at, _, beat) in list(self._leases.items()):
            if at == lane and beat < self.now() - timeout:
                row = self._rows[job_id]
                self.change(job_id, {"status": S.INTERRUPTED, "note": "expired"}, when={row.status})
                self._leases.pop(job_id, None)
        return width - sum(at == lane for at, _, _ in self._leases.values())

    def _take(self, row: JobRecord, owner: str, **values: Any) -> JobRecord:
        now = self.now()
        self._leases[row.id] = (row.lane, owner, now)
        self._since[row.id] = now
        self._rows[row.id] = replace(
            row, heartbeat_at=now, updated_at=now, started_at=row.started_at or now, **values
        )
        return self.get(row.id)

    def _leave(self, job_id: str) -> None:
        self._leases.pop(job_id, None)
        since = self._since.pop(job_id, None)
        if since is not None:
            row = self._rows[job_id]
            self._rows[job_id] = replace(row, seconds_running=row.seconds_running + self.now() - since)
