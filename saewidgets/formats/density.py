"""How often each latent fires, where the files of an SAE say so (SAELens' ``sparsity.safetensors``)."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats.header import FLOATS, read_header
from saewidgets.formats.saelens_read import SPARSITY_FILE
from saewidgets.formats.source import FolderSource
from saewidgets.formats.tensors import read_tensors

NEVER = -10.0  # SAELens writes log10(probability + 1e-10)


def read_log_density(path: Path) -> Tensor | None:
    """log10 of each latent's firing probability [d_sae], float32, at least -10; None where the folder does not say.

    A value that is not a number (a checkpoint of a training that had just begun) counts as never.

    Raises:
        FormatError: the file is there and damaged.
    """
    source = FolderSource(path)
    if SPARSITY_FILE not in source.files():
        return None
    header = read_header(source, SPARSITY_FILE)
    info = header.tensors.get("sparsity")
    if info is None or len(info.shape) != 1 or info.dtype not in FLOATS:
        raise FormatError(
            "There is no list of numbers named 'sparsity'.", where=header.where, hint="Remove the file; it is optional."
        )
    values = read_tensors(source.path(SPARSITY_FILE), header, ["sparsity"], checked=False)["sparsity"].float()
    return values.nan_to_num(nan=NEVER, posinf=0.0, neginf=NEVER).clamp_(NEVER, 0.0)
