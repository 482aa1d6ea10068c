"""Text files written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from saewidgets.errors import StorageError


@contextmanager
def whole_file(target: Path) -> Iterator[TextIO]:
    """A UTF-8 file that takes the place of `target` when the block ends well, and is gone when it does not.

    Raises:
        StorageError: the disk is full, or the place is not writable.
    """
    draft: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
        draft = Path(name)
        with open(handle, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)  # a temporary file is only for its owner
        draft.replace(target)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(
            f"The file cannot be written ({error.strerror}).", where=str(target), hint="Choose another place."
        ) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)
