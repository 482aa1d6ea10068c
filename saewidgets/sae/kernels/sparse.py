"""Encoder and decoder at few entries of a batch, with their exact gradients, touching only the latents of those.

All are weighted sums of rows (`embedding_bag`): forward, the decoder rows of each token; backward, for each latent, the
rows of the tokens that used it. Bags are summed in order, so results do not depend on chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from saewidgets.sae.kernels.select import SparseCode, gpu_kernels


def encode(
    x: Tensor, W_enc: Tensor, b_enc: Tensor | None, b_dec: Tensor, code: SparseCode, centred: bool
) -> Tensor:
    """[n]: the values in `code`, which are those of ``x @ W_enc + b_enc`` there, with a graph to the weights.

    `x` [batch, d_in] gets no gradient. `centred`: b_dec is subtracted from it first.
    """
    values: Tensor = _Encode.apply(x, W_enc, b_enc, b_dec, code, centred)  # type: ignore[no-untyped-call]
    return values


def decode(f: Tensor, W_dec: Tensor, b_dec: Tensor, code: SparseCode, batch: int) -> Tensor:
    """[levels, batch, d_out]: ``f @ W_dec + b_dec`` for latents that are `f` [n] at the entries of `code` and 0
    elsewhere. A code split by `by_width` has several levels, each with what comes in at those before."""
    levels: Tensor = _Decode.apply(f, W_dec, b_dec, code, batch)  # type: ignore[no-untyped-call]
    return levels


def by_width(code: SparseCode, widths: Sequence[int]) -> SparseCode:
    """The code of len(widths) · batch rows, in which every entry stands in the part of the first width that has it. The
    last width is all latents."""
    batch = code.offsets.numel()
    level = torch.zeros_like(code.latents)
    for width in widths[:-1]:
        level += code.latents >= width
    bags, order = (level * batch + code.rows).sort(stable=True)
    offsets = torch.searchsorted(bags, torch.arange(len(widths) * batch, device=bags.device))
    return SparseCode(code.latents[order], code.values[order], offsets, code.d_sae)


def bag_sum(table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """out[i] = Σ_j weights[j] · table[rows[j]] for j from offsets[i] up to offsets[i + 1]."""
    kernels = _triton(table)
    if kernels is not None:
        return cast(Tensor, kernels.bag_sum(table, rows, weights, offsets))
    return F.embedding_bag(rows, table, offsets, mode="sum", per_sample_weights=weights)


def bag_sum_and_dots(
    table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor, beside: Tensor
) -> tuple[Tensor, Tensor]:
    """`bag_sum`, and ⟨table[rows[j]], beside[i]⟩ for every entry j of bag i: [n]."""
    kernels = _triton(table)
    if kernels is not None:
        return cast(tuple[Tensor, Tensor], kernels.bag_sum_and_dots(table, rows, weights, offsets, beside))
    with torch.enable_grad():
        weights = weights.detach().requires_grad_()
        sums = bag_sum(table, rows, weights, offsets)
    # Σ_i ⟨sums_i, beside_i⟩ has these derivatives by the weights
    (dots,) = torch.autograd.grad(sums, weights, beside)
    return sums.detach(), dots


def _triton(table: Tensor) -> Any:
    """`kernels.gpu` where `table` is on a device on which its sums work, else None."""
    kernels = gpu_kernels(table)
    return kernels if kernels is not None and kernels.works_on(table.device) else None


def _table(tensor: Tensor) -> Tensor:
    """`tensor` as its rows are read: in bfloat16 under its autocast where Triton's kernels take that, else as it is."""
    kernels = _triton(tensor)
    return tensor if kernels is None else tensor.to(kernels.table_dtype(tensor.device))


@dataclass(frozen=True, slots=True)
class Few:
    """`blocked.View` of the latents that can be active: values are [n], one for each entry of `code`.

    Attributes:
        pre: [n], pre-activations, with their graph.
    """

    code: SparseCode
    pre: Tensor
    W_dec: Tensor
    b_dec: Tensor

    def each(self, vector: Tensor) -> Tensor:
        return vector.index_select(0, self.code.latents)

    def sum(self, values: Tensor) -> Tensor:
        return values.new_zeros(self.code.offsets.numel()).index_add(0, self.code.rows, values)

    def decode(self, f: Tensor) -> Tensor:
        return decode(f, self.W_dec, self.b_dec, self.code, self.code.offsets.numel())[0]

    def active(self, f: Tensor) -> tuple[Tensor, Tensor]:
        active = f.detach() > 0
        d_sae = self.code.d_sae  # one place more for what is not active: how much is, a GPU does not say at once
        fired = torch.zeros(d_sae + 1, dtype=torch.bool, device=f.device)
        return active.sum(), fired.index_fill_(0, self.code.latents.where(active, d_sae), True)[:d_sae]


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor | None, b_dec: Tensor, code: SparseCode, centred: bool
    ) -> Tensor:
        ctx.save_for_backward(_table(x - b_dec if centred else x), W_enc)
        ctx.code, ctx.centred, ctx.has_bias = code, centred, b_enc is not None
        return code.values.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, W_enc = ctx.saved_tensors
        order, offsets = ctx.code.by_latent
        d_pre = grad.float()[order]
        rows = ctx.code.rows[order] % x.shape[0]
        d_W_enc = bag_sum(x, rows, d_pre, offsets).T
        sums = bag_sum(d_pre.new_ones(1, 1), torch.zeros_like(rows), d_pre, offsets).view(-1)
        # b_dec also shifts every encoder input: Σ over the batch of d_pre @ W_encᵀ
        d_b_dec = -(W_enc @ sums) if ctx.centred else None
        return None, d_W_enc, sums if ctx.has_bias else None, d_b_dec, None, None


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, f: Tensor, W_dec: Tensor, b_dec: Tensor, code: SparseCode, batch: int) -> Tensor:
        ctx.save_for_backward(f, W_dec)
        ctx.code, table = code, _table(W_dec)
        ctx.dtype = table.dtype
        levels = bag_sum(table, code.latents, f, code.offsets).view(-1, batch, W_dec.shape[1])
        levels[0] += b_dec
        for level in range(1, len(levels)):
            levels[level] += levels[level - 1]
        return levels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        f, W_dec = ctx.saved_tensors
        grad = grad.float()
        if len(grad) > 1:  # what came in at a level is in all later ones
            grad = grad.flip(0).cumsum(0).flip(0)
        order, offsets = ctx.code.by_latent
        table = grad.reshape(-1, W_dec.shape[1]).to(ctx.dtype)
        d_W_dec, found = bag_sum_and_dots(table, ctx.code.rows[order], f[order], offsets, W_dec)
        return torch.empty_like(found).scatter_(0, order, found), d_W_dec, grad[0].sum(0), None, None
