"""Loading and saving in whatever format."""

from __future__ import annotations

from pathlib import Path

import torch

from saewidgets.errors import ConfigError
from saewidgets.formats import saelens
from saewidgets.formats.detect import detect_format, sae_folder
from saewidgets.sae import SAE


def load_sae(path: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> SAE:
    """The SAE in `path`, frozen and ready for inference.

    Args:
        path: a folder, or its configuration or weights file.
        device: where the weights go.
        dtype: number format of the weights; None keeps what the file declares.

    Raises:
        NotFoundError: the path does not exist.
        FormatError: the format is unknown, or a file is not what its configuration says. Nothing is unpickled and
            sizes are checked before memory is taken.
    """
    detect_format(path)  # one format so far: knowing it means it is this one
    return saelens.load(sae_folder(path), device=torch.device(device), dtype=dtype)


def save_sae(sae: SAE, path: str | Path, format: str = "saelens") -> Path:
    """Write `sae` as it is used for inference into the folder `path`, whole or not at all; returns the folder.

    An SAE that is already there is replaced. `sae.metadata` (model_name, hook_name, …) goes into the file.

    Raises:
        ConfigError: there is no such format.
        StorageError: the folder holds something else, or cannot be written.
    """
    if format != "saelens":
        raise ConfigError(f"There is no format {format!r}.", where="format", hint="Use 'saelens'.")
    return saelens.save(sae, Path(path).expanduser())
