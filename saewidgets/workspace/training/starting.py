"""The SAE that a training starts from: found in the library, among the trainings, or at a path."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from saewidgets.config import TrainingConfig, arguments
from saewidgets.errors import NotFoundError

if TYPE_CHECKING:
    from saewidgets.training.pretrained import Pretrained
    from saewidgets.workspace.workspace import Workspace

_WHERE = "from_pretrained"


def find_pretrained(workspace: Workspace, named: str) -> Pretrained:
    """The SAE of this id or name, the one that the training of this id has left, or the one at this path.

    Raises:
        NotFoundError: there is none, several have this name, or its files are not here.
        StateError: the training has left none.
    """
    from saewidgets.training.pretrained import Pretrained  # torch: seconds to import

    _, path, label = _locate(workspace, named)
    return Pretrained(path, label)


def checked(workspace: Workspace, config: TrainingConfig) -> TrainingConfig:
    """The configuration with what it starts from named so that it means the same tomorrow: by its id, or by an absolute
    path. One that starts from nothing is returned as it is.

    Raises:
        ConfigError, NotFoundError: there is no such SAE, or training cannot start from it.
    """
    if config.from_pretrained is None:
        return config
    from saewidgets.training.pretrained import check  # torch: seconds to import

    check(config, partial(find_pretrained, workspace))
    return config.replace(from_pretrained=_locate(workspace, config.from_pretrained)[0])


def _locate(workspace: Workspace, named: str) -> tuple[str, Path, str]:
    """Its lasting name, its files, and what a person calls it."""
    if named.startswith("train_"):
        run = workspace.trainings.get(named)
        return run.id, run.sae_path, run.record.name
    try:
        record = workspace.saes.find(named)
    except NotFoundError as error:
        path = arguments.path(named, _WHERE, "the SAE to start from")
        if path.exists():
            return str(path.absolute()), path.absolute(), path.name
        raise NotFoundError(error.what, where=_WHERE, hint=error.hint) from error
    return record.id, workspace.saes.folder_of(record), record.name
