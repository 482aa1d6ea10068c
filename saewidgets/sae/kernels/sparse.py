"""Reconstruction from few active latents, and its exact gradient, touching only those latents.

Both directions are weighted sums of rows (`embedding_bag`): forward, the active decoder rows of each token; backward,
for each latent, the rows of the tokens that used it. Bags are summed in order, so results do not depend on chance.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from saewidgets.sae.kernels.select import SparseCode


def reconstruct(
    x: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor, code: SparseCode, centred: bool
) -> Tensor:
    """[batch, d_out]: ``f @ W_dec + b_dec`` for the latents in `code`, which came from `x`.

    Gradients reach all four weights as if f had been computed densely: active latents pass their gradient on to the
    encoder, all others are zero. `x` gets none. `centred` says that b_dec was subtracted from `x` for the encoder.
    """
    return _apply(x, W_enc, b_enc, W_dec, b_dec, code, centred).squeeze(0)


def reconstruct_nested(
    x: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor, code: SparseCode, centred: bool,
    widths: Sequence[int],
) -> Tensor:
    """[len(widths), batch, d_out]: the same for the first ``widths[g]`` latents alone. The last width is all of them.

    Every active latent is added once, where it comes in; the rest are sums of what is there.
    """
    level = torch.bucketize(code.latents, torch.tensor(widths[:-1]), right=True)
    bags = level * x.shape[0] + code.rows()
    order = bags.argsort(stable=True)
    counts = torch.bincount(bags, minlength=len(widths) * x.shape[0])
    split = SparseCode(code.latents[order], code.values[order], counts.cumsum(0) - counts)
    return _apply(x, W_enc, b_enc, W_dec, b_dec, split, centred)


def _apply(
    x: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor, code: SparseCode, centred: bool
) -> Tensor:
    out: Tensor = _Reconstruct.apply(x, W_enc, b_enc, W_dec, b_dec, code, centred)  # type: ignore[no-untyped-call]
    return out


def bag_sum(table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """out[i] = Σ_j weights[j] · table[rows[j]] for j from offsets[i] up to offsets[i + 1]."""
    return F.embedding_bag(rows, table, offsets, mode="sum", per_sample_weights=weights)


class _Reconstruct(torch.autograd.Function):
    """[levels, batch, d_out]; `code` has the rows of the batch once per level, and a level includes those before."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor, code: SparseCode, centred: bool
    ) -> Tensor:
        ctx.save_for_backward(x, W_enc, W_dec, b_dec)
        ctx.code, ctx.centred = code, centred
        levels = bag_sum(W_dec, code.latents, code.values, code.offsets).view(-1, x.shape[0], W_dec.shape[1])
        levels[0] += b_dec
        for level in range(1, len(levels)):
            levels[level] += levels[level - 1]
        return levels

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, W_enc, W_dec, b_dec = ctx.saved_tensors
        code: SparseCode = ctx.code
        grad = grad.float()
        if len(grad) > 1:  # what came in at a level is in all later ones
            grad = grad.flip(0).cumsum(0).flip(0)
        d_b_dec = grad[0].sum(0)
        grad = grad.reshape(-1, W_dec.shape[1])
        order = code.latents.argsort(stable=True)  # by latent, then by row
        counts = torch.bincount(code.latents, minlength=W_dec.shape[0])
        offsets = counts.cumsum(0) - counts
        rows, values = code.rows()[order], code.values[order]
        with torch.enable_grad():
            weights = values.requires_grad_()
            d_W_dec = bag_sum(grad, rows, weights, offsets)
        # The derivative of Σ_i ⟨d_W_dec,i, W_dec,i⟩ by a weight is ⟨grad[row], W_dec[latent]⟩: that latent's gradient.
        (d_values,) = torch.autograd.grad(d_W_dec, weights, W_dec)
        d_values *= values.detach() > 0
        encoder_input = x - b_dec if ctx.centred else x
        d_W_enc = bag_sum(encoder_input, rows % x.shape[0], d_values, offsets).T.contiguous()
        d_b_enc = bag_sum(torch.ones(1, 1), torch.zeros_like(rows), d_values, offsets).view(-1)
        if ctx.centred:  # b_dec also shifts every encoder input: Σ over the batch of d_pre @ W_encᵀ
            d_b_dec -= W_enc @ d_b_enc
        return None, d_W_enc, d_b_enc, d_W_dec.detach(), d_b_dec, None, None

