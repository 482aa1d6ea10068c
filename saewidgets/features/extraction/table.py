"""A fixed number of examples for each of many cells, the best of all that were offered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from saewidgets.features.extraction import ops
from saewidgets.features.extraction.windows import WIDTH

MERGED = 1 << 21  # entries sorted at once

TakeWindows = Callable[[Tensor], Tensor]
"""Numbers of entries [n] → their windows, float16 ``[n, WIDTH]``."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Examples: cell, value, stream position, a number that goes with them, each [n]."""

    cells: Tensor
    values: Tensor
    positions: Tensor
    extra: Tensor

    def at(self, chosen: Tensor) -> Entries:
        """Those with the numbers `chosen`."""
        return Entries(*(t.index_select(0, chosen) for t in (self.cells, self.values, self.positions, self.extra)))

    def part(self, which: slice) -> Entries:
        """A run of them."""
        return Entries(self.cells[which], self.values[which], self.positions[which], self.extra[which])

    @staticmethod
    def joined(parts: list[Entries]) -> Entries:
        """One after the other."""
        return Entries(*(
            torch.cat([getattr(part, name) for part in parts]) for name in ("cells", "values", "positions", "extra")
        ))


Rank = Callable[[Entries], Tensor]
"""Entries of some cells → the numbers of those that may stay, cell after cell, the best of each cell first."""


class Table:
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
        """Everything by name: what a checkpoint holds."""
        return {"values": self.values, "positions": self.positions, "windows": self.windows, "extra": self.extra}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue with what `tensors` gave."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
