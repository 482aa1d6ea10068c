"""Float32 matrix products on AMD's processors by oneDNN, which torch carries beside MKL and uses for bfloat16 only.

MKL leaves AVX-512 unused there: on two Zen 5 cores a product of 256 × 768 and 768 × 16,384 runs at 170 to 200 GFLOP/s,
and at 340 to 470 with oneDNN. Elsewhere and in other formats the product is torch's own. Which it is depends on the
machine alone, so repeated steps have the same bits.
"""

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode


def _onednn() -> Any:
    """What calls oneDNN in code that torch compiled; None where that is no gain."""
    cpu = Path("/proc/cpuinfo")
    name = cpu.read_text(errors="replace") if cpu.exists() else platform.processor()
    wins = torch.backends.cpu.get_cpu_capability() == "AVX512" and "AuthenticAMD" in name
    wins = wins and torch.backends.mkldnn.is_available()
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None) if wins else None


_LINEAR = _onednn()
BY = "torch" if _LINEAR is None else "oneDNN"  # what computes the products


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """``a @ b + bias`` of a [..., k] and b [k, n], with a graph to all of them that can be differentiated once."""
    tensors = (a, b) if bias is None else (a, b, bias)
    if not _is_faster(tensors):
        rows = a.unsqueeze(0).flatten(0, -2)
        return a @ b if bias is None else torch.addmm(bias, rows, b).view(*a.shape[:-1], b.shape[1])
    if torch.is_grad_enabled() and any(each.requires_grad for each in tensors):
        out: Tensor = _Product.apply(a, b, bias)  # type: ignore[no-untyped-call]
        return out
    return _linear(a, b, bias)


def _is_faster(tensors: tuple[Tensor, ...]) -> bool:
    plain = any(each.dtype != torch.float32 or each.device.type != "cpu" or not each.numel() for each in tensors)
    # what torch.compile, vmap and the like take apart has to be torch's own
    is_traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    return _LINEAR is not None and not plain and not is_traced and not torch.is_autocast_enabled("cpu")


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


def fast_layers() -> AbstractContextManager[Any]:
    """A context in which linear layers of a model use `product` where they need no gradient, in this thread alone."""
    return nullcontext() if _LINEAR is None else _FastLayers()


class _FastLayers(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not kwargs and len(args) == 3 and func in (torch.nn.functional.linear, torch.addmm):
            # addmm(bias, x, W) is how GPT-2 has its layers
            x, matrix, bias = args if func is not torch.addmm else (args[1], args[2].T, args[0])
            tensors = (x, matrix) if bias is None else (x, matrix, bias)
            if matrix.dim() == 2 and (bias is None or bias.dim() == 1) and _is_faster(tensors):
                return product(x, matrix.T, bias)
        return func(*args, **(kwargs or {}))
