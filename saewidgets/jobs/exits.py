"""The end of the process: what has to be closed before it, whether it ends by itself or by SIGTERM."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import weakref
from types import FrameType
from typing import Protocol


class _Closeable(Protocol):
    def close(self) -> object: ...


_open: weakref.WeakSet[_Closeable] = weakref.WeakSet()
_process = 0
"""The process that `_open` is of: a fork inherits everything, and closes nothing of it."""
_closing = False


def close_at_exit(it: _Closeable) -> None:
    """Close `it` before this process ends, unless it is gone by then; `close` may be called twice.

    `atexit` callbacks run after thread pools have been shut down, so a checkpoint that uses one would fail there.
    `threading` has an earlier hook, private but what `concurrent.futures` itself uses; callbacks registered later run
    earlier, hence the import. Where the hook is missing, `atexit` is used.

    SIGTERM closes as well, where nobody else handles it. Python tells only the main thread of signals.
    """
    import concurrent.futures.thread  # noqa: F401 - registers its own hook before ours

    global _process
    if not _process:
        getattr(threading, "_register_atexit", atexit.register)(_close_all)
    if _process != os.getpid():
        _process = os.getpid()
        _open.clear()
    _open.add(it)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _close_all() -> None:
    global _closing
    if _process == os.getpid():
        _closing = True
        for each in list(_open):
            each.close()


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one does not wait
    if not _closing:  # as while Jupyter shuts a kernel down, which signals after 2.5 s and kills after 5
        _close_all()
        os.kill(os.getpid(), number)
