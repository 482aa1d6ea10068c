"""The folder that an SAE is to be written into, where something is in it already."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from saewidgets.errors import FormatError, StorageError
from saewidgets.formats import registry
from saewidgets.formats.base import Format
from saewidgets.formats.source import FolderSource
from saewidgets.formats.whole import OccupiedError


@contextlib.contextmanager
def same_format(path: Path, format: str) -> Iterator[None]:
    """Around the writing of an SAE in `format` into the folder `path`: where that is refused because an SAE in another
    format is there, the error says so. It stays: nobody who converts asked for its end."""
    try:
        yield
    except OccupiedError as error:
        found = _format(path)
        if found is None or found.name == format:
            raise
        raise StorageError(
            f"This folder holds an SAE in the format {found.name}; only one in the same format is replaced, and "
            f"{format} is to be written.",
            where=str(path), hint="Choose a new or empty folder, or delete this one first.",
        ) from error


def own_files(path: Path, format: str) -> tuple[str, ...]:
    """What in the folder `path` belongs to the SAE of `format` that is there and can be read; nothing if there is none.

    Names are those of its files or, where they are in folders, of these.
    """
    found = _format(path)
    if found is None or found.name != format:
        return ()
    try:
        return tuple({name.split("/")[0] for name in found.describe(FolderSource(path)).files})
    except FormatError:  # a damaged one: only what has the same names is replaced
        return ()


def _format(path: Path) -> Format | None:
    """The format of the SAE in the folder `path` itself."""
    if not path.is_dir() or path.is_symlink():
        return None
    try:
        return registry.match(FolderSource(path))
    except FormatError:  # a crowded folder
        return None
