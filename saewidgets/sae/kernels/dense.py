"""One pass over the batch for architectures whose latents are dense while training: loss and gradients together.

Blocks of rows go encoder → activation → decoder → error and straight back again, in buffers that are reused, so that
only one block of latents exists at any time. Since the gradient is computed with the loss, `backward` only scales it.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from saewidgets.sae.kernels.select import autocast_dtype, block_rows

_aten = torch.ops.aten


class Activation(Protocol):
    """An activation function with its sparsity penalty, fed block by block. Sums run over all rows seen so far.

    Attributes:
        learned: [d_sae], what gets a gradient besides the weights, or None; `d_learned` is that gradient.
        bias: [d_sae] that the penalty adds to the gradient of active latents, or None (times `weight`).
        weight: what one row counts for in gradients; set before the first block.
        active: number of active latents; `fired`: bool [d_sae], those active at least once.
    """

    learned: Tensor | None
    d_learned: Tensor | None
    bias: Tensor | None
    weight: float
    active: int

    @property
    def fired(self) -> Tensor: ...

    def forward(self, pre: Tensor, scratch: Tensor) -> Tensor:
        """Latents of one block [rows, d_sae], in place of its pre-activations; `scratch` of that shape is free."""

    def backward(self, d_latents: Tensor) -> Tensor:
        """Gradient of the last block's pre-activations, in place of its latents' (which includes `bias`)."""

    def decoder_gradient(self) -> Tensor | None:
        """The penalty's own gradient with respect to W_dec, or None."""

    def penalty(self) -> Tensor:
        """The penalty summed over rows: 0-d float32."""


def count_positive(block: Tensor, scratch: Tensor) -> int:
    """How many entries are positive; `scratch` of the same shape is overwritten."""
    # count_nonzero branches on every entry and takes six times as long where they are as good as random
    return int(torch.gt(block, 0, out=scratch).sum(1).sum(dtype=torch.float64))  # exact: a row has at most 2²⁴ entries


class ReLUActivation:
    """ReLU with the penalty coefficient · Σ f_i ‖W_dec,i‖."""

    learned: Tensor | None = None
    d_learned: Tensor | None = None

    def __init__(self, W_dec: Tensor, coefficient: float) -> None:
        self.W_dec = W_dec
        self.norms = W_dec.norm(dim=1)
        self.coefficient = coefficient
        self.bias: Tensor | None = coefficient * self.norms
        self.weight = 1.0
        self.active = 0
        self.sums = torch.zeros_like(self.norms)

    @property
    def fired(self) -> Tensor:
        return self.sums > 0

    def forward(self, pre: Tensor, scratch: Tensor) -> Tensor:
        self.latents = pre.relu_()
        self.sums += pre.sum(0)
        self.active += count_positive(pre, scratch)
        return pre

    def backward(self, d_latents: Tensor) -> Tensor:
        _aten.threshold_backward.grad_input(d_latents, self.latents, 0, grad_input=d_latents)
        return d_latents

    def decoder_gradient(self) -> Tensor | None:
        shares = self.weight * self.coefficient * self.sums / self.norms.clamp_min(1e-8)
        gradient: Tensor = self.W_dec * shares[:, None]
        return gradient

    def penalty(self) -> Tensor:
        return torch.dot(self.sums, self.norms) * self.coefficient


class JumpReLUActivation:
    """JumpReLU with the penalty coefficient · (number of active latents); positive thresholds only.

    Thresholds get the straight-through gradient of `saewidgets.sae.jumprelu`.
    """

    bias: Tensor | None = None

    def __init__(self, threshold: Tensor, bandwidth: float, coefficient: float) -> None:
        self.learned = threshold if threshold.requires_grad else None
        self.threshold = threshold.detach()
        self.half = bandwidth / 2
        self.coefficient = coefficient
        self.d_learned: Tensor | None = torch.zeros_like(self.threshold)
        self.weight = 1.0
        self.active = 0
        self.sums = torch.zeros_like(self.threshold)
        self._buffers = torch.empty(2, 0, 0)

    @property
    def fired(self) -> Tensor:
        return self.sums > 0

    def forward(self, pre: Tensor, scratch: Tensor) -> Tensor:
        if self._buffers.shape[1] < pre.shape[0]:
            self._buffers = torch.empty(2, *pre.shape)
        # p - θ > 0 exactly where p > θ: subtraction of floats never rounds to zero or across it
        self.above = torch.sub(pre, self.threshold, out=self._buffers[0, : pre.shape[0]])
        _aten.threshold_backward.grad_input(pre, self.above, 0, grad_input=pre)
        self.sums += pre.sum(0)
        self.active += count_positive(pre, scratch)
        return pre

    def backward(self, d_latents: Tensor) -> Tensor:
        assert self.d_learned is not None
        scratch = self._buffers[1, : d_latents.shape[0]]
        penalty = torch.tensor(self.weight * self.coefficient)
        torch.addcmul(penalty, d_latents, self.threshold, out=scratch)
        # the gradient of a clamp is the window: kept strictly inside (-ε/2, ε/2), zero elsewhere
        _aten.hardtanh_backward.grad_input(scratch, self.above, -self.half, self.half, grad_input=scratch)
        self.d_learned -= scratch.sum(0) / (2 * self.half)
        _aten.threshold_backward.grad_input(d_latents, self.above, 0, grad_input=d_latents)
        return d_latents

    def decoder_gradient(self) -> Tensor | None:
        return None

    def penalty(self) -> Tensor:
        return torch.tensor(self.coefficient * self.active)


