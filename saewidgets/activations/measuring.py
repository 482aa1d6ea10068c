"""What is measured of activations before training: their mean norm, or their mean and covariance."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from saewidgets.errors import ConfigError

_HINT = "The model produces no usable numbers there; try another precision (model_dtype) or hook point."


class Measure(Protocol):
    """Running sums over rows."""

    def add(self, rows: Tensor) -> None:
        """Take in `rows` [n, width], in any number format."""


class MeanNorm:
    """The factor that brings the mean norm of the rows to √width."""

    def __init__(self, name: str, width: int) -> None:
        self._name, self._width = name, width
        self._total, self._count = 0.0, 0

    def add(self, rows: Tensor) -> None:
        self._total += float(rows.float().norm(dim=-1).double().sum())
        self._count += len(rows)

    def factor(self) -> float:
        """``sqrt(width) / mean ‖x‖``. Raises `ConfigError` where the rows are all zero or not finite."""
        mean = self._total / max(self._count, 1)
        if not 0 < mean < float("inf"):
            raise ConfigError(
                f"The mean norm of the activations at {self._name} is {mean}.", where="hook_name", hint=_HINT
            )
        return float(self._width**0.5 / mean)


class Covariance:
    """Mean and covariance of the rows, in float64."""

    def __init__(self, name: str, width: int) -> None:
        self._name, self._width = name, width
        self._count = 0
        self._sum = torch.zeros(width, dtype=torch.float64)
        self._outer = torch.zeros(width, width, dtype=torch.float64)

    def add(self, rows: Tensor) -> None:
        if rows.device.type == "mps":  # it has no float64
            rows = rows.cpu()
        rows = rows.double()
        self._sum, self._outer = self._sum.to(rows.device), self._outer.to(rows.device)
        self._sum += rows.sum(0)
        self._outer.addmm_(rows.T, rows)
        self._count += len(rows)

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean [width] and covariance [width, width] (over n - 1), float64 on the device of the rows.

        Raises:
            ConfigError: the rows do not vary or are not finite.
        """
        mean = self._sum / max(self._count, 1)
        covariance = (self._outer - self._count * torch.outer(mean, mean)) / max(self._count - 1, 1)
        variance = float(covariance.trace())
        if not 0 < variance < float("inf"):
            raise ConfigError(
                f"The variance of the activations at {self._name} is {variance}.", where="hook_name", hint=_HINT
            )
        return mean, covariance
