"""Input transformations of SAEs: normalisation per token, and joining heads. They are undone on the output.

Formulas are SAELens' (6.54), computed in the dtype of the weights. Per token, with μ and σ the mean and the standard
deviation (Bessel's correction) over d_in:

- ``layer_norm``: ``(x - μ) / (σ + 1e-5)``; the reconstruction becomes ``y σ + μ`` (σ alone);
- ``constant_norm_rescale``: ``x c`` with ``c = √d_in / ‖x‖``; the reconstruction becomes ``y / c``. A token of zeros
  has no such c; it gets that of norm one.

The loss of such an SAE is that of its reconstruction in the units of the activations, as in SAELens. With y the output
of the decoder, s = σ or 1/c, and m = μ or 0, the error of a token is

    ‖(s y + m) - target‖² = s² ‖y - (target - m) / s‖²

so architectures compute in the SAE's own units, and every row's squared error counts s² times (`Units`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saewidgets.errors import ConfigError

_EPS = 1e-5


@dataclass(frozen=True, slots=True)
class Units:
    """Rows [rows, d_in] of a batch as they came, and what makes activations of the SAE's own units: ``scale · y +
    shift``. `scale` [rows, 1] is None where the output is not brought back (a transcoder's)."""

    raw: Tensor
    scale: Tensor | None = None
    shift: Tensor | None = None

    @classmethod
    def of(cls, kind: str, x: Tensor) -> Units:
        """Those of an SAE that reconstructs its input `x` [rows, d_in]; `kind` is as in `normalise`."""
        if kind == "layer_norm":
            mean = x.mean(-1, keepdim=True)
            return cls(x, (x - mean).std(-1, keepdim=True), mean)
        return cls(x, 1 / _coefficient(x), torch.zeros_like(x[:, :1]))

    @property
    def weights(self) -> Tensor | None:
        """[rows] float32: how often the squared error of each row counts; None: once."""
        return None if self.scale is None else self.scale.float().square().view(-1)

    def own(self, target: Tensor) -> Tensor:
        """What the decoder has to put out for `target` [rows, d_out]."""
        return target if self.shift is None else self.per_scale(target - self.shift)

    def per_scale(self, x: Tensor) -> Tensor:
        """`x` over the scale; where that is zero the error counts nothing, and neither does this."""
        return x if self.scale is None else x / self.scale.masked_fill(self.scale == 0, 1)

    def activations(self, y: Tensor) -> Tensor:
        """The decoder's output `y` [rows, d_out] in the units of the activations."""
        return y if self.scale is None or self.shift is None else y * self.scale + self.shift


def normalise(kind: str, x: Tensor) -> Tensor:
    """`x` [..., d_in] as the encoder sees it; `kind` is the configuration's `normalize_activations`."""
    if kind == "layer_norm":
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.std(-1, keepdim=True) + _EPS)
    if kind == "constant_norm_rescale":
        return x * _coefficient(x)
    return x


def restore(kind: str, y: Tensor, x: Tensor) -> Tensor:
    """The decoder's output `y` [..., d_in] in the units of the input `x` of the same shape."""
    if kind == "layer_norm":
        mean = x.mean(-1, keepdim=True)
        return y * (x - mean).std(-1, keepdim=True) + mean
    if kind == "constant_norm_rescale":
        return y / _coefficient(x)
    return y


def _coefficient(x: Tensor) -> Tensor:
    norm: Tensor = x.norm(dim=-1, keepdim=True)
    coefficient: Tensor = x.shape[-1] ** 0.5 / norm.masked_fill(norm == 0, 1)
    return coefficient


def require_tensor(value: object, where: str) -> None:
    """Raise `ConfigError` where activations or latents came as something else than a tensor."""
    if not isinstance(value, Tensor):
        raise ConfigError(
            f"Expected a tensor, got {type(value).__name__}.", where=where,
            hint="Convert it: torch.as_tensor(values, dtype=torch.float32).",
        )


def require_activations(value: object, where: str) -> None:
    """As `require_tensor`; also where it holds whole numbers: a reconstruction in their dtype would be cut to zeros."""
    require_tensor(value, where)
    if isinstance(value, Tensor) and not value.is_floating_point():
        dtype = str(value.dtype).removeprefix("torch.")
        raise ConfigError(
            f"Activations are floating-point numbers, and this tensor is {dtype}.", where=where,
            hint=f"Token ids are not activations. Convert with {where}.float().",
        )
