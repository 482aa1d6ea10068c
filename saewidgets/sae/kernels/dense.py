"""One pass over the batch for architectures whose latents are dense while training: loss and gradients together.

Blocks of rows go encoder → activation → decoder → error and straight back again, in buffers that are reused, so that
only one block of latents exists at any time. Since the gradient is computed with the loss, `backward` only scales it.
"""

import torch
from torch import Tensor

from saewidgets.products import product
from saewidgets.sae.kernels.blocked import KnownGradients, row_weight
from saewidgets.sae.kernels.select import autocast_dtype, block_rows

_aten = torch.ops.aten


class Activation:
    """An activation function with its sparsity penalty, fed block by block. Sums run over all rows seen so far.

    Attributes:
        learned: [d_sae], what gets a gradient besides the weights, or None; `d_learned` is that gradient.
        bias: [d_sae] that the penalty adds to the gradient of active latents, or None (times `weight`).
        weight: what one row counts for in gradients; set before the first block.
        active: number of active latents; `sums`: [d_sae], what they add up to.
    """

    learned: Tensor | None = None
    d_learned: Tensor | None = None
    bias: Tensor | None = None

    def __init__(self, d_sae: int, coefficient: float) -> None:
        self.coefficient = coefficient
        self.weight = 1.0
        self.active = 0
        self.sums = torch.zeros(d_sae)

    @property
    def fired(self) -> Tensor:
        """bool [d_sae]: latents active at least once."""
        return self.sums > 0

    def _count(self, latents: Tensor, scratch: Tensor) -> Tensor:
        """`latents` of one block, after they were added to the sums."""
        self.sums += latents.sum(0)
        # count_nonzero branches on every entry and takes six times as long where they are as good as random
        positive = torch.gt(latents, 0, out=scratch).sum(1)
        self.active += int(positive.sum(dtype=torch.float64))  # exact: a row has at most 2²⁴ entries
        return latents

    def forward(self, pre: Tensor, scratch: Tensor) -> Tensor:
        """Latents of one block [rows, d_sae], in place of its pre-activations; `scratch` of that shape is free."""
        raise NotImplementedError

    def backward(self, d_latents: Tensor) -> Tensor:
        """Gradient of the last block's pre-activations, in place of its latents' (which includes `bias`)."""
        raise NotImplementedError

    def decoder_gradient(self) -> Tensor | None:
        """The penalty's own gradient with respect to W_dec, or None."""
        return None

    def penalty(self) -> Tensor:
        """The penalty summed over rows: 0-d float32."""
        raise NotImplementedError


class ReLUActivation(Activation):
    """ReLU with the penalty coefficient · Σ f_i ‖W_dec,i‖."""

    def __init__(self, W_dec: Tensor, coefficient: float) -> None:
        super().__init__(len(W_dec), coefficient)
        self.W_dec = W_dec
        self.norms = W_dec.norm(dim=1)
        self.bias = coefficient * self.norms

    def forward(self, pre: Tensor, scratch: Tensor) -> Tensor:
        self.latents = self._count(pre.relu_(), scratch)
        return self.latents

    def backward(self, d_latents: Tensor) -> Tensor:
        _aten.threshold_backward.grad_input(d_latents, self.latents, 0, grad_input=d_latents)
        return d_latents

    def decoder_gradient(self) -> Tensor | None:
        shares = self.weight * self.coefficient * self.sums / self.norms.clamp_min(1e-8)
        gradient: Tensor = self.W_dec * shares[:, None]
        return gradient

    def penalty(self) -> Tensor:
        return torch.dot(self.sums, self.norms) * self.coefficient


