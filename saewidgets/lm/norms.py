"""Defines `Norm`: a LayerNorm or RMSNorm, recognised by what it computes rather than by its class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

_EPS_NAMES = ("variance_epsilon", "eps", "epsilon", "norm_eps", "layer_norm_eps")
_TOLERANCE, _HALF_TOLERANCE = 1e-3, 0.02  # relative error in float32, and in 16 bits


@dataclass(frozen=True, slots=True)
class Norm:
    """``gain * normalize(x) + bias`` of a module; `normalize` is the part before gain and bias."""

    centred: bool  # LayerNorm subtracts the mean, RMSNorm does not
    eps: float

    def normalize(self, x: Tensor) -> Tensor:
        """``x / σ``, centred for LayerNorm, along the last dimension; computed in float32, in the dtype of `x`."""
        y = x if x.dtype == torch.float64 else x.float()
        if self.centred:
            y = y - y.mean(-1, keepdim=True)
        return (y / (y.pow(2).mean(-1, keepdim=True) + self.eps).sqrt()).to(x.dtype)

    @classmethod
    def between(cls, module: nn.Module, x: Tensor, y: Tensor) -> Norm | None:
        """The norm that turns `x` into `y`, both ``[tokens, width]`` with several tokens; None if `module` is none.

        Gain and bias are fitted to each channel, so that neither their names nor how they are stored matters.
        """
        eps = epsilon(module)
        half = y.dtype in (torch.float16, torch.bfloat16)
        x, y = x.float(), y.float()
        fits = []
        for norm in (cls(False, eps), cls(True, eps)):
            unit, target = norm.normalize(x), y
            if norm.centred:
                unit, target = unit - unit.mean(0), y - y.mean(0)
            gain = (unit * target).sum(0) / unit.pow(2).sum(0).clamp_min(1e-30)
            error = float((target - gain * unit).norm() / y.norm().clamp_min(1e-30))
            if error < (_HALF_TOLERANCE if half else _TOLERANCE):
                fits.append((error, norm.centred))
        return cls(min(fits)[1], eps) if fits else None


def epsilon(module: nn.Module) -> float:
    """What a norm adds to the variance; 0 if it does not state it."""
    values = (getattr(module, name, None) for name in _EPS_NAMES)
    return next((float(value) for value in values if isinstance(value, float)), 0.0)


@torch.no_grad()
def gain_and_bias(norm: nn.Module, width: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, bool]:
    """γ and bias ``[width]`` of a norm and whether it subtracts the mean, from its answers to x and −x.

    Raises `ValueError` if the module is neither a LayerNorm nor an RMSNorm."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, width, generator=generator) + 0.5 * torch.randn(1, 2, 1, generator=generator)
    x = x.to(device, dtype)
    try:
        plus, minus = (norm.forward(sign * x) for sign in (1, -1))
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{type(norm).__name__} does not take a tensor of width {width:,}") from error
    if not (isinstance(plus, Tensor) and plus.shape == x.shape):
        raise ValueError(f"{type(norm).__name__} is not elementwise")
    y, bias = (plus.float() - minus.float())[0] / 2, (plus.float() + minus.float())[0].mean(0) / 2
    for centred in (True, False):
        unit = Norm(centred, epsilon(norm)).normalize(x.float())[0]
        gain = (y * unit).sum(0) / unit.pow(2).sum(0)
        off = float((y - gain * unit).norm() / y.norm().clamp_min(1e-12))
        if off < (_TOLERANCE if dtype == torch.float32 else _HALF_TOLERANCE):
            return gain, bias, centred
    raise ValueError(f"{type(norm).__name__} is neither a LayerNorm nor an RMSNorm")
