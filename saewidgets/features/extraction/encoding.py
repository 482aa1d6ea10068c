"""Defines `ContextChunk` (contexts that are read together) and `Encoder`: which latents fire on which of its rows.

Firings come latent after latent, without the dense matrix of all.

Three ways, the first that fits:

- a latent fires by its own pre-activation alone (ReLU, JumpReLU, BatchTopK at inference): the product is computed
  transposed, a block of latents after the other, so that what fires comes out sorted by latent;
- TopK: the winners of every row, sorted by latent afterwards;
- anything else: `SAE.encode`, of as many whole contexts at once as fit in `DENSE_ELEMENTS`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from saewidgets.features.extraction import ops
from saewidgets.features.store.layout import WINDOW
from saewidgets.products import product
from saewidgets.sae import (
    SAE,
    BatchTopKSAE,
    JumpReLUSAE,
    JumpReLUTranscoderSAE,
    SkipSAE,
    StandardSAE,
    TopKSAE,
    TopKTranscoderSAE,
    TranscoderSAE,
)

NEAR = 5  # firings with the same ids so many positions before and after are the same example
INTERVAL_SAMPLE, TOKEN_SAMPLE = 1, 2  # what a hash is for


@dataclass(frozen=True, slots=True)
class ContextChunk:
    """Contexts that are read together. Rows are the counted positions, in reading order.

    Attributes:
        x: ``[contexts, length, d_in]`` activations, the excluded positions included.
        numbers: ``[contexts]`` their numbers in the packed tokens.
        kept: ``[rows]`` the place of each row among the positions of the chunk.
        stream: ``[rows]`` stream positions.
        padded: ``[rows]`` places that are more than `WINDOW` apart for different contexts.
        context, document: ``[rows]`` which context of the chunk, and which document of all that were read.
        near: ``[rows]`` hash of the ids around.
        draw: ``[rows]`` hash of the stream position, for the samples from intervals.
        last_document: the document in which the chunk ends.
    """

    x: Tensor
    numbers: Tensor
    kept: Tensor
    stream: Tensor
    padded: Tensor
    context: Tensor
    document: Tensor
    near: Tensor
    draw: Tensor
    last_document: int

    @property
    def rows(self) -> int:
        return len(self.kept)

    @property
    def span(self) -> int:
        """Larger than every entry of `padded` by more than `WINDOW`."""
        count, length = self.x.shape[:2]
        return int(count * (length + WINDOW + 1) + WINDOW)


def make_chunk(
    x: Tensor, ids: Tensor, numbers: Tensor, counted: Tensor, documents: Tensor, first_row: int, seed: int
) -> ContextChunk:
    """A chunk of `x` ``[contexts, length, d_in]`` and its `ids`, `counted` and `documents`, each [contexts, length].

    `first_row` contexts were read before it.
    """
    device = x.device
    length = ids.shape[1]
    kept = counted.to(device).view(-1).nonzero().view(-1)
    context = torch.div(kept, length, rounding_mode="floor")
    stream = kept + first_row * length
    return ContextChunk(
        x=x, numbers=numbers, kept=kept, stream=stream, padded=kept + context * (WINDOW + 1), context=context,
        document=documents.to(device).view(-1).index_select(0, kept),
        near=ops.neighbourhood_hash(ids.to(device), NEAR).view(-1).index_select(0, kept),
        draw=ops.hash_of(stream, seed, INTERVAL_SAMPLE), last_document=int(documents[-1, -1]),
    )


_GROUP = 32  # neighbouring latents, represented by the largest
_LEAST = 2.0**-149  # the smallest float32 above zero: what is not positive does not fire


# The k largest of every row, where rows are long and k is small: what TopK SAEs let fire.
#
# The k-th largest of the maxima of groups of neighbours is below the k-th largest value of the row or equal to it, so
# that only what is not below it has to be looked at: hardly more than k.
def winners(pre: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """(row, latent, value), each [n], of the positive ones among the `k` largest of every row of `pre` [rows, d].

    Row by row, the latents of a row ascending; of equal values the lower latents win. NaN is larger than everything.
    """
    rows, width = pre.shape
    if width % _GROUP or width // _GROUP < k:
        return _by_sorting(pre, k)
    maxima = pre.view(rows, -1, _GROUP).amax(2)
    bound = maxima.topk(k, dim=1, sorted=False).values.amin(1)
    if not bool(maxima.sum().isfinite()) and bool(maxima.isnan().any()):  # the sum is the cheaper look
        return _by_sorting(pre, k)
    bound.clamp_min_(_LEAST)
    groups = ops.nonzero((maxima >= bound[:, None]).view(-1))
    of_row = torch.div(groups, width // _GROUP, rounding_mode="floor")
    near = pre.view(-1, _GROUP).index_select(0, groups)
    inside = ops.nonzero((near >= bound.index_select(0, of_row)[:, None]).view(-1))
    values = near.view(-1).index_select(0, inside)
    group = torch.div(inside, _GROUP, rounding_mode="floor")
    row = of_row.index_select(0, group)
    flat = (groups.index_select(0, group) - group) * _GROUP + inside
    order = ops.by_group(row, ops.descending(values))
    chosen = order.index_select(0, ops.nonzero(ops.ranks(row) < k))  # `row` is sorted: the same in either order
    chosen = ops.sorted_keys(chosen)
    row = row.index_select(0, chosen)
    return row, flat.index_select(0, chosen) - row * width, values.index_select(0, chosen)


def _by_sorting(pre: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    best = pre.topk(min(k, pre.shape[1]), dim=1, sorted=False)
    latents, order = best.indices.sort(dim=1)
    values = best.values.gather(1, order)
    row, place = (values <= 0).logical_not_().nonzero().unbind(1)
    return row, latents[row, place], values[row, place]


DENSE_ELEMENTS = 1 << 25  # latents × positions of `SAE.encode` at once: 128 MiB in float32
BLOCK_ELEMENTS = {"cpu": 1 << 20, "cuda": 1 << 25}  # of the transposed product; on the CPU what stays in cache
ROW_ELEMENTS = {"cpu": 1 << 23, "cuda": 1 << 25}  # of the product where latents of a row compete
LEAST_ROWS = 256  # of that product: with fewer, reading the weights takes longer than multiplying
FIRINGS = {"cpu": 1 << 19, "cuda": 1 << 23}  # so many are handled at once, or what one block more brings
CHUNK_TOKENS = {"cpu": 1 << 13, "cuda": 1 << 16}
CHUNK_LATENTS = {"cpu": 1 << 28, "cuda": 1 << 32}  # positions × latents of one chunk: about a second
CHUNK_ELEMENTS = 1 << 25  # activations of one chunk: 128 MiB in float32
TOPK_FIRINGS = 1 << 22  # winners of one chunk

_RELU = (StandardSAE.activate, TranscoderSAE.activate, SkipSAE.activate)
_JUMP = (JumpReLUSAE.activate, JumpReLUTranscoderSAE.activate, BatchTopKSAE.activate)
_TOPK = (TopKSAE.activate, TopKTranscoderSAE.activate)


@dataclass(frozen=True, slots=True)
class Firings:
    """Firings of the latents from `first` to before `last`, sorted by latent and then by row.

    Attributes:
        latents, rows: int64 [n].
        values: float32 [n]; above zero, or not a number.
    """

    first: int
    last: int
    latents: Tensor
    rows: Tensor
    values: Tensor


class Encoder:
    """Finds the firings of one SAE of any architecture, which is in evaluation mode; contexts have `length` tokens."""

    def __init__(self, sae: SAE, length: int) -> None:
        self.sae, self.length = sae, length
        activate = type(sae).activate
        plain = type(sae).encode is SAE.encode and type(sae).pre_activations is SAE.pre_activations
        float32 = sae.W_enc.dtype == torch.float32
        self._kind = "cuda" if sae.W_enc.device.type == "cuda" else "cpu"
        self._find: Callable[[ContextChunk], Iterator[Firings]] = self._dense
        elements = CHUNK_ELEMENTS // sae.d_in
        tokens = min(elements, DENSE_ELEMENTS // sae.d_sae)
        latents = CHUNK_LATENTS[self._kind]
        most = min(CHUNK_TOKENS[self._kind], max(1 << 10, latents // sae.d_sae))
        if plain and float32 and activate in (*_RELU, *_JUMP):
            self._find, tokens = self._by_threshold, elements
            threshold = sae.b_enc.new_zeros(()) if activate in _RELU else sae.threshold.detach()  # type: ignore[operator]
            self._threshold = threshold.to(torch.float32).clamp_min(0).expand(sae.d_sae)
        elif plain and float32 and activate in _TOPK:
            self._k = int(sae.cfg.k)  # type: ignore[attr-defined]
            self._find, tokens = self._by_rank, min(elements, TOPK_FIRINGS // self._k)
        self.contexts = max(1, min(tokens, most) // length)
        """Contexts per chunk: a function of the SAE and the length of a context alone."""

    def firings(self, chunk: ContextChunk) -> Iterator[Firings]:
        """All firings of a chunk: ranges of latents, ascending, that together are all latents."""
        if chunk.rows == 0:
            none = chunk.kept.new_zeros(0)
            yield Firings(0, self.sae.d_sae, none, none, chunk.x.new_zeros(0, dtype=torch.float32))
        else:
            yield from self._find(chunk)

    def _rows(self, chunk: ContextChunk) -> Tensor:
        return chunk.x.view(-1, self.sae.d_in).index_select(0, chunk.kept)

    def _by_threshold(self, chunk: ContextChunk) -> Iterator[Firings]:
        sae = self.sae
        inputs = sae.encoder_input(self._rows(chunk)).T
        W, b = sae.W_enc.detach(), sae.b_enc.detach()
        step = min(sae.d_sae, max(1, BLOCK_ELEMENTS[self._kind] // chunk.rows))

        def blocks() -> Iterator[tuple[int, Tensor, Tensor]]:
            for first in range(0, sae.d_sae, step):
                block = slice(first, min(first + step, sae.d_sae))
                out = product(W[:, block].T, inputs).add_(b[block, None])
                # "not below" rather than "above": what is not a number has to be found
                yield first, out, (out <= self._threshold[block, None]).logical_not_()

        return self._collected(blocks(), chunk.rows)

    def _dense(self, chunk: ContextChunk) -> Iterator[Firings]:
        d_sae = self.sae.d_sae
        f = self.sae.encode(chunk.x).reshape(-1, d_sae)
        if chunk.rows < len(f):
            f = f.index_select(0, chunk.kept)
        step = min(d_sae, max(1, BLOCK_ELEMENTS[self._kind] // chunk.rows))

        def blocks() -> Iterator[tuple[int, Tensor, Tensor]]:
            for first in range(0, d_sae, step):
                block = f[:, first : first + step].T.to(torch.float32).contiguous()
                yield first, block, (block <= 0).logical_not_()

        return self._collected(blocks(), chunk.rows)

    def _collected(self, blocks: Iterator[tuple[int, Tensor, Tensor]], rows: int) -> Iterator[Firings]:
        """(first latent, values, mask), each ``[latents, rows]``, block by block → ranges with enough firings."""
        first, total = 0, 0
        found: list[tuple[Tensor, Tensor, Tensor]] = []

        def joined(last: int) -> Firings:
            latents, where, values = (torch.cat(parts) for parts in zip(*found, strict=True))
            return Firings(first, last, latents, where, values)

        last = 0
        for start, values, mask in blocks:
            last = start + len(values)
            flat = ops.nonzero(mask.view(-1))
            latents = torch.div(flat, rows, rounding_mode="floor")
            found.append((latents + start, flat - latents * rows, values.view(-1).index_select(0, flat)))
            total += len(flat)
            if total >= FIRINGS[self._kind]:
                yield joined(last)
                first, total = last, 0
                found.clear()
        if found:
            yield joined(last)

    def _by_rank(self, chunk: ContextChunk) -> Iterator[Firings]:
        sae, k = self.sae, self._k
        inputs = sae.encoder_input(self._rows(chunk))
        W, b = sae.W_enc.detach(), sae.b_enc.detach()
        step = max(LEAST_ROWS, ROW_ELEMENTS[self._kind] // sae.d_sae)
        parts = []
        for start in range(0, chunk.rows, step):
            rows, latents, values = winners(product(inputs[start : start + step], W, b), k)
            parts.append((rows + start, latents, values))
        rows, latents, values = (torch.cat(found) for found in zip(*parts, strict=True))
        order = ops.by_group(latents, torch.arange(len(latents), dtype=torch.int64, device=latents.device))
        yield Firings(0, sae.d_sae, *(found.index_select(0, order) for found in (latents, rows, values)))
