"""Defines `StoredWindows` and `StoredStream`: batches from a store of activations, without a language model.

Batch number b is a pure function of (store, configuration, seed, b). A window is made of contexts from all over the
store, each read in one piece; its rows are then permuted. While one window is used, the next is read by a thread.
Memory: two windows per hook point in the store's number format, and one batch. On a GPU there is a third, unless
`buffer_device` keeps them on the CPU.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saewidgets.activations.prefetch import Check, WindowsAhead
from saewidgets.activations.shuffle import Numbers, split
from saewidgets.activations.store import RowReader, StoredActivations, batched
from saewidgets.activations.stream import M, RowStream, RowWindows
from saewidgets.config import TrainingConfig
from saewidgets.config.base import require
from saewidgets.lm.tokens import TokenMask

_HELD_OUT_ROWS = 8192  # rows of held-out activations at once


class StoredWindows(RowWindows):
    """Windows of rows at one or several hook points of a store."""

    _more = "Capture more tokens"

    def __init__(
        self, store: StoredActivations, config: TrainingConfig, hook_names: Sequence[str], seed: int | None = None,
        device: str = "cpu",
    ) -> None:
        self.store, facts = store, store.facts
        widths = {name: store.width(name) for name in dict.fromkeys(hook_names)}
        rule = TokenMask.of(config.activations)
        for name, used in (("seqpos_slice", rule.seqpos_slice), ("exclude_token_ids", rule.exclude_ids)):
            what = "Imported states have neither tokens nor contexts."
            require((facts.tokens is not None or not used, f"activations.{name}", what, "Leave it empty."))
        parts = split(facts.n_contexts, facts.n_held_out, config.activations.validation_share)
        super().__init__(config, widths, seed, torch.device(device), parts, store.kept_counts)

    @property
    def layout(self) -> dict[str, Any]:
        return {**super().layout, "tokens": self.store.fingerprint, "stored_dtype": self.store.facts.dtype}

    def _measured(self, kind: Callable[[str, int], M], hook_name: str, check: Check) -> dict[str, M]:
        measure = kind(hook_name, self.widths[hook_name])
        numbers = self.numbers(0, min(self._norm_tokens, self.tokens_per_epoch))
        with RowReader(self.store, hook_name) as reader:
            for part in batched(numbers, _HELD_OUT_ROWS):
                check()
                measure.add(reader.floats(part, self.device))
        return {hook_name: measure}

    def evaluation_contexts(self, n_tokens: int) -> Numbers:
        return self.store.contexts(self.store.evaluation_contexts(self.validation, self.train, n_tokens))

    def held_out(self, hook_names: Sequence[str], n_tokens: int, check: Check | None) -> Iterator[tuple[Tensor, ...]]:
        chosen = self.store.evaluation_contexts(self.validation, self.train, n_tokens)
        numbers = self.store.row_numbers(chosen, self._rule)
        return self.store.parts(hook_names, batched(numbers, _HELD_OUT_ROWS), self.device, check)

    def numbers(self, row: int, rows: int) -> Numbers:
        """Numbers in the store of `rows` rows of the endless sequence, from number `row` on."""
        parts = [
            self.store.row_numbers(each.contexts, self._rule)[each.skip : each.skip + each.rows]
            for each in self._order.stretches(row, rows)
        ]
        return np.concatenate(parts)

    def _hold(self, number: int, check: Check) -> Mapping[str, Tensor]:
        self._ahead = self._ahead or self._reading()
        return self._ahead.window(number, check)

    def _reading(self) -> WindowsAhead:
        readers = {name: self._open.enter_context(RowReader(self.store, name)) for name in self.widths}

        def fill(number: int, targets: Mapping[str, Tensor], check: Check) -> None:
            numbers = self.numbers(number * self.window, self.window)
            for name, reader in readers.items():
                check()
                reader.read(numbers, targets[name])

        def buffer() -> dict[str, Tensor]:
            pinned = self._place.type == "cuda"  # so that the copy to the device needs no second one
            return {name: reader.empty(self.window, pinned) for name, reader in readers.items()}

        ahead = WindowsAhead(fill, buffer, device=self._place, name="saewidgets-store")
        self._open.callback(ahead.close)
        return ahead


class StoredStream(RowStream):
    """A `RowStream` of stored rows. Streams that share their `windows` read every window once for all."""

    def __init__(
        self, store: StoredActivations, config: TrainingConfig, seed: int | None = None, device: str = "cpu", *,
        windows: StoredWindows | None = None,
    ) -> None:
        self.windows = windows or StoredWindows(store, config, config.hook_names, seed, device)
        super().__init__(self.windows, config)

    def held_out(self, n_tokens: int, check: Check | None = None) -> Iterator[tuple[Tensor, ...]]:
        """The activations of `evaluation_contexts`, a few thousand rows at a time, as `batches` gives them."""
        return self.windows.held_out(self._names, n_tokens, check)
