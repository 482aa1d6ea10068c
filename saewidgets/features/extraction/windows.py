"""The latent's activation around some of its firings, from the sparse list of firings."""

from __future__ import annotations

import torch
from torch import Tensor

from saewidgets.features.extraction.chunk import Chunk
from saewidgets.features.extraction.encoding import Firings
from saewidgets.features.store.layout import WINDOW

WIDTH = 2 * WINDOW + 1
_MOST = 65504.0  # the largest float16


class Windows:
    """Cuts windows out of the firings of a chunk."""

    def __init__(self, chunk: Chunk, firings: Firings) -> None:
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
