"""dictionary_learning's checkpoints ``checkpoints/ae_{step}.pt`` below a trainer's folder, whose ``config.json`` they
share. Each is a state dict like ``ae.pt``, with its biases already scaled for raw activations."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from saewidgets.errors import FormatError
from saewidgets.formats.base import Description, Format
from saewidgets.formats.dictionary_learning_files import CONFIG_FILE, description, load_file, read_config
from saewidgets.formats.foreign import only
from saewidgets.formats.source import FolderSource, Source
from saewidgets.sae import SAE

_FILE = re.compile(r"ae_([0-9]{1,9})\.pt")


def matches(source: Source) -> bool:
    """By the name of a file."""
    return any(_FILE.fullmatch(name) for name in source.files())


def describe(source: Source) -> Description:
    """What the trainer's configuration says, and whether the tensors agree.

    Raises:
        FormatError: the configuration, which is in the folder above, cannot be reached from here.
    """
    file = only(source, _FILE, "ae_….pt")
    return description(FORMAT.name, read_config(_trainer(source)), source, file, (file,))


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in the file `folder`, frozen."""
    source = FolderSource(folder)
    about = describe(source)
    config = read_config(_trainer(source))
    sae = load_file(about, config, source, about.files[0], device=device, dtype=dtype)
    if found := _FILE.fullmatch(about.files[0]):
        sae.metadata["training_step"] = int(found[1])
    return sae


def _trainer(source: Source) -> FolderSource:
    """The folder with ``config.json``: around ``checkpoints``, or the file's own."""
    if not isinstance(source, FolderSource):
        raise FormatError(
            f"What a checkpoint is stands in {CONFIG_FILE} of the trainer's folder, which is not fetched with it.",
            where=source.label, hint="Take the trainer's ae.pt, or download its whole folder and load the checkpoint.",
        )
    for folder in (source.folder, source.folder.parent):
        found = FolderSource(folder, 0)
        if CONFIG_FILE in found.files():
            return found
    raise FormatError(
        f"What a checkpoint is stands in {CONFIG_FILE} of the trainer's folder, which is missing.",
        where=str(source.folder.parent), hint=f"Put {CONFIG_FILE} into the folder around {source.folder.name}.",
    )


FORMAT = Format(
    "dictionary_learning_checkpoint", "dictionary_learning checkpoint", matches, describe, load, single_file=True
)
