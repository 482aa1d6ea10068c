"""Which format a path holds, decided by the files that are there and never by their contents."""

from __future__ import annotations

from pathlib import Path

from saewidgets.errors import FormatError, NotFoundError
from saewidgets.formats import saelens

_LISTED = 8


def sae_folder(path: str | Path) -> Path:
    """The folder that `path` means: itself, or the folder of the configuration or weights file it names."""
    path = Path(path).expanduser()
    if not path.exists():
        raise NotFoundError("There is no such file or folder.", where=str(path), hint="Check the path of the SAE.")
    return path.parent if path.name in saelens.FILES else path


def detect_format(path: str | Path) -> str:
    """The name of the format in `path` (a folder, or one of its files): ``"saelens"``.

    Raises:
        NotFoundError: the path does not exist.
        FormatError: no known format; the message lists what was found.
    """
    folder = sae_folder(path)
    if not folder.is_dir():
        raise FormatError(
            "This is a single file, not an SAE folder.", where=str(folder), hint=f"An SAE is a folder with {_WANTED}."
        )
    names = sorted(entry.name for entry in folder.iterdir())
    if all(name in names for name in saelens.FILES):
        return "saelens"
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    raise FormatError(
        f"This is not an SAE in a known format; it holds {listed or 'nothing'}.", where=str(folder),
        hint=f"A SAELens SAE has {_WANTED}.",
    )


_WANTED = " and ".join(saelens.FILES)
