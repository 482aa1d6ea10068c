"""Batches from a store of activations: the same order and interface as `ActivationStream`, without a language model.

Batch number b is a pure function of (store, configuration, seed, b). A window is made of contexts from all over the
store, each read in one piece; its rows are then permuted. While one window is used, the next is read by a thread.
Memory: two windows per hook point in the store's number format, and one batch. On a GPU there is a third, unless
`buffer_device` keeps them on the CPU.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saewidgets.activations.prefetch import WindowsAhead, handed_over
from saewidgets.activations.shuffle import WINDOW_ORDER, EndlessOrder, Numbers, generator, split
from saewidgets.activations.store import StoredActivations, batched
from saewidgets.activations.stream import Batch, Check, Covariance, MeanNorm, Measure, buffer_device
from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError
from saewidgets.lm.token_mask import TokenMask

_HELD_OUT_ROWS = 8192  # rows of held-out activations at once


class StoredWindows:
    """Windows of rows at one or several hook points of a store; see `saewidgets.activations.stream.Windows`.

    Args:
        store: an open store.
        config: `batch_size` and `activations` are used.
        hook_names: which activations.
        seed: fixes the order; the configuration's if left out.
        device: where batches go.

    Attributes:
        widths: hook name → width of its activations.
        batch_size: rows per batch.
        window: rows shuffled together.
        tokens_per_epoch: kept rows in one pass over the training part.
        train, validation: context numbers.

    Raises:
        ConfigError: the store does not hold a hook point, or is smaller than one batch.
    """

    def __init__(
        self, store: StoredActivations, config: TrainingConfig, hook_names: Sequence[str], seed: int | None = None,
        device: str = "cpu",
    ) -> None:
        settings = config.activations
        self.store, self.device = store, torch.device(device)
        self._place = buffer_device(settings, self.device)
        self.widths = {name: store.width(name) for name in dict.fromkeys(hook_names)}
        self.batch_size = config.batch_size
        self.seed = config.seed if seed is None else seed
        self.window = self.batch_size * max(1, round(settings.shuffle_tokens / self.batch_size))
        self._norm_tokens = settings.norm_tokens
        self.rule = TokenMask.of(settings)
        facts = store.facts
        _check_rule(self.rule, facts.tokens is not None)
        self.train, self.validation = split(facts.n_contexts, facts.n_held_out, settings.validation_share)
        self._order = EndlessOrder(self.train, store.kept_counts(self.train, self.rule), self.seed)
        self.tokens_per_epoch = self._order.rows_per_epoch
        if self.tokens_per_epoch < self.batch_size:
            raise ConfigError(
                f"The store has {self.tokens_per_epoch:,} training rows, fewer than one batch of {self.batch_size:,}.",
                where="corpus", hint=f"Capture more tokens, or lower Batch size{self.rule.advice}.",
            )
        self._iterations = 0
        self._ahead: WindowsAhead | None = None
        self._open = ExitStack()  # the thread that reads, and its files

    @property
    def layout(self) -> dict[str, Any]:
        """All that bit-identity depends on, but which activations are read."""
        return {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "window": self.window,
            **self.rule.layout,
            "tokens": self.store.fingerprint,
            "train_contexts": len(self.train),
            "tokens_per_epoch": self.tokens_per_epoch,
            "stored_dtype": self.store.facts.dtype,
            "device": self.device.type,
            "torch": torch.__version__,
            "numpy": np.__version__,
        }

    def batches(self, hook_names: Sequence[str], start: int, check: Check | None) -> Generator[tuple[Tensor, ...]]:
        """Batches from number `start` on, without end: a fresh float32 tensor per name, of the same rows.

        Several iterations may go on at once, in one thread; those that go on side by side read every window once.

        Raises:
            NotFoundError, FormatError: files of the store went away or were cut off.
        """
        per_window = self.window // self.batch_size
        number, first = divmod(start, per_window)
        self._iterations += 1
        try:
            while True:
                shuffled = generator(self.seed, WINDOW_ORDER, number).permutation(self.window)
                order = torch.from_numpy(shuffled).to(self._place)
                for index in range(first, per_window):
                    chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
                    self._ahead = self._ahead or self._reading()
                    rows = self._ahead.window(number, check or _never)
                    yield tuple(handed_over(rows[name], chosen, self.device) for name in hook_names)
                number, first = number + 1, 0
        finally:
            self._iterations -= 1
            if not self._iterations:
                self._ahead = None
                self._open.close()

    def scale(self, hook_name: str, check: Check | None = None) -> float:
        """``sqrt(width) / mean ‖x‖`` at `hook_name`, see `StoredStream.estimate_scale`."""
        norm = MeanNorm(hook_name, self.widths[hook_name])
        self._measure(norm, hook_name, check or _never)
        return norm.factor()

    def covariance(self, hook_name: str, check: Check | None = None) -> tuple[Tensor, Tensor]:
        """See `StoredStream.estimate_covariance`."""
        covariance = Covariance(hook_name, self.widths[hook_name])
        self._measure(covariance, hook_name, check or _never)
        return covariance.result()

    def _measure(self, measure: Measure, hook_name: str, check: Check) -> None:
        numbers = self.numbers(0, min(self._norm_tokens, self.tokens_per_epoch))
        with self.store.reader(hook_name) as reader:
            for part in batched(numbers, _HELD_OUT_ROWS):
                check()
                measure.add(reader.floats(part, self.device))

    def held_out(self, hook_names: Sequence[str], n_tokens: int, check: Check | None) -> Iterator[tuple[Tensor, ...]]:
        """See `StoredStream.held_out`."""
        chosen = self.store.evaluation_contexts(self.validation, self.train, n_tokens)
        numbers = self.store.row_numbers(chosen, self.rule)
        return self.store.parts(hook_names, batched(numbers, _HELD_OUT_ROWS), self.device, check)

    def numbers(self, row: int, rows: int) -> Numbers:
        """Numbers in the store of `rows` rows of the endless sequence, from its row number `row` on."""
        parts = [
            self.store.row_numbers(each.contexts, self.rule)[each.skip : each.skip + each.rows]
            for each in self._order.stretches(row, rows)
        ]
        return np.concatenate(parts)


    def _reading(self) -> WindowsAhead:
        readers = {name: self._open.enter_context(self.store.reader(name)) for name in self.widths}

        def fill(number: int, targets: Mapping[str, Tensor], check: Check) -> None:
            numbers = self.numbers(number * self.window, self.window)
            for name, reader in readers.items():
                check()
                reader.read(numbers, targets[name])

        ahead = WindowsAhead(fill, self._buffer, device=self._place, name="saewidgets-store")
        self._open.callback(ahead.close)
        return ahead

    def _buffer(self) -> dict[str, Tensor]:
        pinned = self._place.type == "cuda"  # so that the copy to the device needs no second one
        dtype = self.store.facts.torch_dtype
        return {
            name: torch.empty(self.window, width, dtype=dtype, pin_memory=pinned)
            for name, width in self.widths.items()
        }


def _check_rule(rule: TokenMask, has_tokens: bool) -> None:
    """Raises `ConfigError` where imported states are asked for what only tokens can tell."""
    if has_tokens:
        return
    for name, used in (("seqpos_slice", rule.seqpos_slice), ("exclude_token_ids", rule.exclude_ids)):
        if used:
            raise ConfigError(
                "Imported states have neither tokens nor contexts.", where=f"activations.{name}", hint="Leave it empty."
            )


class StoredStream:
    """What one run reads from a store, as shuffled batches; see `saewidgets.activations.stream.ActivationStream`.

    Args:
        store: an open store.
        config: `hook_name`, `hook_name_out`, `batch_size` and `activations` are used.
        seed: fixes the order; the configuration's if left out.
        device: where batches go.
        windows: made for the same store, batch size and seed: read in step with other streams, every window is read
            once for all.

    Attributes:
        d_in: width of the activations.
        d_out: width of the target of a transcoder; None where the activations are their own target.
        batch_size, window, tokens_per_epoch: see `StoredWindows`.

    Raises:
        ConfigError: see `StoredWindows`.
    """

    def __init__(
        self, store: StoredActivations, config: TrainingConfig, seed: int | None = None, device: str = "cpu", *,
        windows: StoredWindows | None = None,
    ) -> None:
        self.windows = windows or StoredWindows(store, config, config.hook_names, seed, device)
        self.store = store
        self.hook_name, self.hook_name_out = config.hook_name, config.hook_name_out
        self._names = config.hook_names
        self.d_in = self.windows.widths[self.hook_name]
        self.d_out = None if self.hook_name_out is None else self.windows.widths[self.hook_name_out]
        self.batch_size, self.window = self.windows.batch_size, self.windows.window
        self.tokens_per_epoch = self.windows.tokens_per_epoch

    @property
    def layout(self) -> dict[str, Any]:
        """All that bit-identity depends on; a resumed run compares it with what it had before."""
        out = {} if self.hook_name_out is None else {"hook_name_out": self.hook_name_out}
        return {"hook_name": self.hook_name, **out, **self.windows.layout}

    def batches(self, start: int = 0, check: Check | None = None) -> Iterator[Batch]:
        """Batches from number `start` on, without end.

        Args:
            start: number of the first batch.
            check: called before every window, and while one is waited for; what it raises ends the iteration.

        Yields:
            ``[batch_size, d_in]`` float32 on the device, each a tensor of its own; for a transcoder a pair of it and of
            the same rows at `hook_name_out`, ``[batch_size, d_out]``.

        Raises:
            NotFoundError, FormatError: files of the store went away or were cut off.
        """
        with closing(self.windows.batches(self._names, start, check)) as batches:
            for found in batches:
                yield found[0] if len(found) == 1 else (found[0], found[1])

    def estimate_scale(self, check: Check | None = None) -> float:
        """The factor that brings the mean norm of the activations to √d_in: ``sqrt(d_in) / mean ‖x‖``.

        The mean is over the first `norm_tokens` rows in this seed's order (over all of them where they are fewer),
        whatever batch the run is at.

        Raises:
            ConfigError: the activations are all zero or not finite.
        """
        return self.windows.scale(self.hook_name, check)

    def estimate_scale_out(self, check: Check | None = None) -> float | None:
        """The same for the target of a transcoder; None where there is none."""
        return None if self.hook_name_out is None else self.windows.scale(self.hook_name_out, check)

    def estimate_covariance(self, check: Check | None = None) -> tuple[Tensor, Tensor]:
        """Mean ``[d_in]`` and covariance ``[d_in, d_in]`` of the rows that `estimate_scale` reads, in float64.

        Raises:
            ConfigError: the activations do not vary or are not finite.
        """
        return self.windows.covariance(self.hook_name, check)

    def evaluation_contexts(self, n_tokens: int) -> Tensor:
        """Token ids of held-out contexts, ``[n, context_size]`` int64: the same for every run and seed.

        Raises:
            ConfigError: the store holds no tokens.
        """
        chosen = self.store.evaluation_contexts(self.windows.validation, self.windows.train, n_tokens)
        return torch.from_numpy(self.store.contexts(chosen))

    def held_out(self, n_tokens: int, check: Check | None = None) -> Iterator[tuple[Tensor, ...]]:
        """The activations of those contexts, a few thousand rows at a time.

        Yields:
            ``(x,)``, or ``(x, target)`` for a transcoder: ``[rows, width]`` float32 on the device.
        """
        return self.windows.held_out(self._names, n_tokens, check)


def _never() -> None:
    """Nobody asks for anything."""
