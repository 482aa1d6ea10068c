"""Losses that are sums over rows, differentiated block by block: only one block's latents exist at any time.

For architectures whose latents are dense while training and that `dense.py` has no hand-written pass for. The formulas
are plain torch operations, the same that run on the whole batch anywhere else.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from saewidgets.sae.kernels.select import autocast_dtype, block_rows
from saewidgets.sae.mesh import Group


class View(Protocol):
    """The latents of some rows as a loss sees them: all (`Whole`), or only those that can be active (`sparse.Few`).
    What is called values has one number for each: [rows, d_sae] or [n]."""

    @property
    def pre(self) -> Tensor:
        """Values: pre-activations."""

    def each(self, vector: Tensor) -> Tensor:
        """`vector` [d_sae] as values, or such that it can be combined with them."""

    def sum(self, values: Tensor) -> Tensor:
        """The sum over latents: [rows]."""

    def decode(self, f: Tensor) -> Tensor:
        """What the values `f` of the latents reconstruct: [rows, d_out]."""

    def active(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """How many are positive, 0-d; and of which latents any is, bool [d_sae]."""


@dataclass(frozen=True, slots=True)
class Whole:
    """`View` of all latents [rows, d_sae]; `group`: the ranks that have the others."""

    pre: Tensor
    decode: Callable[[Tensor], Tensor]
    group: Group

    def each(self, vector: Tensor) -> Tensor:
        return vector

    def sum(self, values: Tensor) -> Tensor:
        return self.group.sum(values.sum(1))

    def active(self, f: Tensor) -> tuple[Tensor, Tensor]:
        active = f.detach() > 0
        return self.group.add(active.sum()), active.any(0)


@dataclass(frozen=True, slots=True)
class Rows:
    """What some rows give: weighted terms by name, each summed over the rows (0-d, float32, with their graph), the
    reconstruction [rows, d_out], and the latents' values as their `View` has them."""

    terms: dict[str, Tensor]
    reconstruction: Tensor
    f: Tensor


@dataclass(frozen=True, slots=True)
class Loss:
    """One batch's loss. Only `total` carries a graph; everything else is detached.

    Attributes:
        total: scalar to call `backward` on; the sum of `terms`.
        terms: weighted contributions by name: always ``"mse"``, then ``"l1"``, ``"l0_penalty"``, ``"aux"``, … as the
            architecture has them.
        mse: mean over the batch of the squared error summed over d_out.
        reconstruction: [batch, d_out], float32.
        l0: mean number of active latents per row.
        fired: bool [d_sae], latents active at least once in the batch.
    """

    total: Tensor
    terms: dict[str, Tensor]
    mse: Tensor
    reconstruction: Tensor
    l0: Tensor
    fired: Tensor


RowLoss = Callable[[View, Tensor, Tensor | None], Rows]
"""The loss of some rows from latents, targets and, if they differ, weights of the rows' squared errors."""


def squares(error: Tensor, weights: Tensor | None) -> Tensor:
    """Sum over all rows of the squared `error` [rows, d_out], each counting `weights` [rows] times: 0-d."""
    return error.pow(2).sum() if weights is None else (error.pow(2).sum(1) * weights).sum()


def whole_loss(row_loss: RowLoss, view: View, target: Tensor, weights: Tensor | None) -> Loss:
    """All rows at once, on any device; the graph is torch's own."""
    rows, count = row_loss(view, target, weights), target.shape[0]
    terms = {name: term / count for name, term in rows.terms.items()}
    total, terms = torch.stack(list(terms.values())).sum(), {name: term.detach() for name, term in terms.items()}
    active, fired = view.active(rows.f)
    return Loss(total, terms, terms["mse"], rows.reconstruction.detach(), active / count, fired)


def row_weight(batch: int) -> float:
    """What one row counts for in gradients.

    float16 has no room for gradients divided by the batch, nor for sums over it that were not divided at all: there
    half of the division (in powers of two, so that nothing is rounded) comes last.
    """
    return 2.0 ** -round(math.log2(batch) / 2) if autocast_dtype() == torch.float16 else 1 / batch


def blocked_loss(
    row_loss: RowLoss, view: Callable[[Tensor], View], x: Tensor, target: Tensor, weights: Tensor | None,
    parameters: Sequence[Tensor], d_sae: int,
) -> Loss:
    """The same on the CPU, block by block of `x` and its `view`. `total` has a graph to those of `parameters` that want
    a gradient, and can be differentiated once."""
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    count = x.shape[0]
    step = min(block_rows(d_sae), count)
    weight = row_weight(count)
    with_gradient = torch.is_grad_enabled() and bool(parameters)
    gradients = [torch.zeros_like(parameter) for parameter in parameters] if with_gradient else []
    sums: dict[str, Tensor] = {}
    reconstruction, active = torch.empty_like(target), 0
    fired = torch.zeros(d_sae, dtype=torch.bool)
    for start in range(0, count, step):
        block = slice(start, min(start + step, count))
        latents = view(x[block])
        rows = row_loss(latents, target[block], None if weights is None else weights[block])
        for name, term in rows.terms.items():
            sums[name] = sums.get(name, torch.zeros((), dtype=torch.float64)) + term.detach().double()
        reconstruction[block] = rows.reconstruction.detach()
        number, here = latents.active(rows.f)
        active += int(number)
        fired |= here
        if with_gradient:
            total = torch.stack(list(rows.terms.values())).sum() * weight
            for kept, found in zip(gradients, torch.autograd.grad(total, parameters), strict=True):
                kept += found
    terms = {name: (value / count).float() for name, value in sums.items()}
    value = torch.stack(list(terms.values())).sum()
    if with_gradient:
        scale = 1 / (count * weight)
        value = KnownGradients.apply(value, gradients, scale, *parameters)  # type: ignore[no-untyped-call]
    return Loss(value, terms, terms["mse"], reconstruction, torch.tensor(active / count), fired)


class KnownGradients(torch.autograd.Function):
    """A value whose gradients, but for the factor `scale`, are known already; it can be differentiated once."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, gradients: list[Tensor | None], scale: float, *inputs: Tensor | None
    ) -> Tensor:
        ctx.gradients, ctx.scale = gradients, scale
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError("This loss was already differentiated; compute it again for a second backward.")
        factor = float(grad) * ctx.scale
        return None, None, None, *(g if g is None or factor == 1.0 else g.mul_(factor) for g in gradients)
