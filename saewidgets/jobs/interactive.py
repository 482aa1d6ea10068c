"""Short interactive work (live features, steering, a preview) that shares a device with a running job.

It does not wait for the lane: it runs between two batches of whoever holds it in this process, or at once in a worker
thread when nobody does. If the holder reaches no pause point for a while (it is loading a model), it runs beside it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

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
    """Work that waits for one lane."""

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
        """A job of this process has begun to call `drain` on this lane."""
        with self._changed:
            self._holders += 1

    def leave(self) -> None:
        """It has ended; what still waits runs in the worker thread."""
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
