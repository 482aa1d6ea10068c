"""The histogram of every latent's activations, and a random sample of its firings from each interval of them.

The histogram of a latent goes from 0 to ``2 ** scale`` in `BINS` equal bins, `scale` being the least whole number for
which nothing lies above. When a larger activation comes, neighbouring bins merge in pairs until it fits, which is
exact; intervals are groups of bins and merge with them. Of each interval those firings stay that have the smallest hash
of (seed, latent, stream position): a uniform sample that does not depend on the order in which the text was read.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from saewidgets.features.extraction import hashing, ops
from saewidgets.features.extraction.chunk import INTERVAL_SAMPLE, Chunk
from saewidgets.features.extraction.encoding import Firings
from saewidgets.features.extraction.table import Entries, Table
from saewidgets.features.extraction.windows import WIDTH, Windows
from saewidgets.features.store.layout import BINS, INTERVALS

_LATENT = 3  # what the hash of a latent's number is for
_PER_INTERVAL = BINS // INTERVALS


class Intervals:
    """Histograms and interval samples of `d_sae` latents.

    Attributes:
        histogram: int64 ``[d_sae, BINS]``.
        scale: int64 ``[d_sae]``; 0 for a latent that did not fire.
        max: float32 ``[d_sae]``.
        table: `per_interval` examples in each of ``d_sae · INTERVALS`` cells; None where none are wanted.
    """

    def __init__(self, d_sae: int, per_interval: int, seed: int, device: torch.device) -> None:
        self._seed = seed
        self.histogram = torch.zeros(d_sae, BINS, dtype=torch.int64, device=device)
        self.scale = torch.zeros(d_sae, dtype=torch.int64, device=device)
        self.max = torch.zeros(d_sae, dtype=torch.float32, device=device)
        self._factor = torch.zeros(d_sae, dtype=torch.float64, device=device)  # bins per unit of activation
        self.table = Table(d_sae * INTERVALS, per_interval, device, with_extra=False) if per_interval else None
        # What the hash of a newcomer has to be below: the largest of a full cell.
        self._bound = torch.full((d_sae * INTERVALS if per_interval else 0,), hashing.LARGEST, device=device)
        self._hashes = hashing.of_numbers(torch.arange(d_sae, dtype=torch.int64, device=device), seed, _LATENT)

    def add(self, chunk: Chunk, firings: Firings, groups: Tensor, largest: Tensor, windows: Windows) -> None:
        """Take in the firings of a range of latents; `groups` are those that fire, `largest` their largest values."""
        moved, moved_windows = self._rescale(groups, largest)
        bins = self._bins(firings.latents, firings.values)
        ops.count(self.histogram.view(-1), firings.latents * BINS + bins)
        if self.table is None:
            return
        cells = firings.latents * INTERVALS + torch.div(bins, _PER_INTERVAL, rounding_mode="floor")
        hashes = hashing.combined(
            chunk.draw.index_select(0, firings.rows), self._hashes.index_select(0, firings.latents)
        )
        new = ops.nonzero(hashes < self._bound.index_select(0, cells))
        fresh = Entries(
            cells.index_select(0, new), firings.values.index_select(0, new),
            chunk.stream.index_select(0, firings.rows.index_select(0, new)), hashes.index_select(0, new),
        )
        if moved is not None:
            fresh = Entries.joined([moved, fresh])
        old = 0 if moved is None else len(moved.cells)

        def take(chosen: Tensor) -> Tensor:
            cut = moved_windows.new_zeros(len(chosen), WIDTH)
            before, after = ops.nonzero(chosen < old), ops.nonzero(chosen >= old)
            cut.index_copy_(0, before, moved_windows.index_select(0, chosen.index_select(0, before)))
            firing = new.index_select(0, chosen.index_select(0, after) - old)
            return cut.index_copy_(0, after, windows.of(firing))

        self._set_bounds(self.table.merge(fresh, take, self._rank))

    def _bins(self, latents: Tensor, values: Tensor) -> Tensor:
        """The bin of each value: ``(b, b + 1] · 2 ** scale / BINS``. Exact, the factor being a power of two."""
        scaled = values.double().mul_(self._factor.index_select(0, latents))
        return scaled.ceil_().sub_(1).clamp_(0, BINS - 1).to(torch.int64)

    def _rescale(self, groups: Tensor, largest: Tensor) -> tuple[Entries | None, Tensor]:
        """Make room for the `largest` values of the latents `groups`. Returns the samples that lost their cells."""
        nothing = torch.zeros(0, WIDTH, dtype=torch.float16, device=largest.device)
        grown = ops.nonzero(largest > self.max.index_select(0, groups))
        groups, largest = groups.index_select(0, grown), largest.index_select(0, grown)
        fired = self.max.index_select(0, groups) > 0
        self.max.index_copy_(0, groups, largest)
        scale = _scale(largest)
        by = scale - self.scale.index_select(0, groups)
        self.scale.index_copy_(0, groups, scale)
        self._set_factor(groups)
        merged = ops.nonzero(fired & (by > 0))
        if len(merged) == 0:
            return None, nothing
        groups, by = groups.index_select(0, merged), by.index_select(0, merged).clamp_max(BINS)
        old = self.histogram.index_select(0, groups)
        numbers = torch.arange(BINS, dtype=torch.int64, device=groups.device)
        self.histogram.index_copy_(0, groups, torch.zeros_like(old).scatter_add_(1, numbers >> by[:, None], old))
        if self.table is None:
            return None, nothing
        cells = (groups[:, None] * INTERVALS + numbers[:INTERVALS]).view(-1)
        found, windows = self.table.take_out(cells)
        self._bound[cells] = hashing.LARGEST
        latents = torch.div(found.cells, INTERVALS, rounding_mode="floor")
        interval = torch.div(self._bins(latents, found.values), _PER_INTERVAL, rounding_mode="floor")
        hashes = self._hash(found)
        return Entries(latents * INTERVALS + interval, found.values, found.positions, hashes), windows

    def _hash(self, entries: Entries) -> Tensor:
        latents = torch.div(entries.cells, INTERVALS, rounding_mode="floor")
        draw = hashing.of_numbers(entries.positions, self._seed, INTERVAL_SAMPLE)
        return hashing.combined(draw, self._hashes.index_select(0, latents))

    def _rank(self, entries: Entries) -> Tensor:
        """Smallest hash first. The table keeps no hashes; it costs less to compute them again."""
        return ops.by_group(entries.cells, ops.ascending(self._hash(entries)))

    def _set_bounds(self, cells: Tensor) -> None:
        assert self.table is not None
        last = self.table.width - 1
        values = self.table.values.view(-1).index_select(0, cells * self.table.width + last)
        positions = self.table.positions.view(-1).index_select(0, cells * self.table.width + last)
        hashes = self._hash(Entries(cells, values, positions, positions))
        self._bound.index_copy_(0, cells, torch.where(positions >= 0, hashes, hashing.LARGEST))

    def _set_factor(self, groups: Tensor) -> None:
        scale = self.scale.index_select(0, groups)
        bins = torch.full(scale.shape, float(BINS), dtype=torch.float64, device=scale.device)
        self._factor.index_copy_(0, groups, torch.ldexp(bins, -scale))

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name: what a checkpoint holds."""
        own = {"histogram": self.histogram, "scale": self.scale, "max": self.max}
        return own if self.table is None else own | self.table.tensors()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue with what `tensors` gave."""
        for name in ("histogram", "scale", "max"):
            getattr(self, name).copy_(tensors[name])
        self._set_factor(ops.nonzero(self.max > 0))
        if self.table is not None:
            self.table.load(tensors)
            self._set_bounds(torch.arange(len(self._bound), dtype=torch.int64, device=self._bound.device))


def _scale(values: Tensor) -> Tensor:
    """int64: the least whole number s with value <= 2 ** s, of positive float32 values."""
    mantissa, exponent = torch.frexp(values.double())  # double: float32 has numbers too small for its own frexp
    return exponent.to(torch.int64) - (mantissa == 0.5).to(torch.int64)
