"""Writes that a signal cannot cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within, Ctrl-C waits until the end, and SIGTERM where it has a handler.

    A KeyboardInterrupt between the beginning of a transaction and the object that would end it leaves a connection that
    holds the lock, and a notebook keeps it alive with the traceback: nobody could write any more. Nor could the handler
    of SIGTERM, which writes itself.
    """
    came: list[tuple[int, FrameType | None]] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # signals come to no other
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(handler := signal.getsignal(number)):  # else something else handles them, or nothing
                before[number] = handler
                signal.signal(number, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)
        if came:
            before[came[0][0]](*came[0])
