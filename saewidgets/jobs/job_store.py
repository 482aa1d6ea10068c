"""Parameters of a `JobManager`: `JobStore`, the protocol for storing rows (the catalog's fits), and `JobSettings`."""

import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from saewidgets.events import Event, JobStatus
from saewidgets.records import JobRecord, Records

Recorded = tuple[str, str | None, Event]
"""(job id, subject, event): the subject is the id of the training it belongs to, None for all of the job's."""


class JobStore(Protocol):
    """Rows of jobs and of lane leases. Every method is one transaction, from any thread; times are the store's clock.

    A write that names an `owner` touches nothing once the row belongs to another process: a process that slept through
    its own takeover cannot disturb the new owner.
    """

    def add(self, job_id: str, *, kind: str, lane: str, payload: Mapping[str, Any], owner: str | None) -> JobRecord:
        """Insert a job as `queued`, at the end of its lane's queue. Without an owner it waits for one."""

    def get(self, job_id: str) -> JobRecord:
        """Raises `NotFoundError` if there is none."""

    def list(
        self,
        *,
        status: Collection[JobStatus] | None = None,
        kind: str | None = None,
        owner: str | None = None,
        ids: Collection[str] | None = None,
        updated_since: float | None = None,
        limit: int | None = None,
    ) -> Records[JobRecord]:
        """Newest first; queued ones carry their `queue_position`."""

    def change(
        self,
        job_id: str,
        changes: Mapping[str, Any],
        *,
        when: Collection[JobStatus],
        owner: str | None = None,
    ) -> JobRecord | None:
        """Compare and set: applies `changes` if the status is in `when` (and the row is `owner`'s, if given; "" is
        nobody's).

        Keys of `changes`: ``status owner lane command error note result``. A change of status also

        * to ``queued``: puts the job at the end of its lane's queue and clears error, note, command, finished_at;
        * to ``starting``: sets started_at the first time;
        * to anything a process does not work on: frees the job's lease, adds to seconds_running, clears command;
        * to ``paused`` or a final one except ``interrupted``: clears the owner;
        * to a final one: sets finished_at.

        A new owner gets a fresh heartbeat.

        Returns:
            The row afterwards, or None if the condition did not hold (or the row is gone).
        """

    def delete(self, job_id: str) -> None:
        """Remove the row and all that hangs on it; no error if it is gone."""

    def acquire(
        self, job_id: str, owner: str, *, width: int, timeout: float,
        is_alive: Callable[[str], bool | None] = lambda owner: None,
    ) -> JobRecord | None:
        """Take a slot of the job's lane and set it `starting`, if it is `owner`'s, queued, and its turn has come.

        `width` slots exist; leases whose heartbeat is older than `timeout` seconds are taken over, unless their owner
        `is_alive`, which interrupts their jobs. Its turn has come when fewer jobs are queued before it than there are
        free slots.
        """

    def beat(self, owner: str) -> None:
        """Renew the heartbeat of all of the owner's queued and active jobs and of its leases."""

    def stale(self, timeout: float) -> Records[JobRecord]:
        """Queued and active jobs whose heartbeat is older than `timeout` seconds."""

    def interrupt(self, job_id: str, owner: str, *, note: str, older_than: float | None = None) -> JobRecord | None:
        """Set a queued or active job of `owner` ("": of nobody) to `interrupted` and free its lease.

        With `older_than`, only if its heartbeat is at least that old at this moment (it may have come back).
        """

    def record(self, owner: str, batch: Sequence[Recorded]) -> None:
        """Write what running jobs emitted, in order. Events of jobs that are not `owner`'s (any more) are dropped,
        but not log lines of a job that has ended and so has no owner."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """Settings of a `JobManager`, times in seconds: `host` is the name of this machine in lanes and owners; the owner
    reads its rows every `poll` and sends a sign of life every `heartbeat`; after `timeout` without one it is gone, and
    a process that was to take a job has `start`; events are written every `write_interval` at most; `close_wait` is
    what running jobs have to write their checkpoints; interactive work waits `interactive_patience` for a pause point;
    `widths` says how many jobs run at once on a lane, by its device, and `width` on those that it does not name;
    `place` stands behind the device in the name of a lane where others are called the same: " (GPU 3)"."""

    host: str = field(default_factory=socket.gethostname)
    poll: float = 0.5
    heartbeat: float = 2.0
    timeout: float = 10.0
    start: float = 120.0
    write_interval: float = 0.2
    close_wait: float = 20.0
    interactive_patience: float = 3.0
    width: int = 1
    place: str = ""
    widths: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({"download": 3}))


def lane_device(lane: str) -> str:
    """The part of a lane's name behind the host, as torch calls it."""
    return lane.rpartition("/")[2].partition(" ")[0]
