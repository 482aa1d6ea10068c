"""dictionary_learning: ``config.json`` and the pickled state dict ``ae.pt``. It is read without unpickling.

`dict_class` in the configuration says which of seven autoencoders it is. With W the encoder's matrix, p = W x̃ + b:

| dict_class | x̃ | f |
|---|---|---|
| AutoEncoder | x − bias | relu(p), decoder columns scaled to norm one, as `load_dictionary` does |
| AutoEncoderNew | x | relu(p) |
| GatedAutoEncoder | x − decoder_bias | relu(exp(r_mag)·W x̃ + mag_bias) where W x̃ + gate_bias > 0 |
| AutoEncoderTopK | x − b_dec | the k largest of relu(p) |
| BatchTopKSAE, MatryoshkaBatchTopKSAE | x − b_dec | relu(p) where it exceeds one threshold for all |
| JumpReluAutoEncoder | x | p where it exceeds the latent's threshold |

While training goes on, ``ae.pt`` is another table with the state dict under ``ae`` and biases still scaled by
`norm_factor`; such a backup is read as what a finished training would have written.
"""

from __future__ import annotations

from pathlib import Path

import torch

from saewidgets.formats.base import Description, Format
from saewidgets.formats.dictionary_learning_files import CONFIG_FILE, WEIGHTS_FILE, description, load_file, read_config
from saewidgets.formats.dictionary_learning_write import save
from saewidgets.formats.source import FolderSource, Source
from saewidgets.sae import SAE

FILES = (CONFIG_FILE, WEIGHTS_FILE)


def matches(source: Source) -> bool:
    """By the names of both files."""
    return all(name in source.files() for name in FILES)


def describe(source: Source) -> Description:
    """What the configuration says, and for files on this machine whether the tensors agree."""
    return description(FORMAT.name, read_config(source), source, WEIGHTS_FILE, FILES)


def load(folder: Path, *, device: torch.device, dtype: torch.dtype | None = None) -> SAE:
    """The SAE in `folder`, frozen."""
    source = FolderSource(folder)
    return load_file(describe(source), read_config(source), source, WEIGHTS_FILE, device=device, dtype=dtype)


FORMAT = Format("dictionary_learning", "dictionary_learning", matches, describe, load, save, config_file=CONFIG_FILE)
