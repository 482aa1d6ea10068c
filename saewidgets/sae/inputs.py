"""What loaded SAEs do to their input before encoding it: normalisation per token, heads laid side by side.

Formulas are SAELens' (6.54), computed in the dtype of the weights. Per token, with μ and σ the mean and the standard
deviation (Bessel's correction) over d_in:

- ``layer_norm``: ``(x - μ) / (σ + 1e-5)``; the reconstruction becomes ``y σ + μ`` (σ alone);
- ``constant_norm_rescale``: ``x c`` with ``c = √d_in / ‖x‖``; the reconstruction becomes ``y / c``. A token of zeros
  has no such c; it gets that of norm one.
"""

from __future__ import annotations

from torch import Tensor

_EPS = 1e-5


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


def has_heads(x: Tensor, d_in: int) -> bool:
    """Whether `x` is [..., heads, d_head] with heads · d_head = d_in, rather than [..., d_in]."""
    return x.dim() > 1 and x.shape[-1] != d_in and x.shape[-1] * x.shape[-2] == d_in
