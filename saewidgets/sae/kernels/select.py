"""Selects the active latents: top-k per row and over the whole batch, or all above a bar where those are few, without
holding the dense pre-activations.

The encoder product runs over blocks of rows small enough to stay in cache; of each block only the winners are kept.
Selections are exact and, for a fixed number of threads, the same bit for bit in every call.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saewidgets.products import product

BLOCK_ELEMENTS = 1 << 22  # pre-activations per block: 16 MiB in float32
MIN_ROWS = 32  # fewer rows than this waste the matrix product
FEW = 1 / 12  # of all latents: with more than so many a dense step is as fast
GPU_FEW = 1 / 128  # the same on a GPU: an estimate from its bandwidth and its matrix products (docs/sae.md)
GPUS = ("cuda",)  # types of device that `gpu.py` is for; ROCm calls itself that, too
_GROUP = 32  # neighbouring latents that are first compared as one


@dataclass(frozen=True)
class SparseCode:
    """Entries of a batch, row after row: their latents (int64 [n], of `d_sae`), values (float32 [n]), and where each
    row begins (int64 [batch]). All other entries are inactive. None of it carries a graph."""

    latents: Tensor
    values: Tensor
    offsets: Tensor
    d_sae: int

    @cached_property
    def rows(self) -> Tensor:
        """int64 [n]: the row of every entry."""
        n, number = self.latents.numel(), torch.arange(self.offsets.numel(), device=self.offsets.device)
        ends = F.pad(self.offsets[1:], (0, 1), value=n)
        return torch.repeat_interleave(number, ends - self.offsets, output_size=n)

    @cached_property
    def by_latent(self) -> tuple[Tensor, Tensor]:
        """The entries by latent, then by row (int64 [n]), and where each latent begins among them (int64 [d_sae])."""
        ordered, order = self.latents.sort(stable=True)
        return order, torch.searchsorted(ordered, torch.arange(self.d_sae, device=ordered.device))


def gpu_kernels(tensor: Tensor) -> Any:
    """`kernels.gpu` for tensors that are on one, else None."""
    if tensor.device.type not in GPUS:
        return None
    from saewidgets.sae.kernels import gpu  # imports Triton, which takes more than a second

    return gpu


def autocast_dtype() -> torch.dtype:
    """What matrix products on the CPU should use here: the autocast dtype where autocast is on, else float32."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32


