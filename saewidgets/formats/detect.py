"""Which format a path holds: a folder, one of its files, or a folder around exactly one SAE."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from saewidgets.config import arguments
from saewidgets.errors import FormatError, NotFoundError
from saewidgets.formats import registry
from saewidgets.formats.base import Format
from saewidgets.formats.source import FolderSource

_OUTER = 2  # how many folders up a file's SAE may be: checkpoints/final.safetensors
_LISTED = 5
_CONFIGURATIONS = (".json", ".yaml")  # of an SAE that is another file beside or below it


class SeveralSAEsError(FormatError):
    """A folder holds several SAEs; the message lists them."""


@dataclass(frozen=True, slots=True)
class Located:
    """An SAE on this machine: `path` is its folder, or its file where the format is of single files."""

    path: Path
    format: Format

    def source(self) -> FolderSource:
        return FolderSource(self.path)


def locate(path: str | Path) -> Located:
    """The SAE that `path` means.

    Args:
        path: its folder; a file of it; or a folder in which exactly one SAE is.

    Raises:
        NotFoundError: the path does not exist.
        FormatError: no known format, or several SAEs; the message lists what was found.
        ConfigError: `path` is no path.
    """
    path = arguments.path(path, "path", "where an SAE is")
    if not path.exists():
        raise NotFoundError("There is no such file or folder.", where=str(path), hint="Check the path of the SAE.")
    return _of_folder(path) if path.is_dir() else _of_file(path)


def detect_format(path: str | Path) -> str:
    """The name of the format of the SAE at `path` (see `locate`): ``"saelens"``, ``"gemma_scope"``, …

    Raises:
        NotFoundError: the path does not exist.
        FormatError: no known format, or several SAEs; the message lists what was found.
    """
    return locate(path).format.name


def _of_folder(path: Path) -> Located:
    source = FolderSource(path)
    found = list(registry.find_all(source))
    if len(found) == 1:
        return Located(path / found[0].path if found[0].path else path, found[0].format)
    if not found:
        raise registry.unknown(source)
    listed = ", ".join(item.path for item in found[:_LISTED])
    listed += f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    raise SeveralSAEsError(
        f"This folder holds {len(found)} SAEs: {listed}.", where=str(path), hint="Give the path of one of them."
    )


def _of_file(path: Path) -> Located:
    alone = registry.match(FolderSource(path)) if path.is_file() else None
    if alone is not None and alone.single_file:  # a checkpoint lies inside the folder of another SAE
        return Located(path, alone)
    for depth, folder in enumerate(list(path.parents)[:_OUTER]):
        source = FolderSource(folder, depth + 1)
        with contextlib.suppress(FormatError):  # a crowded folder (Downloads) around a single file
            source.files()
            if (format := registry.match(source)) is not None and not format.single_file:
                return Located(folder, format)
    if path.suffix in _CONFIGURATIONS:
        with contextlib.suppress(FormatError):  # beside several SAEs, or none: the file itself is not one
            return _of_folder(path.parent)
    if known := registry.unread([path.name]):
        raise FormatError(known[0], where=str(path), hint=known[1])
    raise FormatError(
        "This is a single file, not an SAE folder.", where=str(path),
        hint="Give the folder of the SAE, with its configuration and its weights.",
    )
