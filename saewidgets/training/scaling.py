"""What the SAE sees of the activations: measured before the first step, and kept in every checkpoint.

Factors are in state.json. The matrices of a whitening are beside the optimiser's tensors: measured a second time, its
eigenvectors may come out with another sign or order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from saewidgets.activations.stream import RowStream
from saewidgets.config.training import TrainingConfig
from saewidgets.errors import FormatError
from saewidgets.sae.scaler import RAW, Scaler, Whitening
from saewidgets.training.checkpoint import OPTIMIZER, Checkpoint

_PREFIX = "whitening."
MEASURED = "measured.safetensors"
"""Name of the file in a run's folder that keeps what is measured, until a checkpoint does."""


def measured(config: TrainingConfig, stream: RowStream, check: Callable[[], None]) -> Scaler:
    """What `config` asks for, of the activations that it reads."""
    match config.activations.normalize:
        case "expected_average_only_in":
            return Scaler(stream.estimate_scale(check), stream.estimate_scale_out(check))
        case "covariance_whitening":
            whitening = Whitening.of_covariance(*stream.estimate_covariance(check))
            return Scaler(whitening=whitening.to("cpu", torch.float64))
        case _:
            return RAW


def words(scaler: Scaler) -> str:
    """What a person reads of it in the log of the run."""
    if scaler.whitening is not None:
        return "Inputs are whitened while training; loss and training FVU are in whitened units."
    targets = "" if scaler.factor_out is None else f", targets by {scaler.factor_out:.6g}"
    return f"Inputs are scaled by {scaler.factor:.6g}{targets} while training."


def state(scaler: Scaler) -> dict[str, Any]:
    """What state.json says of it."""
    return {"scale": scaler.factor, "scale_out": scaler.factor_out, "whitened": scaler.whitening is not None}


def tensors(scaler: Scaler) -> dict[str, Tensor]:
    """What belongs beside the optimiser's tensors."""
    if scaler.whitening is None:
        return {}
    return {f"{_PREFIX}{name}": tensor for name, tensor in scaler.whitening.tensors().items()}


def drop(found: dict[str, Tensor]) -> None:
    """Leave the optimiser's own in `found`."""
    for name in [name for name in found if name.startswith(_PREFIX)]:
        del found[name]


def of_checkpoint(checkpoint: Checkpoint) -> Scaler:
    """That of the run which wrote `checkpoint`. Raises `FormatError` where its file is damaged or incomplete."""
    found = checkpoint.state
    if not found.get("whitened", False):
        scale_out = found.get("scale_out")
        return Scaler(float(found["scale"]), None if scale_out is None else float(scale_out))
    try:
        kept = checkpoint.optimizer(lambda name: name.startswith(_PREFIX))
        return Scaler(whitening=Whitening.of_tensors({k.removeprefix(_PREFIX): v for k, v in kept.items()}))
    except KeyError as error:
        raise FormatError(
            f"The run whitens its inputs, and {error} of that is missing.", where=str(checkpoint.path / OPTIMIZER),
            hint="Resume from another checkpoint, or retry the run.",
        ) from error
