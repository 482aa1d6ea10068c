"""Which files of hidden states are meant, and of which hook points they are. None of them is opened here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from saewidgets.config import arguments
from saewidgets.config.hook_names import HOOK_NAME
from saewidgets.errors import ConfigError, NotFoundError

_STATES = (".pt", ".pth", ".safetensors")


def paths_of(given: str | Path | Sequence[str | Path]) -> Sequence[Path]:
    """Files, those of a folder in the order of their layers."""
    wanted = [given] if isinstance(given, str | Path) else given
    if not isinstance(wanted, Sequence) or not wanted:
        arguments.refuse(given, "paths", "the path of a file, or several", "Give at least one.")
    found: Sequence[Path] = []
    for each in wanted:
        path = arguments.path(each, "paths", "a file of hidden states")
        if not path.is_dir():
            found = [*found, path]
            continue
        inside = [file for file in path.glob("layer_*_states.*") if file.suffix in _STATES and not file.is_symlink()]
        if not inside:
            raise NotFoundError(
                "The folder holds no layer_…_states.pt.", where=str(path), hint="Give the paths of the files."
            )
        found = [*found, *sorted(inside, key=lambda file: (len(file.name), file.name))]
    return found


def hook_names_of(given: str | Sequence[str] | None, files: Sequence[tuple[Path, int | None]]) -> tuple[str, ...]:
    """The hook point of every file."""
    if given is None:
        for path, layer in files:
            if layer is None:
                raise ConfigError(
                    f"{path.name} does not say of which layer it is.", where="hook_names",
                    hint='Say it: hook_names="blocks.6.hook_resid_post".',
                )
        names = tuple(f"blocks.{layer}.hook_resid_post" for _, layer in files)
    else:
        names = (given,) if isinstance(given, str) else tuple(given)
    if len(names) != len(files):
        raise ConfigError(
            f"There are {len(files):,} files and {len(names):,} hook names.", where="hook_names",
            hint="Name one for each file, in their order.",
        )
    for name in names:
        if not isinstance(name, str) or not HOOK_NAME.fullmatch(name):
            arguments.refuse(name, "hook_names", "a hook name", "Use names such as blocks.6.hook_resid_post.")
    if len(set(names)) < len(names):
        raise ConfigError("Two files are of the same hook point.", where="hook_names", hint="Import each once.")
    return names