def dense_step(
    x: Tensor, target: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor, activation: Activation,
    centred: bool, weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(total, mse, penalty, reconstruction [batch, d_out]) of one batch on the CPU in float32.

    Only `total` has a graph: to the weights, `activation.learned` and, where it wants a gradient, `target`; not to
    `x`. It can be differentiated once. Under autocast the matrix products use its dtype and everything else float32.
    `centred` says that the encoder reads ``x - b_dec``; `weights` [batch] how often each row's squared error counts.
    """
    result: tuple[Tensor, Tensor, Tensor, Tensor] = _DenseStep.apply(  # type: ignore[no-untyped-call]
        x, target, W_enc, b_enc, W_dec, b_dec, activation.learned, activation, centred, weights,
        torch.is_grad_enabled(),
    )
    return result


def _product(a: Tensor, b: Tensor, bias: Tensor | None, out: Tensor) -> Tensor:
    """``a @ b + bias`` into the float32 tensor `out`, whatever the dtype of a and b."""
    if a.dtype == torch.float32:
        return torch.mm(a, b, out=out) if bias is None else torch.addmm(bias, a, b, out=out)
    out.copy_(a @ b)
    return out if bias is None else out.add_(bias)


def _accumulate(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a @ b; sums over blocks stay in float32."""
    if a.dtype == torch.float32:
        total.addmm_(a, b)
    else:
        total.add_(a @ b)


class _DenseStep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, target: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor,
        learned: Tensor | None, activation: Activation, centred: bool, weights: Tensor | None, with_gradient: bool,
    ) -> tuple[Tensor, ...]:
        dtype = autocast_dtype()
        with torch.autocast("cpu", enabled=False):  # which products run in `dtype` is decided here, one by one
            return _DenseStep._forward(
                ctx, x, target, W_enc, b_enc, W_dec, b_dec, learned, activation, centred, weights, with_gradient, dtype
            )

    @staticmethod
    def _forward(
        ctx: Any, x: Tensor, target: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor,
        learned: Tensor | None, activation: Activation, centred: bool, weights: Tensor | None, with_gradient: bool,
        dtype: torch.dtype,
    ) -> tuple[Tensor, ...]:
        batch, d_sae = x.shape[0], W_enc.shape[1]
        # float16 has no room for gradients divided by the batch, nor for sums over it that were not divided at all:
        # there half of the division (in powers of two, so that nothing is rounded) comes last.
        activation.weight = 2.0 ** -round(math.log2(batch) / 2) if dtype == torch.float16 else 1 / batch
        inputs = (x - b_dec if centred else x).to(dtype)
        enc, dec = W_enc.to(dtype), W_dec.to(dtype)
        reconstruction = torch.empty_like(target)
        squared = torch.zeros((), dtype=torch.float64)
        rows = min(block_rows(d_sae), batch)
        buffers = torch.empty(2, rows, d_sae)
        if with_gradient:
            d_W_enc, d_W_dec = torch.zeros_like(W_enc), torch.zeros_like(W_dec)
            d_b_enc, d_b_dec = torch.zeros_like(b_enc), torch.zeros_like(b_dec)
            d_target = torch.empty_like(target) if ctx.needs_input_grad[1] else None
            bias = None if activation.bias is None else activation.bias * activation.weight
        for start in range(0, batch, rows):
            block = slice(start, min(start + rows, batch))
            count = block.stop - start
            f = activation.forward(_product(inputs[block], enc, b_enc, buffers[0, :count]), buffers[1, :count])
            low_f = f.to(dtype)
            _product(low_f, dec, b_dec, reconstruction[block])
            error = reconstruction[block] - target[block]
            squares = error.pow(2)
            if weights is not None:
                squares *= weights[block, None]
            squared += squares.sum(dtype=torch.float64)
            if not with_gradient:
                continue
            error *= 2 * activation.weight
            if weights is not None:
                error *= weights[block, None]
            if d_target is not None:
                torch.neg(error, out=d_target[block])
            low_error = error.to(dtype)
            _accumulate(d_W_dec, low_f.T, low_error)
            d_pre = activation.backward(_product(low_error, dec.T, bias, buffers[1, :count]))
            _accumulate(d_W_enc, inputs[block].T, d_pre.to(dtype))
            d_b_enc += d_pre.sum(0)
            d_b_dec += error.sum(0)
        mse, penalty = (squared / batch).float(), activation.penalty() / batch
        ctx.gradients = None
        if with_gradient:
            own = activation.decoder_gradient()
            if own is not None:
                d_W_dec += own
            if centred:  # b_dec also shifts every encoder input: Σ over the batch of d_pre @ W_encᵀ
                d_b_dec -= W_enc @ d_b_enc
            own = None if learned is None else activation.d_learned
            ctx.gradients = [d_target, d_W_enc, d_b_enc, d_W_dec, d_b_dec, own]
            ctx.scale = 1 / (batch * activation.weight)
        ctx.mark_non_differentiable(mse, penalty, reconstruction)
        return mse + penalty, mse, penalty, reconstruction

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError("This loss was already differentiated; compute it again for a second backward.")
        scale = float(grad) * ctx.scale
        if scale != 1.0:
            gradients = [g if g is None else g.mul_(scale) for g in gradients]
        return None, *gradients, None, None, None, None
