"""The life of a process: `close_at_exit` closes before its end, by itself or by SIGTERM; `new_owner` names it in rows,
and `is_alive` lets others on the same machine see at once whether it has ended. Used by `JobManager`."""

import atexit
import os
import secrets
import signal
import sys
import threading
import uuid
import weakref
from pathlib import Path
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


def new_owner(host: str) -> str:
    """A name for this process: ``<pid>.<start>.<machine>.<random>@<host>``; the random part tells managers apart."""
    pid = os.getpid()
    return f"{pid}.{_start_time(pid) or ''}.{_machine()}.{secrets.token_hex(4)}@{host}"


def is_alive(owner: str) -> bool | None:
    """Whether the owner's process still runs. None if unknown here (another machine, another container): its heartbeat
    decides then. The start time guards against a process id that was given away since."""
    identity, _, _ = owner.partition("@")
    parts = identity.split(".")
    if len(parts) != 4 or not parts[0].isdigit() or parts[2] != _machine() or not parts[2]:
        return None
    pid = int(parts[0])
    try:
        os.kill(pid, 0)  # never on Windows, where it would end the process: no machine is known there
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    now = _start_time(pid)
    return now == parts[1] if parts[1] and now is not None else None


def _start_time(pid: int) -> str | None:
    """Clock ticks after boot at which the process started; "ended" for a zombie; None where that is unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field, the command in parentheses, may contain anything: count from its end.
    fields = stat.rpartition(")")[2].split()
    return "ended" if fields[0] in "ZX" else fields[19]


def _machine() -> str:
    """Boot and process namespace: equal only where process ids mean the same thing."""
    if sys.platform == "win32":
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")[:12]
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        # No /proc (macOS): the network card's address, unless it is one that `uuid` made up (multicast bit set).
        node = uuid.getnode()
        return "" if (node >> 40) & 1 else f"{node:x}"
    return f"{boot}-{space}"
