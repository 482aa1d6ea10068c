"""Paths that are typed on a page, and names of folders made of names of SAEs."""

from __future__ import annotations

import re
from pathlib import Path

from saewidgets.errors import ConfigError


def path_from(text: str) -> Path:
    """A path as the user typed it; relative ones count from the folder of the notebook.

    Raises:
        ConfigError: it is empty, or no path.
    """
    typed = text.strip().strip("\"'")
    if not typed or "\0" in typed:
        raise ConfigError("No folder was given.", where="path", hint="Enter a path on the kernel's machine.")
    try:
        return Path(typed).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # ~nobody
        raise ConfigError(f"{typed[:200]} is no path here: {error}.", where="path", hint="Enter it in full.") from None


def folder_name(name: str, taken: set[str]) -> str:
    """A folder name made of an SAE's name, unlike those in `taken` (to which it is added)."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:100] or "sae"
    found, number = plain, 2
    while found.casefold() in taken:
        found, number = f"{plain}-{number}", number + 1
    taken.add(found.casefold())
    return found
