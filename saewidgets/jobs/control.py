"""Defines `JobContext`, a runner's argument; `JobControl`, which brings it requests at its pause points; and
`InteractiveQueue`: short interactive work (live features, steering, a preview) that shares a device with a running job.

Interactive work does not wait for the lane: it runs between two batches of the job that holds it in this process, or at
once in a worker thread if none does. If the holder reaches no pause point for a while (it is loading a model), the work
runs beside it.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from saewidgets.events import Control, Emit, Interruption, Request

T = TypeVar("T")


class _Item:
    def __init__(self, fn: Callable[[], Any]) -> None:
        self.fn = fn
        self.future: Future[Any] = Future()
        self.since = time.monotonic()

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            value = self.fn()
        except BaseException as error:  # noqa: BLE001 - the caller gets it from the future; its thread's job must not
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


class InteractiveQueue:
    """Work that waits for one lane. A job of this process calls `enter`, then `drain` now and then, then `leave`."""

    def __init__(self, lane: str, patience: float) -> None:
        self._lane = lane
        self._patience = patience
        self._items: deque[_Item] = deque()
        self._holders = 0
        self._worker: threading.Thread | None = None
        self._changed = threading.Condition()

    def submit(self, fn: Callable[[], T]) -> Future[T]:
        """Queue `fn`. It must leave thread-local state (gradient mode, say) as it found it."""
        item = _Item(fn)
        with self._changed:
            self._items.append(item)
            if self._worker is None:
                name = f"saewidgets-interactive-{self._lane}"
                self._worker = threading.Thread(target=self._work, name=name, daemon=True)
                self._worker.start()
            self._changed.notify_all()
        return item.future

    def enter(self) -> None:
        with self._changed:
            self._holders += 1

    def leave(self) -> None:
        with self._changed:
            self._holders -= 1
            self._changed.notify_all()

    def drain(self) -> None:
        """Run what waits now, in the caller's thread. Costs one attribute look-up when nothing does."""
        if not self._items:
            return
        with self._changed:
            items = list(self._items)
            self._items.clear()
        for item in items:
            item.run()

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._items and self._holders and (left := self._left()) > 0:
                    self._changed.wait(left)
                if not self._items:
                    self._worker = None
                    return
                item = self._items.popleft()
            item.run()

    def _left(self) -> float:
        return self._items[0].since + self._patience - time.monotonic()


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
        """The pending request, which the runner is expected to obey now."""
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
        with self._lock:
            self._checkpoint = True

    def ask(self, request: Request) -> None:
        """Make `request` the pending one unless a stronger one is."""
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
    """The runner's side of a job: it calls `control.check` at every pause point, and goes on from its last checkpoint
    if the job is `resumed`; ``emitter(training_id)`` is an `emit` whose events belong to one of several trainings, and
    ``publish(row_id)`` lets other machines have what is written of a row by now."""

    job_id: str
    payload: Mapping[str, Any]
    emit: Emit
    control: Control
    resumed: bool
    emitter: Callable[[str], Emit]
    publish: Callable[[str], object] = lambda row_id: None


Runner = Callable[[JobContext], Any]
"""Does the work and returns its result. May return early by letting `Interruption` pass, or with an object whose
`.status` is one of ``completed paused stopped cancelled``."""
