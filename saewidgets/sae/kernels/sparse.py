"""Encoder and decoder at few entries of a batch, with their exact gradients, touching only the latents of those.

All are weighted sums of rows (`embedding_bag`): forward, the decoder rows of each token; backward, for each latent, the
rows of the tokens that used it. Bags are summed in order, so results do not depend on chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from saewidgets.sae.kernels.select import SparseCode


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
    bags = torch.bucketize(code.latents, torch.tensor(widths[:-1]), right=True) * batch + code.rows
    order = bags.argsort(stable=True)
    counts = torch.bincount(bags, minlength=len(widths) * batch)
    return SparseCode(code.latents[order], code.values[order], counts.cumsum(0) - counts, code.d_sae)


def bag_sum(table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """out[i] = Σ_j weights[j] · table[rows[j]] for j from offsets[i] up to offsets[i + 1]."""
    return F.embedding_bag(rows, table, offsets, mode="sum", per_sample_weights=weights)


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
        fired = torch.zeros(self.code.d_sae, dtype=torch.bool)
        fired[self.code.latents[active]] = True
        return active.sum(), fired


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor | None, b_dec: Tensor, code: SparseCode, centred: bool
    ) -> Tensor:
        ctx.save_for_backward(x, W_enc, b_dec)
        ctx.code, ctx.centred, ctx.has_bias = code, centred, b_enc is not None
        return code.values.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, W_enc, b_dec = ctx.saved_tensors
        order, offsets = ctx.code.by_latent
        d_pre = grad.float()[order]
        rows = ctx.code.rows[order] % x.shape[0]
        d_W_enc = bag_sum(x - b_dec if ctx.centred else x, rows, d_pre, offsets).T
        sums = bag_sum(torch.ones(1, 1), torch.zeros_like(rows), d_pre, offsets).view(-1)
        # b_dec also shifts every encoder input: Σ over the batch of d_pre @ W_encᵀ
        d_b_dec = -(W_enc @ sums) if ctx.centred else None
        return None, d_W_enc, sums if ctx.has_bias else None, d_b_dec, None, None


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, f: Tensor, W_dec: Tensor, b_dec: Tensor, code: SparseCode, batch: int) -> Tensor:
        ctx.save_for_backward(f, W_dec)
        ctx.code = code
        levels = bag_sum(W_dec, code.latents, f, code.offsets).view(-1, batch, W_dec.shape[1])
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
        with torch.enable_grad():
            weights = f[order].requires_grad_()
            d_W_dec = bag_sum(grad.reshape(-1, W_dec.shape[1]), ctx.code.rows[order], weights, offsets)
        # The derivative of Σ_i ⟨d_W_dec,i, W_dec,i⟩ by a weight is ⟨grad[row], W_dec[latent]⟩: that latent's gradient.
        (found,) = torch.autograd.grad(d_W_dec, weights, W_dec)
        d_f = torch.empty_like(found)
        d_f[order] = found
        return d_f, d_W_dec.detach(), grad[0].sum(0), None, None
