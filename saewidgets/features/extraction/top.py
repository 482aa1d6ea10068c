"""Defines `TopExamples`, the largest firings of every latent.

Of the firings of a latent in one document only the `per_document` largest compete; of those whose neighbourhoods are
identical only the largest; of what is left the `k` largest stay. Equal values: the earlier position first.

The rules apply in this order although text arrives in chunks: documents follow each other, so only one is open at the
end of a chunk, and its candidates wait until it ends. What cannot be among the k any more is dropped at once: neither
rule lets a smaller firing displace a larger one. Where a text is read in parts, the document that a part begins in
waits, too, for what comes before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from saewidgets.features.extraction import ops
from saewidgets.features.extraction.encoding import ContextChunk, Firings
from saewidgets.features.store.layout import WINDOW

WIDTH = 2 * WINDOW + 1
_MOST = 65504.0  # the largest float16


class FiringWindows:
    """Cuts windows out of the firings of a chunk."""

    def __init__(self, chunk: ContextChunk, firings: Firings) -> None:
        self._values = firings.values.clamp_max(_MOST).to(torch.float16)
        # One number per firing: less than WINDOW + 1 apart only for the same latent in the same context.
        self._places = (firings.latents - firings.first) * chunk.span + chunk.padded.index_select(0, firings.rows)

    def of(self, chosen: Tensor) -> Tensor:
        """float16 ``[n, 2 · WINDOW + 1]`` around the firings with the numbers `chosen` [n]; 0 where it did not fire."""
        device, total = chosen.device, len(self._places)
        found = torch.zeros(len(chosen) * WIDTH, dtype=torch.float16, device=device)
        middle = torch.arange(len(chosen), dtype=torch.int64, device=device) * WIDTH + WINDOW
        found[middle] = self._values.index_select(0, chosen)
        for direction in (1, -1):
            centre, there, out = self._places.index_select(0, chosen), chosen, middle
            for _ in range(WINDOW):  # the next firing on this side, of those that still have one near enough
                there = there + direction
                inside = (there >= 0) & (there < total)
                place = self._places.index_select(0, there.clamp(0, total - 1))
                near = (inside & ((place - centre).abs() <= WINDOW)).nonzero().view(-1)
                if len(near) == 0:
                    break
                centre, there, out = centre[near], there[near], out[near]
                found[out + (place[near] - centre)] = self._values.index_select(0, there)
        return found.view(-1, WIDTH)


MERGED = 1 << 21  # entries sorted at once

TakeWindows = Callable[[Tensor], Tensor]
"""Numbers of entries [n] → their windows, float16 ``[n, WIDTH]``."""


class Entries(NamedTuple):
    """Examples: cell, value, stream position, a number that goes with them, each [n]."""

    cells: Tensor
    values: Tensor
    positions: Tensor
    extra: Tensor

    def at(self, chosen: Tensor) -> Entries:
        return Entries(*(each.index_select(0, chosen) for each in self))

    @staticmethod
    def joined(parts: list[Entries]) -> Entries:
        return Entries(*map(torch.cat, zip(*parts, strict=True)))


Rank = Callable[[Entries], Tensor]
"""Entries of some cells → the numbers of those that may stay, cell after cell, the best of each cell first."""


class TopTable:
    """`width` slots for each of `cells` cells, the best first, empty ones last.

    Attributes:
        values: float32 ``[cells, width]``, 0 where empty.
        positions: int64 of the same shape, -1 where empty.
        windows: float16 ``[cells, width, WIDTH]``.
        extra: int64 like `positions`, where `with_extra`.
    """

    def __init__(self, cells: int, width: int, device: torch.device, *, with_extra: bool) -> None:
        self.width = width
        self.values = torch.zeros(cells, width, dtype=torch.float32, device=device)
        self.positions = torch.full((cells, width), -1, dtype=torch.int64, device=device)
        self.windows = torch.zeros(cells, width, WIDTH, dtype=torch.float16, device=device)
        self.extra = torch.zeros(cells if with_extra else 0, width, dtype=torch.int64, device=device)

    def merge(self, new: Entries, windows: TakeWindows, rank: Rank) -> Tensor:
        """Take in `new` entries (those of a cell in reading order). Returns the cells they belong to, ascending."""
        touched = torch.zeros(len(self.values), dtype=torch.bool, device=self.values.device)
        touched[new.cells] = True
        cells = ops.nonzero(touched)
        step = max(1, MERGED // self.width)
        if len(cells) <= step:
            self._merge(cells, new, windows, rank)
            return cells
        for part in cells.split(step):
            inside = ((new.cells >= part[0]) & (new.cells <= part[-1])).nonzero().view(-1)
            self._merge(part, new.at(inside), lambda chosen, inside=inside: windows(inside[chosen]), rank)  # type: ignore[misc]
        return cells

    def _merge(self, cells: Tensor, new: Entries, windows: TakeWindows, rank: Rank) -> None:
        kept, slots = self.entries(cells)
        both = Entries.joined([kept, new])
        order = rank(both)
        cell = both.cells.index_select(0, order)
        place = ops.ranks(cell)
        fits = ops.nonzero(place < self.width)
        order, target = order.index_select(0, fits), (cell * self.width + place).index_select(0, fits)
        old = len(slots)
        from_old, from_new = ops.nonzero(order < old), ops.nonzero(order >= old)
        moved = self.windows.view(-1, WIDTH).index_select(0, slots.index_select(0, order.index_select(0, from_old)))
        added = windows(order.index_select(0, from_new) - old)
        self._empty(slots)
        chosen = both.at(order)
        self.values.view(-1)[target] = chosen.values
        self.positions.view(-1)[target] = chosen.positions
        if self.extra.numel():
            self.extra.view(-1)[target] = chosen.extra
        flat = self.windows.view(-1, WIDTH)
        flat.index_copy_(0, target.index_select(0, from_old), moved)
        flat.index_copy_(0, target.index_select(0, from_new), added)

    def entries(self, cells: Tensor) -> tuple[Entries, Tensor]:
        """What the `cells` hold, cell after cell in the order of their slots, and the flat slots."""
        slots = (cells[:, None] * self.width + torch.arange(self.width, device=cells.device)).view(-1)
        positions = self.positions.view(-1).index_select(0, slots)
        full = ops.nonzero(positions >= 0)
        slots = slots.index_select(0, full)
        extra = self.extra.view(-1).index_select(0, slots) if self.extra.numel() else torch.zeros_like(slots)
        found = Entries(
            torch.div(slots, self.width, rounding_mode="floor"), self.values.view(-1).index_select(0, slots),
            positions.index_select(0, full), extra,
        )
        return found, slots

    def take_out(self, cells: Tensor) -> tuple[Entries, Tensor]:
        """The entries of `cells` with their windows ``[n, WIDTH]``; the cells are empty afterwards."""
        found, slots = self.entries(cells)
        windows = self.windows.view(-1, WIDTH).index_select(0, slots)
        self._empty(slots)
        return found, windows

    def _empty(self, slots: Tensor) -> None:
        self.values.view(-1)[slots] = 0
        self.positions.view(-1)[slots] = -1
        self.windows.view(-1, WIDTH).index_fill_(0, slots, 0)

    def tensors(self) -> dict[str, Tensor]:
        return {"values": self.values, "positions": self.positions, "windows": self.windows, "extra": self.extra}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])


_NO_DOCUMENT = -1


class TopExamples:
    """The `k` largest of each of `d_sae` latents; `TopTable.extra` is the hash of the neighbourhood."""

    def __init__(
        self, d_sae: int, k: int, per_document: int, device: torch.device, begins_in: int = _NO_DOCUMENT
    ) -> None:
        self.per_document, self._begins_in = per_document, begins_in
        self.table = TopTable(d_sae, k, device, with_extra=True)
        self._floor = torch.zeros(d_sae, dtype=torch.float32, device=device)  # what a newcomer has to exceed
        self._open = _NO_DOCUMENT
        self._open_floor = torch.zeros_like(self._floor)  # the same for a newcomer of the open document
        # Of the open document and of the one begun in, sorted by latent.
        self._waiting, self._waiting_windows, self._of = _nothing(device)
        self._collected: list[tuple[Entries, Tensor, Tensor]] = []  # the next `_waiting`, range by range

    def add(self, chunk: ContextChunk, firings: Firings, windows: FiringWindows) -> None:
        """Take in the firings of a range of latents. The ranges of a chunk come in order and leave none out."""
        new = self._candidates(chunk, firings)
        rows = firings.rows.index_select(0, new)
        fresh = Entries(
            firings.latents.index_select(0, new), firings.values.index_select(0, new),
            chunk.stream.index_select(0, rows), chunk.near.index_select(0, rows),
        )
        bounds = torch.tensor([firings.first, firings.last], dtype=torch.int64, device=new.device)
        here = slice(*torch.searchsorted(self._waiting.cells, bounds).tolist())
        waited = Entries(*(each[here] for each in self._waiting))
        both = Entries.joined([waited, fresh])
        documents = torch.cat([self._of[here], chunk.document.index_select(0, rows)])
        keep = ops.nonzero(self._among_largest(both, documents, firings.first))
        old = len(waited.cells)
        from_old, from_new = keep[keep < old], keep[keep >= old] - old  # keep is ascending: waited ones come first
        cut = torch.cat([
            self._waiting_windows[here].index_select(0, from_old), windows.of(new.index_select(0, from_new))
        ])
        self._sort_out(both.at(keep), cut, documents.index_select(0, keep), chunk.last_document)

    def _sort_out(self, entries: Entries, windows: Tensor, documents: Tensor, last: int) -> None:
        """Let those wait that are of a document without its end or its beginning; the others have their places."""
        is_open = (documents == last) | (documents == self._begins_in)
        waits, ended = ops.nonzero(is_open), ops.nonzero(is_open.logical_not())
        self._collected.append((entries.at(waits), windows.index_select(0, waits), documents.index_select(0, waits)))
        self._merge(entries.at(ended), windows.index_select(0, ended))

    def end_chunk(self, last_document: int) -> None:
        entries, (windows, documents) = self._joined(self._collected)
        self._collected = []
        self._waiting, self._waiting_windows, self._of, self._open = entries, windows, documents, last_document
        self._set_open_floor()

    @staticmethod
    def _joined(parts: list[tuple[Entries, Tensor, Tensor]]) -> tuple[Entries, list[Tensor]]:
        """Entries, windows and documents of the `parts`, sorted by latent."""
        entries = Entries.joined([part for part, _, _ in parts])
        order = ops.by_group(entries.cells, torch.arange(len(entries.cells), device=entries.cells.device))
        rest = [part for _, part, _ in parts], [part for _, _, part in parts]
        return entries.at(order), [torch.cat(each).index_select(0, order) for each in rest]

    def add_part(self, later: TopExamples) -> None:
        """Take in what was found in the text that follows; `later` is of no use afterwards."""
        waited = (self._waiting, self._waiting_windows, self._of)
        both, (windows, documents) = self._joined([waited, (later._waiting, later._waiting_windows, later._of)])
        keep = ops.nonzero(self._among_largest(both, documents, 0))
        self._sort_out(both.at(keep), windows.index_select(0, keep), documents.index_select(0, keep), later._open)
        cells = torch.arange(len(later.table.values), device=keep.device)
        for part in cells.split(max(1, MERGED // later.table.width)):
            self._merge(*later.table.take_out(part))
        self.end_chunk(later._open)

    def finish(self) -> None:
        self._merge(self._waiting, self._waiting_windows)
        self._waiting, self._waiting_windows, self._of = _nothing(self._floor.device)
        self._open = _NO_DOCUMENT
        self._set_open_floor()

    def _candidates(self, chunk: ContextChunk, firings: Firings) -> Tensor:
        """Numbers of the firings that are larger than all that would have to go for them."""
        new = ops.nonzero(firings.values > self._floor.index_select(0, firings.latents))
        if len(new) and len(self._waiting.cells):
            continued = chunk.document.index_select(0, firings.rows.index_select(0, new)) == self._open
            floor = self._open_floor.index_select(0, firings.latents.index_select(0, new))
            below = continued & (firings.values.index_select(0, new) <= floor)
            new = new.index_select(0, ops.nonzero(below.logical_not_()))
        return new

    def _among_largest(self, entries: Entries, documents: Tensor, first: int) -> Tensor:
        """bool: whether an entry is among the `per_document` largest of its latent in its document."""
        kept = torch.zeros(len(documents), dtype=torch.bool, device=documents.device)
        if len(documents) == 0:
            return kept
        numbers = documents - documents.min()
        order = ops.descending(entries.values)
        order = ops.by_group(entries.cells - first, ops.by_group(numbers, order))
        groups = ((entries.cells - first) * (numbers.max() + 1) + numbers).index_select(0, order)
        kept[order] = ops.ranks(groups) < self.per_document
        return kept

    def _merge(self, entries: Entries, windows: Tensor) -> None:
        cells = self.table.merge(entries, lambda chosen: windows.index_select(0, chosen), _rank)
        self._floor.index_copy_(0, cells, self.table.values[:, -1].index_select(0, cells))

    def _set_open_floor(self) -> None:
        """The smallest of the waiting candidates of every latent that has as many as one document may give."""
        self._open_floor.zero_()
        here = ops.nonzero(self._of == self._open)
        cells, values = self._waiting.cells.index_select(0, here), self._waiting.values.index_select(0, here)
        if len(cells) == 0:
            return
        order = ops.by_group(cells, ops.descending(values))
        cells = cells.index_select(0, order)
        last = ops.nonzero(ops.ranks(cells) == self.per_document - 1)
        lowest = values.index_select(0, order.index_select(0, last))
        self._open_floor.index_copy_(0, cells.index_select(0, last), lowest)

    def tensors(self) -> dict[str, Tensor]:
        return {
            **self.table.tensors(), "open": torch.tensor([self._open, self._begins_in], dtype=torch.int64),
            **{f"waiting.{name}": each for name, each in self._waiting._asdict().items()},
            "waiting.windows": self._waiting_windows, "waiting.documents": self._of,
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        self.table.load(tensors)
        device = self._floor.device
        self._floor.copy_(self.table.values[:, -1])
        self._open, self._begins_in = (int(each) for each in tensors["open"])
        self._waiting = Entries(*(tensors[f"waiting.{name}"].to(device, copy=True) for name in Entries._fields))
        self._waiting_windows = tensors["waiting.windows"].to(device, copy=True)
        self._of = tensors["waiting.documents"].to(device, copy=True)
        self._set_open_floor()


def _rank(entries: Entries) -> Tensor:
    """Largest first, of identical neighbourhoods only the largest."""
    order = ops.by_group(entries.cells, ops.descending(entries.values))
    near = ops.mix(entries.extra ^ ops.mix(entries.cells)).index_select(0, order)
    found = near.sort(stable=True)
    repeated = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    repeated[found.indices[1:]] = found.values[1:] == found.values[:-1]
    return order.index_select(0, ops.nonzero(repeated.logical_not_()))


def _nothing(device: torch.device) -> tuple[Entries, Tensor, Tensor]:
    none = torch.zeros(0, dtype=torch.int64, device=device)
    values = torch.zeros(0, dtype=torch.float32, device=device)
    return Entries(none, values, none, none), torch.zeros(0, WIDTH, dtype=torch.float16, device=device), none
