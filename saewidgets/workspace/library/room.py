"""What to say where the disk refuses an SAE: which folder, how much it needs, and whose files they were."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from saewidgets.errors import StorageError
from saewidgets.render.numbers import size as bytes_text

_FULL = ("no space left", "disk quota")  # in other words where a library reports it as text


def no_room(error: OSError, folder: Path, what: str, needed: int) -> StorageError:
    """The error for files that cannot be written.

    Args:
        error: what the system or a format said.
        folder: where they were to go: one that a person knows, no draft.
        what: whose files they are, by the name that the person gave.
        needed: their bytes.
    """
    said = str(error.what if isinstance(error, StorageError) else error.strerror or error).rstrip(".")
    full = error.errno in (errno.ENOSPC, errno.EDQUOT) or any(words in said.lower() for words in _FULL)
    room = f" It needs {bytes_text(needed)}{_free(folder)}." if full else ""
    return StorageError(
        f"{what} cannot be written into the library: {said}.{room}", where=str(folder),
        hint="Free some space, check that the workspace can be written, and try again.",
    )


def _free(folder: Path) -> str:
    try:
        return f", and {bytes_text(shutil.disk_usage(folder).free)} is free"
    except OSError:
        return ""
