"""Muon in float32: momentum whose update is orthogonalised, for the hidden matrices of a small model on a CPU.

Method: Keller Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), with the update scale of
Liu et al., "Muon is scalable for LLM training" (2025). PyTorch's own `torch.optim.Muon` iterates in bfloat16, which
processors without bfloat16 units emulate slowly; here matrices of one shape are stacked and iterated in float32.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# Quintic whose iteration pushes all singular values towards 1 (coefficients of the Muon write-up).
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalise(stack: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration on `[n, rows, cols]`: nearly the closest semi-orthogonal matrix to each one."""
    wide = stack if stack.shape[1] <= stack.shape[2] else stack.transpose(1, 2)
    x = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x if stack.shape[1] <= stack.shape[2] else x.transpose(1, 2)


def _shared_out(stack: Tensor) -> Tensor:
    """Orthogonalise the stack; with several workers each does its part, since all of them hold the same gradients."""
    if not dist.is_initialized() or dist.get_world_size() == 1 or len(stack) % dist.get_world_size():
        return orthogonalise(stack)
    parts = list(torch.empty_like(stack).chunk(dist.get_world_size()))
    dist.all_gather(parts, orthogonalise(stack.chunk(dist.get_world_size())[dist.get_rank()]).contiguous())
    return torch.cat(parts)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, scaled to the root-mean-square size of an AdamW update."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(tuple(p.shape), []).append(p)
            for (rows, cols), params in by_shape.items():
                grads = torch.stack([p.grad for p in params if p.grad is not None])
                for p in params:
                    if "momentum" not in self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p)
                momenta = torch.stack([self.state[p]["momentum"] for p in params])
                momenta.lerp_(grads, 1 - group["momentum"])
                updates = _shared_out(grads.lerp_(momenta, group["momentum"]))
                scale = 0.2 * max(rows, cols) ** 0.5 * group["lr"]
                for p, momentum, update in zip(params, momenta, updates, strict=True):
                    self.state[p]["momentum"].copy_(momentum)
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-scale)
