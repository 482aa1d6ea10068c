"""Defines `Accumulator`, which gathers the statistics and examples of all latents chunk by chunk for the store."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saewidgets.config.extraction import ExtractionConfig
from saewidgets.errors import SAEWidgetsError
from saewidgets.features.extraction import ops
from saewidgets.features.extraction.encoding import INTERVAL_SAMPLE, TOKEN_SAMPLE, ContextChunk, Encoder, Firings
from saewidgets.features.extraction.top import WIDTH, Entries, FiringWindows, TopExamples, TopTable
from saewidgets.features.store.layout import BINS, COACTIVATION_ENTRIES, INTERVALS

Integers = npt.NDArray[np.int64]


# The co-activation sample: all latents that fire on some of the counted tokens.
#
# A token is in the sample when the hash of (seed, stream position) is below `rate`. The rate begins at 1; whenever
# there are more than `limit` (token, latent) pairs it is halved, and what it no longer admits is dropped. Which tokens
# stay in the end depends on nothing but the seed and the pairs.
class TokenSample:
    """Collects (token, latent) pairs in memory of the CPU, token by token in reading order."""

    def __init__(self, limit: int, seed: int) -> None:
        self._limit, self._seed = limit, seed
        self.halvings, self.pairs = 0, 0
        # Chunk by chunk: stream positions, how many latents each has, the latents.
        self._done: list[tuple[Integers, Integers, npt.NDArray[np.int32]]] = []
        self._now: list[tuple[Integers, Integers]] = []  # (row, latent) of this chunk
        self._admitted: Tensor | None = None

    @property
    def rate(self) -> float:
        return float(2.0**-self.halvings)

    def add(self, chunk: ContextChunk, firings: Firings) -> None:
        if self._admitted is None:
            self._admitted = self._admits(chunk.stream)
        rows, latents = firings.rows, firings.latents
        if self.halvings:
            chosen = ops.nonzero(self._admitted.index_select(0, rows))
            rows, latents = rows.index_select(0, chosen), latents.index_select(0, chosen)
        self._now.append((rows.cpu().numpy(), latents.cpu().numpy()))
        self.pairs += len(rows)
        while self.pairs > self._limit:
            self.halvings += 1
            self._admitted = self._admits(chunk.stream)
            admitted = self._admitted.cpu().numpy()
            self._now = [(rows[admitted[rows]], latents[admitted[rows]]) for rows, latents in self._now]
            self._thin()

    def end_chunk(self, chunk: ContextChunk) -> None:
        admitted = self._admits(chunk.stream).cpu().numpy()
        rows = np.concatenate([rows for rows, _ in self._now])
        latents = np.concatenate([latents for _, latents in self._now])
        keys = np.sort(rows << 32 | latents)
        counts = np.bincount(rows, minlength=chunk.rows)[admitted]
        positions = chunk.stream.cpu().numpy()[admitted]
        self._done.append((positions, counts, (keys & 0xFFFFFFFF).astype(np.int32)))
        self._now.clear()
        self._admitted = None

    def arrays(self) -> tuple[Integers, Integers, npt.NDArray[np.int32]]:
        """(stream positions, offsets, latents): `sample_positions`, `sample_offsets`, `sample_latents`."""
        if not self._done:
            return np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int32)
        positions, counts, latents = (np.concatenate(parts) for parts in zip(*self._done, strict=True))
        self._done = [(positions, counts, latents)]
        return positions, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), latents

    def _admits(self, positions: Tensor) -> Tensor:
        none = torch.zeros_like(positions)
        hashes = ops.joint_hash(ops.hash_of(positions, self._seed, TOKEN_SAMPLE), none)
        return hashes <= (ops.LARGEST >> self.halvings)

    def _thin(self) -> None:
        """Drop what the rate no longer admits of the chunks before."""
        for number, (positions, counts, latents) in enumerate(self._done):
            stays = self._admits(torch.from_numpy(positions)).numpy()
            self._done[number] = positions[stays], counts[stays], latents[np.repeat(stays, counts)]
        self.pairs = sum(len(part[2]) for part in self._done) + sum(len(rows) for rows, _ in self._now)

    def add_part(self, later: TokenSample) -> None:
        """Take in what was found in the text that follows."""
        self._done += later._done
        self.halvings = max(self.halvings, later.halvings)
        self._thin()
        while self.pairs > self._limit:
            self.halvings += 1
            self._thin()

    def tensors(self) -> dict[str, Tensor]:
        positions, offsets, latents = self.arrays()
        return {
            "halvings": torch.tensor([self.halvings], dtype=torch.int64),
            "positions": torch.from_numpy(positions), "counts": torch.from_numpy(np.diff(offsets)),
            "latents": torch.from_numpy(latents),
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.halvings = int(tensors["halvings"][0])
        positions, counts, latents = (tensors[name].numpy().copy() for name in ("positions", "counts", "latents"))
        self._done, self.pairs = [(positions, counts, latents)], len(latents)


_LATENT = 3  # what the hash of a latent's number is for
_PER_INTERVAL = BINS // INTERVALS


# The histogram of every latent's activations, and a random sample of its firings from each interval of them.
#
# The histogram of a latent goes from 0 to ``2 ** scale`` in `BINS` equal bins, `scale` being the least whole number
# for which nothing lies above. When a larger activation comes, neighbouring bins merge in pairs until it fits, which
# is exact; intervals are groups of bins and merge with them. Of each interval those firings stay that have the
# smallest hash of (seed, latent, stream position): a uniform sample that does not depend on the order in which the
# text was read.
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
        self.table = TopTable(d_sae * INTERVALS, per_interval, device, with_extra=False) if per_interval else None
        # What the hash of a newcomer has to be below: the largest of a full cell.
        self._bound = torch.full((d_sae * INTERVALS if per_interval else 0,), ops.LARGEST, device=device)
        self._hashes = ops.hash_of(torch.arange(d_sae, dtype=torch.int64, device=device), seed, _LATENT)

    def add(
        self, chunk: ContextChunk, firings: Firings, groups: Tensor, largest: Tensor, windows: FiringWindows
    ) -> None:
        """Take in the firings of a range of latents; `groups` are those that fire, `largest` their largest values."""
        moved, moved_windows = self._rescale(groups, largest)
        bins = self._bins(firings.latents, firings.values)
        ops.count(self.histogram.view(-1), firings.latents * BINS + bins)
        if self.table is None:
            return
        cells = firings.latents * INTERVALS + torch.div(bins, _PER_INTERVAL, rounding_mode="floor")
        hashes = ops.joint_hash(chunk.draw.index_select(0, firings.rows), self._hashes.index_select(0, firings.latents))
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

    def add_part(self, later: Intervals) -> None:
        """Take in what was found in the text that follows; `later` is of no use afterwards."""
        for groups in ops.nonzero(later.max > 0).split(_ORDERED):
            largest = torch.maximum(self.max.index_select(0, groups), later.max.index_select(0, groups))
            parts = self._rescale(groups, largest), later._rescale(groups, largest)
            self.histogram.index_add_(0, groups, later.histogram.index_select(0, groups))
            if self.table is None or later.table is None:
                continue
            cells = (groups[:, None] * INTERVALS + torch.arange(INTERVALS, device=groups.device)).view(-1)
            found = [(entries, windows) for entries, windows in parts if entries is not None]
            entries, windows = later.table.take_out(cells)
            found.append((entries._replace(extra=later._hash(entries)), windows))
            windows = torch.cat([windows for _, windows in found])
            new = Entries.joined([entries for entries, _ in found])
            self._set_bounds(self.table.merge(new, lambda n, cut=windows: cut.index_select(0, n), self._rank))  # type: ignore[misc]

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
        self._bound[cells] = ops.LARGEST
        latents = torch.div(found.cells, INTERVALS, rounding_mode="floor")
        interval = torch.div(self._bins(latents, found.values), _PER_INTERVAL, rounding_mode="floor")
        hashes = self._hash(found)
        return Entries(latents * INTERVALS + interval, found.values, found.positions, hashes), windows

    def _hash(self, entries: Entries) -> Tensor:
        latents = torch.div(entries.cells, INTERVALS, rounding_mode="floor")
        draw = ops.hash_of(entries.positions, self._seed, INTERVAL_SAMPLE)
        return ops.joint_hash(draw, self._hashes.index_select(0, latents))

    def _rank(self, entries: Entries) -> Tensor:
        """Smallest hash first. The table keeps no hashes; it costs less to compute them again."""
        return ops.by_group(entries.cells, ops.ascending(self._hash(entries)))

    def _set_bounds(self, cells: Tensor) -> None:
        assert self.table is not None
        last = self.table.width - 1
        values = self.table.values.view(-1).index_select(0, cells * self.table.width + last)
        positions = self.table.positions.view(-1).index_select(0, cells * self.table.width + last)
        hashes = self._hash(Entries(cells, values, positions, positions))
        self._bound.index_copy_(0, cells, torch.where(positions >= 0, hashes, ops.LARGEST))

    def _set_factor(self, groups: Tensor) -> None:
        scale = self.scale.index_select(0, groups)
        bins = torch.full(scale.shape, float(BINS), dtype=torch.float64, device=scale.device)
        self._factor.index_copy_(0, groups, torch.ldexp(bins, -scale))

    def tensors(self) -> dict[str, Tensor]:
        own = {"histogram": self.histogram, "scale": self.scale, "max": self.max}
        return own if self.table is None else own | self.table.tensors()

    def load(self, tensors: Mapping[str, Tensor]) -> None:
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


_COUNTED = ("context_counts", "document_counts", "sums", "first_document", "last_document")
_PARTS = ("top", "intervals", "sample")
_ORDERED = 1 << 15  # cells whose examples are put in order at once


class NotFiniteError(SAEWidgetsError):
    """Activations or latents are not numbers; `where` is the hook point."""


class Accumulator:
    """Running statistics and examples of `d_sae` latents on one device. Of a part of a text, `begins_in` is the
    document that the text before it ends in."""

    def __init__(
        self, d_sae: int, config: ExtractionConfig, device: torch.device, hook_name: str, begins_in: int = -1
    ) -> None:
        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(d_sae, dtype=dtype, device=device)

        self.d_sae, self.hook_name = d_sae, hook_name
        self._min_activation = config.min_activation
        self.context_counts, self.document_counts = zeros(torch.int64), zeros(torch.int64)
        self.sums = zeros(torch.float64)  # of the range of the text that is being read, and of those before it,
        self.range_sums = torch.zeros(0, d_sae, dtype=torch.float64)  # which are one where they begin the text
        self._begins = begins_in < 0
        self.first_document, self.last_document = zeros(torch.int64) - 1, zeros(torch.int64) - 1  # a latent fired in
        self.top = TopExamples(d_sae, config.examples, config.per_document, device, begins_in)
        self.intervals = Intervals(d_sae, config.per_interval, config.seed, device)
        self.sample = TokenSample(COACTIVATION_ENTRIES, config.seed)

    def update(self, chunk: ContextChunk, encoder: Encoder) -> None:
        """Take in a chunk.

        Raises:
            NotFiniteError: a latent is not a number or infinite; what was accumulated is no longer of use.
        """
        for firings in encoder.firings(chunk):
            windows = FiringWindows(chunk, firings)
            self._count(chunk, firings, windows)
            self.top.add(chunk, firings, windows)
            self.sample.add(chunk, firings)
        self.top.end_chunk(chunk.last_document)
        self.sample.end_chunk(chunk)

    def end_range(self) -> None:
        """Sums are added range by range, so that they come to the same where the text is read in parts."""
        self.range_sums = torch.cat([self.range_sums, self.sums.cpu()[None]])
        self.sums.zero_()
        if self._begins:
            self.range_sums = _total(self.range_sums)[None]

    def add_part(self, later: Accumulator) -> None:
        """Take in what was found in the text that follows, which begins with a range; `later` is of no use afterwards.
        """
        goes_on = (later.first_document >= 0) & (later.first_document == self.last_document)
        self.document_counts += later.document_counts - goes_on.to(torch.int64)
        self.context_counts += later.context_counts
        self.last_document = torch.where(later.last_document >= 0, later.last_document, self.last_document)
        self.range_sums = _total(torch.cat([self.range_sums, later.range_sums]))[None]
        self.sums = later.sums
        for part in _PARTS:
            getattr(self, part).add_part(getattr(later, part))

    def _count(self, chunk: ContextChunk, firings: Firings, windows: FiringWindows) -> None:
        latents, values = firings.latents, firings.values
        if len(latents) == 0:
            return
        first = ops.group_starts(latents)
        starts = ops.nonzero(first)
        lengths = torch.diff(starts, append=starts.new_tensor([len(latents)]))
        groups = latents.index_select(0, starts)
        if not bool(values.max().isfinite()):  # a NaN anywhere is the maximum
            raise self._not_finite(chunk, firings)
        ops.add_in_order(self.sums, groups, lengths, values)
        contexts = chunk.context.index_select(0, firings.rows)
        ops.count(self.context_counts, latents.index_select(0, ops.nonzero(first | ops.group_starts(contexts))))
        documents = chunk.document.index_select(0, firings.rows)
        begins = first | ops.group_starts(documents)
        begins[starts] = documents.index_select(0, starts) != self.last_document.index_select(0, groups)
        ops.count(self.document_counts, latents.index_select(0, ops.nonzero(begins)))
        before = self.first_document.index_select(0, groups)
        self.first_document[groups] = torch.where(before < 0, documents.index_select(0, starts), before)
        self.last_document.index_copy_(0, groups, documents.index_select(0, starts + lengths - 1))
        self.intervals.add(chunk, firings, groups, ops.largest(values, starts, lengths), windows)

    def _not_finite(self, chunk: ContextChunk, firings: Firings) -> NotFiniteError:
        bad = int(firings.values.isfinite().logical_not().nonzero()[0])
        context = int(chunk.numbers[int(chunk.context[firings.rows[bad]])])
        return NotFiniteError(
            f"Latent {int(firings.latents[bad]):,} is {float(firings.values[bad])} on context {context:,} of the text.",
            where=self.hook_name,
            hint="Check that the SAE belongs to this hook point and that its weights are finite; a model in float16 "
            "may need bfloat16 or float32.",
        )

    def finish(self) -> dict[str, npt.NDArray[np.generic]]:
        """The text has ended: all arrays of the layout that say something of latents, and the sample."""
        self.top.finish()
        counts, table, intervals = self.intervals.histogram.sum(1), self.top.table, self.intervals.table
        positions, offsets, latents = self.sample.arrays()
        found: dict[str, Tensor] = {
            "firing_counts": counts, "context_counts": self.context_counts, "document_counts": self.document_counts,
            "sums": _total(torch.cat([self.range_sums, self.sums.cpu()[None]])),
            "max": self.intervals.max, "scale": self.intervals.scale.to(torch.int16),
            "histogram": self.intervals.histogram, "top_values": table.values, "top_positions": table.positions,
            "top_windows": table.windows,
        }
        if intervals is None:
            intervals = TopTable(self.d_sae * INTERVALS, 0, counts.device, with_extra=False)
        else:
            _put_in_order(intervals, self.intervals.max.repeat_interleave(INTERVALS), self._min_activation)
        width = intervals.width
        found |= {
            "interval_values": intervals.values.view(self.d_sae, INTERVALS, width),
            "interval_positions": intervals.positions.view(self.d_sae, INTERVALS, width),
            "interval_windows": intervals.windows.view(self.d_sae, INTERVALS, width, WIDTH),
        }
        arrays: dict[str, npt.NDArray[np.generic]] = {name: tensor.cpu().numpy() for name, tensor in found.items()}
        return arrays | {"sample_positions": positions, "sample_offsets": offsets, "sample_latents": latents}

    def tensors(self) -> dict[str, Tensor]:
        own = {name: getattr(self, name) for name in (*_COUNTED, "range_sums")}
        parts = {f"{part}.{key}": t for part in _PARTS for key, t in getattr(self, part).tensors().items()}
        return own | parts

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        for name in _COUNTED:
            getattr(self, name).copy_(tensors[name])
        self.range_sums = tensors["range_sums"].clone()
        for part in _PARTS:
            start = f"{part}."
            own = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
            getattr(self, part).load(own)


def _total(sums: Tensor) -> Tensor:
    """The sum of the rows ``[n, d_sae]``, one after the other."""
    total = torch.zeros_like(sums[0])
    for each in sums:
        total += each
    return total


def _put_in_order(table: TopTable, largest: Tensor, share: float) -> None:
    """Drop examples below `share` of the `largest` activation of their cell's latent, the rest descending by value."""
    for cells in torch.arange(len(table.values), device=largest.device).split(_ORDERED):
        part = slice(int(cells[0]), int(cells[-1]) + 1)
        values = table.values[part].clone()
        low = values.double() < share * largest[part, None].double()
        values[low] = 0
        order = torch.argsort(
            torch.where(values > 0, table.positions[part], torch.iinfo(torch.int64).max), dim=1, stable=True
        )
        order = order.gather(1, values.gather(1, order).argsort(dim=1, descending=True, stable=True))
        values = values.gather(1, order)
        empty = values <= 0
        table.positions[part] = table.positions[part].gather(1, order).masked_fill_(empty, -1)
        windows = table.windows[part].gather(1, order[..., None].expand(-1, -1, WIDTH))
        table.windows[part] = windows.masked_fill_(empty[..., None], 0)
        table.values[part] = values
