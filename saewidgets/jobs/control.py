"""The `Control` of a running job: how requests reach it, at its own pause points."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from saewidgets.events import Emit, Interruption, Request
from saewidgets.jobs.interactive import InteractiveQueue


class JobControl:
    """Given to a runner as `context.control`; the manager calls `ask` and `withdraw` from other threads."""

    def __init__(self, interactive: InteractiveQueue, on_first_check: Callable[[], None]) -> None:
        self._interactive = interactive
        self._on_first_check: Callable[[], None] | None = on_first_check
        self._request = Request.RUN
        self._delivered = False
        self._checkpoint = False
        self._lock = threading.Lock()

    def request(self) -> Request:
        """The pending request. The runner is expected to obey what it has read."""
        if self._request is Request.RUN:  # the usual case, without the lock
            return Request.RUN
        with self._lock:
            pending: Request = self._request
            self._delivered = pending is not Request.RUN
            return pending

    def check(self) -> None:
        """Run interactive work that waits, then raise `Interruption` if anything was requested."""
        if self._on_first_check is not None:
            first, self._on_first_check = self._on_first_check, None
            first()
        self._interactive.drain()
        if (request := self.request()) is not Request.RUN:
            raise Interruption(request)

    def take_checkpoint_request(self) -> bool:
        """True once after `ask_checkpoint`."""
        if not self._checkpoint:  # the usual case, without the lock
            return False
        with self._lock:
            asked, self._checkpoint = self._checkpoint, False
            return asked

    def ask_checkpoint(self) -> None:
        """Let the runner write a checkpoint at its next safe point and go on."""
        with self._lock:
            self._checkpoint = True

    def ask(self, request: Request) -> None:
        """Make `request` the pending one. A weaker request does not replace a stronger one."""
        with self._lock:
            if _STRENGTH[request] > _STRENGTH[self._request]:
                self._request = request

    def withdraw(self) -> bool:
        """Take a pause back. False if the runner has already seen it."""
        with self._lock:
            if self._delivered or self._request not in (Request.PAUSE, Request.RUN):
                return False
            self._request = Request.RUN
            return True


_STRENGTH = {Request.RUN: 0, Request.PAUSE: 1, Request.STOP: 2, Request.CANCEL: 3}


@dataclass(frozen=True, slots=True)
class JobContext:
    """The runner's side of a job.

    Attributes:
        job_id: the job.
        payload: what it was submitted with (plain JSON data).
        emit: takes events; returns at once.
        control: call `control.check()` at every pause point.
        resumed: whether it has run before: continue from the last checkpoint.
        emitter: ``emitter(training_id)`` is an `emit` whose events belong to one of several trainings of this job.
    """

    job_id: str
    payload: Mapping[str, Any]
    emit: Emit
    control: JobControl
    resumed: bool
    emitter: Callable[[str], Emit]


Runner = Callable[[JobContext], Any]
"""Does the work and returns its result. May return early by letting `Interruption` pass, or with an object whose
`.status` is one of ``completed paused stopped cancelled``."""