class JumpReLUActivation(Activation):
    """JumpReLU with the penalty coefficient · (number of active latents); positive thresholds only.

    Thresholds get the straight-through gradient of `saewidgets.sae.jumprelu`.
    """

    d_learned: Tensor

    def __init__(self, threshold: Tensor, bandwidth: float, coefficient: float) -> None:
        super().__init__(len(threshold), coefficient)
        self.learned = threshold if threshold.requires_grad else None
        self.threshold = threshold.detach()
        self.half = bandwidth / 2
        self.d_learned = torch.zeros_like(self.threshold)
        self._buffers = torch.empty(2, 0, 0)

    def forward(self, pre: Tensor, scratch: Tensor) -> Tensor:
        if self._buffers.shape[1] < pre.shape[0]:
            self._buffers = torch.empty(2, *pre.shape)
        # p - θ > 0 exactly where p > θ: subtraction of floats never rounds to zero or across it
        self.above = torch.sub(pre, self.threshold, out=self._buffers[0, : pre.shape[0]])
        _aten.threshold_backward.grad_input(pre, self.above, 0, grad_input=pre)
        return self._count(pre, scratch)

    def backward(self, d_latents: Tensor) -> Tensor:
        scratch = self._buffers[1, : d_latents.shape[0]]
        penalty = torch.tensor(self.weight * self.coefficient)
        torch.addcmul(penalty, d_latents, self.threshold, out=scratch)
        # the gradient of a clamp is the window: kept strictly inside (-ε/2, ε/2), zero elsewhere
        _aten.hardtanh_backward.grad_input(scratch, self.above, -self.half, self.half, grad_input=scratch)
        self.d_learned -= scratch.sum(0) / (2 * self.half)
        _aten.threshold_backward.grad_input(d_latents, self.above, 0, grad_input=d_latents)
        return d_latents

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
    batch, with_gradient, dtype = x.shape[0], torch.is_grad_enabled(), autocast_dtype()
    activation.weight = row_weight(batch)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):  # which products run in `dtype` is decided one by one
        inputs = (x - b_dec if centred else x).to(dtype)
        enc, dec = W_enc.to(dtype), W_dec.to(dtype)
        reconstruction = torch.empty_like(target)
        squared = torch.zeros((), dtype=torch.float64)
        rows = min(block_rows(len(W_dec)), batch)
        scratch = torch.empty(rows, len(W_dec))
        if with_gradient:
            d_W_enc, d_W_dec = torch.zeros_like(W_enc), torch.zeros_like(W_dec)
            d_b_enc, d_b_dec = torch.zeros_like(b_enc), torch.zeros_like(b_dec)
            d_target = torch.empty_like(target) if target.requires_grad else None
            bias = None if activation.bias is None else activation.bias * activation.weight
        for start in range(0, batch, rows):
            block = slice(start, min(start + rows, batch))
            count = block.stop - start
            f = activation.forward(_float_product(inputs[block], enc, b_enc), scratch[:count])
            low_f = f.to(dtype)
            reconstruction[block] = _float_product(low_f, dec, b_dec)
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
            d_pre = activation.backward(_float_product(low_error, dec.T, bias))
            _accumulate(d_W_enc, inputs[block].T, d_pre.to(dtype))
            d_b_enc += d_pre.sum(0)
            d_b_dec += error.sum(0)
        mse, penalty = (squared / batch).float(), activation.penalty() / batch
        if with_gradient:
            own = activation.decoder_gradient()
            if own is not None:
                d_W_dec += own
            if centred:  # b_dec also shifts every encoder input: Σ over the batch of d_pre @ W_encᵀ
                d_b_dec -= W_enc @ d_b_enc
    total = mse + penalty
    if with_gradient:
        d_learned = None if activation.learned is None else activation.d_learned
        total = KnownGradients.apply(  # type: ignore[no-untyped-call]
            total, [d_target, d_W_enc, d_b_enc, d_W_dec, d_b_dec, d_learned], 1 / (batch * activation.weight),
            target, W_enc, b_enc, W_dec, b_dec, activation.learned,
        )
    return total, mse, penalty, reconstruction


def _float_product(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    """``a @ b + bias`` in float32, whatever the dtype of a and b."""
    if a.dtype == torch.float32:
        return product(a, b, bias)
    out = (a @ b).float()
    return out if bias is None else out.add_(bias)


def _accumulate(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a @ b; sums over blocks stay in float32."""
    if a.dtype == torch.float32:
        total.addmm_(a, b)
    else:
        total.add_(a @ b)
