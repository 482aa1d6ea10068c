"""Ctrl-C as a request."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Counts Ctrl-C, and SIGTERM, which a batch system sends when the time is up.

    Counted rather than raised: a KeyboardInterrupt that arrives within a destructor or a weak reference's callback is
    printed and lost, and the run would go on.
    """

    def __init__(self) -> None:
        self.count = 0
        self._came = threading.Event()

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than until the next one."""
        self._came.wait(seconds)
        self._came.clear()

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Within, the signals are counted. Other threads than the main one get none anyway."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def count_it(number: int, frame: FrameType | None) -> None:
            self.count += 1
            self._came.set()

        before = {each: signal.signal(each, count_it) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
