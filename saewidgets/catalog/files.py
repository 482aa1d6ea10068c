"""Paths in rows: relative to the workspace folder, so that it can be moved."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from saewidgets.errors import CatalogError


class Files:
    """Translates between paths on this machine and what rows hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(os.path.abspath(folder))

    def stored(self, path: str | Path) -> str:
        """Relative with forward slashes if `path` is inside the workspace, else absolute."""
        absolute = Path(os.path.abspath(self.folder / path))
        try:
            return absolute.relative_to(self.folder).as_posix()
        except ValueError:
            return str(absolute)

    def absolute(self, stored: str) -> str:
        """The path on this machine.

        Raises:
            CatalogError: a relative path leads out of the workspace (the catalog was tampered with).
        """
        if os.sep == "/" and ".." not in stored and not stored.startswith("/"):
            return f"{self.folder}/{stored}"  # a list of thousands translates as many
        if Path(stored).is_absolute():
            return str(Path(stored))
        if ".." in PurePosixPath(stored).parts or ".." in Path(stored).parts:
            raise CatalogError(
                f"The path {stored!r} leads out of the workspace.", where="catalog",
                hint="The catalog was not written by saewidgets, or it is damaged; restore a backup.",
            )
        return str(self.folder / stored)

    def owned(self, stored: str) -> Path:
        """The absolute path of something that may be deleted: really inside the workspace, links followed.

        Raises:
            CatalogError: it is the workspace itself, or outside.
        """
        path = Path(self.absolute(stored))
        real, root = Path(os.path.realpath(path)), Path(os.path.realpath(self.folder))
        if real == root or not real.is_relative_to(root):
            raise CatalogError(
                f"{path} is not inside the workspace {self.folder}.", where="catalog",
                hint="Only files of the workspace are deleted; remove it by hand if it is yours.",
            )
        return path