def block_rows(d_sae: int) -> int:
    """Rows of pre-activations per block."""
    return max(MIN_ROWS, BLOCK_ELEMENTS // d_sae)


def pre_activation_blocks(x: Tensor, W_enc: Tensor, b_enc: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(first row, pre-activations [rows, d_sae]) in float32."""
    dtype = autocast_dtype()
    rows, x, W_enc = block_rows(W_enc.shape[1]), x.to(dtype), W_enc.to(dtype)
    buffer = torch.empty(0 if dtype == torch.float32 else min(rows, x.shape[0]), W_enc.shape[1])  # for what is cast
    for start in range(0, x.shape[0], rows):
        block = x[start : start + rows]
        if dtype == torch.float32:
            yield start, product(block, W_enc, b_enc)
        else:
            yield start, buffer[: block.shape[0]].copy_(block @ W_enc).add_(b_enc)  # adding mixed formats is slow


def grouped_topk(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Values and indices of the k largest of every row [rows, n], in no particular order.

    The k largest lie in the k groups with the largest maxima, and are not below the least of those. Few others are not,
    so only they are compared.
    """
    rows, n = pre.shape
    groups = n // _GROUP
    if n % _GROUP or groups < 2 * k:
        return pre.topk(k, dim=1, sorted=False)
    grouped = pre.view(rows, groups, _GROUP)
    maxima, best = grouped.amax(2).topk(k, dim=1, sorted=False)
    candidates = grouped.gather(1, best[:, :, None].expand(rows, k, _GROUP)).view(rows, k * _GROUP)
    # "not below" rather than "above": what is not a number has to be found
    row, where = (candidates < maxima.amin(1, keepdim=True)).logical_not_().nonzero().unbind(1)
    counts = torch.bincount(row, minlength=rows)
    place = torch.arange(len(row)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    left = torch.full((rows, int(counts.max())), -torch.inf).index_put((row, place), candidates[row, where])
    of_left = torch.zeros(left.shape, dtype=torch.int64).index_put((row, place), where)
    values, chosen = left.topk(k, dim=1, sorted=False)
    where = of_left.gather(1, chosen)
    return values, best.gather(1, where // _GROUP) * _GROUP + where % _GROUP


@torch.no_grad()
def topk_code(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> SparseCode:
    """The k largest pre-activations of each row of `x` [batch, d_in] (already centred), negative ones set to zero."""
    kernels = gpu_kernels(x)
    if kernels is not None:
        found, values, offsets = kernels.largest_of_rows(x, W_enc, b_enc, k)
        return SparseCode(found, values, offsets, W_enc.shape[1])
    batch = x.shape[0]
    values = torch.empty(batch, k)
    latents = torch.empty(batch, k, dtype=torch.int64)
    for start, pre in pre_activation_blocks(x, W_enc, b_enc):
        v, i = grouped_topk(pre, k)
        values[start : start + len(v)] = v
        latents[start : start + len(v)] = i
    return SparseCode(latents.view(-1), values.relu_().view(-1), torch.arange(0, batch * k, k), W_enc.shape[1])


def _above(pre: Tensor, bound: float, most: float = math.inf) -> tuple[Tensor, Tensor] | None:
    """Flat positions and values of all entries of `pre` [rows, n] above `bound`, in order of position; None where they
    are more than `most`. "Not at most" rather than "above": what is not a number has to be found."""
    grouped = pre.view(-1, 1 if pre.shape[1] % _GROUP else _GROUP)
    above = (grouped.amax(1) <= bound).logical_not_()
    if above.sum() > most:
        return None
    groups = above.nonzero().view(-1)
    candidates = grouped[groups]
    inside = (candidates <= bound).logical_not_().nonzero()
    if len(inside) > most:
        return None
    return groups[inside[:, 0]] * grouped.shape[1] + inside[:, 1], candidates[inside[:, 0], inside[:, 1]]


def _of_positions(flat: Tensor, values: Tensor, batch: int, d_sae: int) -> SparseCode:
    """The code of entries at the positions `flat`, in their order, of [batch, d_sae]."""
    rows = torch.div(flat, d_sae, rounding_mode="floor")
    counts = torch.bincount(rows, minlength=batch)
    return SparseCode(flat - rows * d_sae, values, counts.cumsum(0) - counts, d_sae)


@torch.no_grad()
def few_code(x: Tensor, W_enc: Tensor, bar: Tensor, below: float) -> SparseCode | None:
    """By how much products of `x` [batch, d_in] and `W_enc` exceed `bar` [d_sae], where they do or are less than
    `below` short of it. None where that is more than `FEW` of the first block, or twice that later on: the answer
    depends on nothing but the arguments, so that a step that is made again goes the same way.
    """
    batch, d_sae = x.shape[0], W_enc.shape[1]
    positions, values, count = [], [], 0
    for start, over in pre_activation_blocks(x, W_enc, -bar):
        most = FEW * d_sae * (2 * (start + len(over)) if start else len(over))
        found = _above(over, -below, most - count)
        if found is None:
            return None
        positions.append(found[0] + start * d_sae)
        values.append(found[1])
        count += found[0].numel()
    return _of_positions(torch.cat(positions), torch.cat(values), batch, d_sae)


@torch.no_grad()
def batch_topk_code(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> SparseCode:
    """The k · batch largest positive pre-activations of the whole batch `x` [batch, d_in] (already centred).

    A lower bound from the first block (twice the expected number of winners) keeps the candidates few; should they
    turn out too few, a second pass takes all positive ones, so the result is exact either way.
    """
    kernels = gpu_kernels(x)
    if kernels is not None:
        found, values, offsets = kernels.largest_of_batch(x, W_enc, b_enc, k)
        return SparseCode(found, values, offsets, W_enc.shape[1])
    batch, d_sae = x.shape[0], W_enc.shape[1]
    keep = k * batch
    for first_try in (True, False):
        bound = None if first_try else 0.0
        positions, values = [], []
        for start, pre in pre_activation_blocks(x, W_enc, b_enc):
            if bound is None:
                sample = min(2 * k * pre.shape[0], pre.numel())
                bound = max(0.0, float(grouped_topk_flat(pre, sample)))
            found = _above(pre, bound)
            assert found is not None  # any number will do
            positions.append(found[0] + start * d_sae)
            values.append(found[1])
        flat, value = torch.cat(positions), torch.cat(values)
        if flat.numel() >= keep or bound == 0.0:
            break
    if flat.numel() > keep:
        winners = value.topk(keep, sorted=False).indices.sort().values
        flat, value = flat[winners], value[winners]
    return _of_positions(flat, value, batch, d_sae)


def grouped_topk_flat(pre: Tensor, count: int) -> Tensor:
    """A value that at most `count` entries of `pre` exceed, near the largest such one: the bound for `_above`."""
    if pre.shape[1] % _GROUP or count >= pre.numel() // _GROUP:
        return pre.view(-1).topk(count, sorted=False).values.amin()
    maxima = pre.view(-1, _GROUP).amax(1)
    return maxima.topk(count, sorted=False).values.amin()
