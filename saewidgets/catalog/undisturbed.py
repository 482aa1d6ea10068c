"""Writes that Ctrl-C cannot cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within, Ctrl-C waits until the end.

    A KeyboardInterrupt between the beginning of a transaction and the object that would end it leaves a connection that
    holds the lock, and a notebook keeps it alive with the traceback: nobody could write any more.
    """
    before = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if not callable(before):  # signals come to the main thread alone, and here something else handles them, or nothing
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            before(*came[0])
