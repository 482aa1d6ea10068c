"""Locks between processes: held while the catalog is created or migrated, or a folder is not listed yet."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saewidgets.errors import CatalogError

_POLL = 0.05


@contextmanager
def file_lock(path: Path, timeout: float) -> Iterator[None]:
    """Hold an exclusive lock on `path` (created if absent; it stays, so that nobody locks a deleted file). The system
    releases it when the process ends, however that happens."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + timeout
        # None: SQLite's own transaction still lets only one process migrate.
        while try_lock(descriptor) is False:
            if time.monotonic() > deadline:
                raise CatalogError(
                    f"Another process has been preparing the catalog for {timeout:.0f} seconds.", where=str(path),
                    hint="Wait for it, or end it if it hangs.",
                )
            time.sleep(_POLL)
        yield
    finally:
        os.close(descriptor)  # which gives the lock back


if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool | None:
        """Whether an exclusive lock on the file was got at once."""
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import errno
    import fcntl

    def try_lock(descriptor: int) -> bool | None:
        """Whether an exclusive lock on the file was got at once; None where the file system has no locks."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EINVAL):
                return None
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK):
                raise
            return False
        return True
