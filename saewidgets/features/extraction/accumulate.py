"""Everything that is kept of all latents, filled chunk by chunk; what is left in the end are the layout's arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saewidgets.config.extraction import ExtractionConfig
from saewidgets.errors import SAEWidgetsError
from saewidgets.features.extraction import ops
from saewidgets.features.extraction.chunk import Chunk
from saewidgets.features.extraction.encoding import Encoder, Firings
from saewidgets.features.extraction.intervals import Intervals
from saewidgets.features.extraction.sample import TokenSample
from saewidgets.features.extraction.table import Table
from saewidgets.features.extraction.top import TopExamples
from saewidgets.features.extraction.windows import WIDTH, Windows
from saewidgets.features.store.layout import COACTIVATION_ENTRIES, INTERVALS

_ORDERED = 1 << 15  # cells whose examples are put in order at once


class NotFiniteError(SAEWidgetsError):
    """Activations or latents that are no numbers; `where` is the hook point."""


class Accumulator:
    """Running statistics and examples of `d_sae` latents on one device."""

    def __init__(self, d_sae: int, config: ExtractionConfig, device: torch.device, hook_name: str) -> None:
        def zeros(dtype: torch.dtype) -> Tensor:
            return torch.zeros(d_sae, dtype=dtype, device=device)

        self.d_sae, self.hook_name = d_sae, hook_name
        self._min_activation = config.min_activation
        self.context_counts, self.document_counts = zeros(torch.int64), zeros(torch.int64)
        self.sums = zeros(torch.float64)
        self._last_document = zeros(torch.int64) - 1  # in which a latent fired last
        self.top = TopExamples(d_sae, config.examples, config.per_document, device)
        self.intervals = Intervals(d_sae, config.per_interval, config.seed, device)
        self.sample = TokenSample(COACTIVATION_ENTRIES, config.seed)

    def update(self, chunk: Chunk, encoder: Encoder) -> None:
        """Take in a chunk.

        Raises:
            NotFiniteError: a latent is not a number or infinite; what was accumulated is no longer of use.
        """
        for firings in encoder.firings(chunk):
            windows = Windows(chunk, firings)
            self._count(chunk, firings, windows)
            self.top.add(chunk, firings, windows)
            self.sample.add(chunk, firings)
        self.top.end_chunk(chunk)
        self.sample.end_chunk(chunk)

    def _count(self, chunk: Chunk, firings: Firings, windows: Windows) -> None:
        latents, values = firings.latents, firings.values
        if len(latents) == 0:
            return
        first = ops.group_starts(latents)
        starts = ops.nonzero(first)
        lengths = torch.diff(starts, append=starts.new_tensor([len(latents)]))
        groups = latents.index_select(0, starts)
        if not bool(values.max().isfinite()):  # a NaN anywhere is the maximum
            raise self._not_finite(chunk, firings)
        ops.add_in_order(self.sums, groups, starts, lengths, values)
        contexts = chunk.context.index_select(0, firings.rows)
        ops.count(self.context_counts, latents.index_select(0, ops.nonzero(first | ops.group_starts(contexts))))
        documents = chunk.document.index_select(0, firings.rows)
        begins = first | ops.group_starts(documents)
        begins[starts] = documents.index_select(0, starts) != self._last_document.index_select(0, groups)
        ops.count(self.document_counts, latents.index_select(0, ops.nonzero(begins)))
        self._last_document.index_copy_(0, groups, documents.index_select(0, starts + lengths - 1))
        self.intervals.add(chunk, firings, groups, ops.largest(values, starts, lengths), windows)

    def _not_finite(self, chunk: Chunk, firings: Firings) -> NotFiniteError:
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
            "sums": self.sums, "max": self.intervals.max, "scale": self.intervals.scale.to(torch.int16),
            "histogram": self.intervals.histogram, "top_values": table.values, "top_positions": table.positions,
            "top_windows": table.windows,
        }
        if intervals is None:
            intervals = Table(self.d_sae * INTERVALS, 0, counts.device, with_extra=False)
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
        """Everything by name: what a checkpoint holds."""
        found = {
            "context_counts": self.context_counts, "document_counts": self.document_counts, "sums": self.sums,
            "last_document": self._last_document,
        }
        for name, part in self._parts().items():
            found |= {f"{name}.{key}": tensor for key, tensor in part.tensors().items()}
        return found

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue with what `tensors` gave."""
        self.context_counts.copy_(tensors["context_counts"])
        self.document_counts.copy_(tensors["document_counts"])
        self.sums.copy_(tensors["sums"])
        self._last_document.copy_(tensors["last_document"])
        for name, part in self._parts().items():
            start = f"{name}."
            part.load({key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)})

    def _parts(self) -> dict[str, TopExamples | Intervals | TokenSample]:
        return {"top": self.top, "intervals": self.intervals, "sample": self.sample}


def _put_in_order(table: Table, largest: Tensor, share: float) -> None:
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
