"""What training did to activations before the SAE saw them, moved into the SAE's weights.

SAELens' checkpoints are saved before this is done: ``activation_scaler.json`` holds a factor s (the SAE was trained on
s·x), or ``activation_whitening.safetensors`` an affine map (it was trained on z = (x - mean)·matrix, x = z·inverse +
mean). Both are linear, so an SAE of raw x with the same latents exists; the formulas are SAELens' own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from saewidgets.errors import FormatError
from saewidgets.formats.header import Header, read_header
from saewidgets.formats.jsonfile import checked, read_json
from saewidgets.formats.source import FolderSource, Source
from saewidgets.formats.tensors import read_tensors
from saewidgets.sae.scaler import Whitening, fold_whitening

SCALER_FILE = "activation_scaler.json"
WHITENING_FILE = "activation_whitening.safetensors"


class _ScalerFile(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)

    scaling_factor: float | None = Field(None, gt=0, lt=1e30)
    has_whitening: bool = True


@dataclass(frozen=True, slots=True)
class Scaler:
    """What is to be folded: a factor, or a whitening in `file` (its matrices are read when they are needed)."""

    file: str
    factor: float | None = None
    source: Source | None = None
    header: Header | None = None

    @property
    def whitening(self) -> bool:
        return self.header is not None


def read_scaler(source: Source, normalize: str, d_in: int) -> Scaler | None:
    """What is still to be folded into the weights, if anything.

    Args:
        source: the folder.
        normalize: cfg.json's `normalize_activations`.
        d_in: width of the activations.

    Raises:
        FormatError: a whitening is needed and missing, or the files contradict the configuration.
    """
    present = source.files()
    where = f"{source.label}/{SCALER_FILE}"
    file = _ScalerFile(scaling_factor=None, has_whitening=True)
    if SCALER_FILE in present:
        file = checked(_ScalerFile, read_json(source, SCALER_FILE), where)
    if normalize == "covariance_whitening":
        if WHITENING_FILE not in present or not file.has_whitening:
            raise FormatError(
                f"The SAE was trained on whitened activations; {WHITENING_FILE}, without which it cannot be used on "
                "raw ones, is missing.",
                where=f"{source.label}/cfg.json: normalize_activations",
                hint="Take the final output of the training or a checkpoint with all its files.",
            )
        header = read_header(source, WHITENING_FILE)
        header.require({"mean": (d_in,), "matrix": (d_in, d_in), "inverse_matrix": (d_in, d_in)})
        return Scaler(WHITENING_FILE, source=source, header=header)
    if file.scaling_factor is None:
        return None
    if normalize != "expected_average_only_in":
        raise FormatError(
            f"There is a factor {file.scaling_factor:g} for the activations, but normalize_activations is "
            f"{normalize!r}.",
            where=f"{where}: scaling_factor", hint="These files belong to different checkpoints.",
        )
    return Scaler(SCALER_FILE, factor=file.scaling_factor)


def fold(tensors: dict[str, Tensor], scaler: Scaler, *, centred: bool) -> None:
    """Let the SAE of `tensors` take raw activations, in place; `centred` is its `apply_b_dec_to_input`."""
    if scaler.factor is not None:
        if "W_enc" in tensors:
            tensors["W_enc"].mul_(scaler.factor)
            tensors["W_dec"].div_(scaler.factor)
        tensors["b_dec"].div_(scaler.factor)  # a tied encoder stays; its latents shrink with the input
        return
    assert isinstance(scaler.source, FolderSource)
    assert scaler.header is not None
    maps = read_tensors(scaler.source.path(WHITENING_FILE), scaler.header, dtype=torch.float64)
    fold_whitening(tensors, Whitening.of_tensors(maps), centred=centred)


def fold_decoder_norm(tensors: dict[str, Tensor]) -> bool:
    """Turn ``top_k(p · ‖W_dec‖)`` decoded with ``f / ‖W_dec‖`` into the same function without the norms, in place.

    False if all norms were one already.
    """
    norms = tensors["W_dec"].norm(dim=1).clamp_min(1e-8)
    if torch.allclose(norms, torch.ones_like(norms), atol=1e-6):
        return False
    tensors["W_enc"].mul_(norms)
    tensors["b_enc"].mul_(norms)
    tensors["W_dec"].div_(norms[:, None])
    return True
