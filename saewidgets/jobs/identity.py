"""Who owns a job: a name that lets others on the same machine see at once that its process is gone."""

from __future__ import annotations

import os
import secrets
import sys
import uuid
from pathlib import Path


def new_owner(host: str) -> str:
    """A name for this process: ``<pid>.<start>.<machine>.<random>@<host>``; the random part tells managers apart."""
    pid = os.getpid()
    return f"{pid}.{_start_time(pid) or ''}.{_machine()}.{secrets.token_hex(4)}@{host}"


def is_gone(owner: str) -> bool:
    """Whether the owner's process is certainly no more.

    False when that cannot be told from here (another machine, another container, an unknown format): its heartbeat
    decides then. The start time guards against a process id that has been given to another process since.
    """
    identity, _, _ = owner.partition("@")
    parts = identity.split(".")
    if len(parts) != 4 or not parts[0].isdigit() or parts[2] != _machine() or not parts[2]:
        return False
    pid = int(parts[0])
    if not _exists(pid):
        return True
    now = _start_time(pid)
    return bool(parts[1]) and now is not None and now != parts[1]


def _exists(pid: int) -> bool:
    if sys.platform == "win32":
        return True  # os.kill would end the process there; the heartbeat decides
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


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
