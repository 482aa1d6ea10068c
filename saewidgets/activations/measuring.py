"""What is measured of activations before training: their mean norm, or their mean and covariance. The sums are kept
in a file, so that a run which is left in the middle goes on with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from saewidgets.durable import storage_errors
from saewidgets.errors import ConfigError

_HINT = "The model produces no usable numbers there; try another precision (model_dtype) or hook point."


class Measure(Protocol):
    """Running sums over rows, by name; one of them is "rows", how many there were."""

    sums: dict[str, Tensor]

    def add(self, rows: Tensor) -> None:
        """Take in `rows` [n, width], in any number format."""


class MeanNorm:
    """The factor that brings the mean norm of the rows to √width."""

    def __init__(self, name: str, width: int) -> None:
        self._name, self._width = name, width
        self.sums = {"rows": torch.tensor(0), "norms": torch.tensor(0.0, dtype=torch.float64)}

    def add(self, rows: Tensor) -> None:
        self.sums["norms"] += float(rows.float().norm(dim=-1).double().sum())
        self.sums["rows"] += len(rows)

    def factor(self) -> float:
        """``sqrt(width) / mean ‖x‖``. Raises `ConfigError` where the rows are all zero or not finite."""
        mean = float(self.sums["norms"]) / max(int(self.sums["rows"]), 1)
        if not 0 < mean < float("inf"):
            raise ConfigError(
                f"The mean norm of the activations at {self._name} is {mean}.", where="hook_name", hint=_HINT
            )
        return float(self._width**0.5 / mean)


class Covariance:
    """Mean and covariance of the rows, in float64."""

    def __init__(self, name: str, width: int) -> None:
        self._name, self._width = name, width
        self.sums = {
            "rows": torch.tensor(0), "sum": torch.zeros(width, dtype=torch.float64),
            "outer": torch.zeros(width, width, dtype=torch.float64),
        }  # fmt: skip

    def add(self, rows: Tensor) -> None:
        if rows.device.type == "mps":  # it has no float64
            rows = rows.cpu()
        rows = rows.double()
        self.sums = {name: sum_.to(rows.device) for name, sum_ in self.sums.items()}
        self.sums["sum"] += rows.sum(0)
        self.sums["outer"].addmm_(rows.T, rows)
        self.sums["rows"] += len(rows)

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean [width] and covariance [width, width] (over n - 1), float64 on the device of the rows.

        Raises:
            ConfigError: the rows do not vary or are not finite.
        """
        count = int(self.sums["rows"])
        mean = self.sums["sum"] / max(count, 1)
        covariance = (self.sums["outer"] - count * torch.outer(mean, mean)) / max(count - 1, 1)
        variance = float(covariance.trace())
        if not 0 < variance < float("inf"):
            raise ConfigError(
                f"The variance of the activations at {self._name} is {variance}.", where="hook_name", hint=_HINT
            )
        return mean, covariance


def keep(file: Path, of: str, found: Mapping[str, Measure]) -> None:
    """Write the sums of measures by name, whole or not at all; `of` says of which rows.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    tensors = {f"{of} {name} {key}": each.cpu() for name, one in found.items() for key, each in one.sums.items()}
    with storage_errors("What was measured is not kept", file, "Free some space, then resume."):
        draft = file.with_suffix(".part")
        draft.write_bytes(save(tensors))
        os.replace(draft, file)


def take_up(file: Path, of: str, found: Mapping[str, Measure]) -> int:
    """Go on with what `keep` wrote of the same rows; how many they were, 0 where there is nothing of them."""
    try:
        kept = load(file.read_bytes())
    except (FileNotFoundError, SafetensorError):  # a machine that went down may leave half a file: measured anew
        return 0
    names = {f"{of} {name} {key}": (one, key) for name, one in found.items() for key in one.sums}
    if kept.keys() != names.keys():
        return 0
    for name, (one, key) in names.items():
        one.sums[key] = kept[name]
    return min(int(one.sums["rows"]) for one in found.values())
