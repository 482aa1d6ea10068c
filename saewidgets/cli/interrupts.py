"""Ctrl-C in commands: a request to stop or pause, or an exit without a traceback. This module loads at once."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit status of what Ctrl-C has ended: 128 and the number of the signal."""
SAID = "Interrupted.\n"


def leave_at_once() -> None:
    """From now on Ctrl-C ends the process at once: for as long as nothing has begun that could be lost."""
    if _is_ours_to_handle():
        signal.signal(signal.SIGINT, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, SAID.encode())
    os._exit(INTERRUPTED)


def _is_ours_to_handle() -> bool:
    """Not within a program that handles it, nor where it is ignored, as in the background of a script."""
    main = threading.current_thread() is threading.main_thread()
    return main and signal.getsignal(signal.SIGINT) in (signal.default_int_handler, _leave)


@contextmanager
def raised_between_imports() -> Iterator[None]:
    """Within, Ctrl-C is a KeyboardInterrupt; while modules are being loaded it ends the process at once.

    Raised in an import it leaves half a module, of which one that is written in C makes some other error, or a crash
    when the interpreter ends.
    """
    if not _is_ours_to_handle():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if _within_import(frame):
            _leave(number, frame)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _within_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


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
