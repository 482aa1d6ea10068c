"""Float32 matrix products on the CPU by oneDNN, which torch carries beside MKL and uses by itself for bfloat16 only.

MKL leaves AVX-512 unused on AMD's processors: on two Zen 5 cores a product of 256 × 768 and 768 × 16,384 runs at 170 to
200 GFLOP/s there, and at 340 to 470 with oneDNN. Without AVX-512, on other devices and in other formats the product is
torch's own. Which it is depends on the machine alone, so repeated steps have the same bits.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_LINEAR: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # by which torch.compile calls oneDNN, too
if not (torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"):
    _LINEAR = None


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """``a @ b + bias`` of a [..., k] and b [k, n], with a graph to all of them that can be differentiated once."""
    tensors = (a, b) if bias is None else (a, b, bias)
    plain = any(each.dtype != torch.float32 or each.device.type != "cpu" or not each.numel() for each in tensors)
    if _LINEAR is None or plain or torch.is_autocast_enabled("cpu"):
        rows = a.unsqueeze(0).flatten(0, -2)
        return a @ b if bias is None else torch.addmm(bias, rows, b).view(*a.shape[:-1], b.shape[1])
    if torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
        out: Tensor = _Product.apply(a, b, bias)  # type: ignore[no-untyped-call]
        return out
    return _linear(a, b, bias)


def _linear(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    if not (b.is_contiguous() or b.T.is_contiguous()):
        b = b.contiguous()  # of a matrix with gaps oneDNN takes thousands of times as long
    out: Tensor = _LINEAR(a, b.T, bias, "none", [], "")
    return out


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(a, b)
        return _linear(a, b, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        a, b = ctx.saved_tensors
        wants_a, wants_b, wants_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        d_a = _linear(grad, b.T, None) if wants_a else None
        d_b = transposed_product(a.reshape(-1, a.shape[-1]), rows) if wants_b else None
        return d_a, d_b, rows.sum(0) if wants_bias else None


def transposed_product(a: Tensor, b: Tensor) -> Tensor:
    """``a.T @ b`` of a [rows, m] and b [rows, n]. The narrower of both is turned, since oneDNN wants it copied."""
    return product(a.T, b) if a.shape[1] <= b.shape[1] else product(b.T, a).T
