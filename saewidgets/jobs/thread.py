"""A daemon thread that starts when it is needed and ends when it has nothing to do, or is told to."""

from __future__ import annotations

import threading


class LazyThread:
    """Base of the manager's own threads: a subclass writes `_work` and calls `_start` once there is something to do.

    `_changed` guards the subclass's state and is notified of every change; `_work` returns when it sees `_closed`, and
    where there is nothing to do, after it has set `_thread` to None. A manager without threads can be collected.
    """

    def __init__(self, name: str) -> None:
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._name = name

    def close(self, timeout: float = 5.0) -> None:
        """Let the thread finish what it has and end. May be called twice, and from the thread itself."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _start(self) -> None:
        """Start the thread unless it runs or has been closed. `_changed` must be held."""
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._work, name=f"saewidgets-{self._name}", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        raise NotImplementedError
