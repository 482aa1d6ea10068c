"""Batches from a store of activations: the same order and interface as `ActivationStream`, without a language model.

Batch number b is a pure function of (store, configuration, seed, b). A window is made of contexts from all over the
store, each read in one piece; its rows are then permuted. While one window is used, the next is read by a thread.
Memory: two windows in the store's number format, and one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saewidgets.activations.order import WINDOW_ORDER, EndlessOrder, Numbers, generator, split
from saewidgets.activations.store import RowReader, StoredActivations, batched
from saewidgets.activations.stream import Batch, Check
from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError

_HELD_OUT_ROWS = 8192  # rows of held-out activations at once
_PATIENCE = 0.05  # seconds between two looks at whether somebody wants something, while the disk is slow


class StoredStream:
    """Shuffled batches from a store.

    Args:
        store: an open store.
        config: `hook_name`, `hook_name_out`, `batch_size` and `activations` are used.
        seed: fixes the order; None takes the configuration's.
        device: where batches go.

    Attributes:
        d_in: width of the activations.
        d_out: width of the target of a transcoder; None where the activations are their own target.
        batch_size: rows per batch.
        window: rows shuffled together.
        tokens_per_epoch: kept rows in one pass over the training part.
        train, validation: context numbers.

    Raises:
        ConfigError: the store does not hold the hook point, or is smaller than one batch.
    """

    def __init__(
        self, store: StoredActivations, config: TrainingConfig, seed: int | None = None, device: str = "cpu"
    ) -> None:
        settings = config.activations
        self.store, self.device = store, torch.device(device)
        self.hook_name, self.hook_name_out = config.hook_name, config.hook_name_out
        self._names = config.hook_names
        self.d_in = store.width(self.hook_name)
        self.d_out = None if self.hook_name_out is None else store.width(self.hook_name_out)
        self.batch_size = config.batch_size
        self.seed = config.seed if seed is None else seed
        self.window = self.batch_size * max(1, round(settings.shuffle_tokens / self.batch_size))
        self._norm_tokens = settings.norm_tokens
        self._exclude = settings.exclude_special_tokens
        facts = store.facts
        self.train, self.validation = split(facts.n_contexts, facts.n_held_out, settings.validation_share)
        self._order = EndlessOrder(self.train, store.kept_counts(self.train, self._exclude), self.seed)
        self.tokens_per_epoch = self._order.rows_per_epoch
        if self.tokens_per_epoch < self.batch_size:
            raise ConfigError(
                f"The store has {self.tokens_per_epoch:,} training rows, fewer than one batch of {self.batch_size:,}.",
                where="corpus", hint="Capture more tokens, or lower Batch size.",
            )

    @property
    def layout(self) -> dict[str, Any]:
        """All that bit-identity depends on; a resumed run compares it with what it had before."""
        out = {} if self.hook_name_out is None else {"hook_name_out": self.hook_name_out}
        return {
            "hook_name": self.hook_name,
            **out,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "window": self.window,
            "exclude_special_tokens": self._exclude,
            "tokens": self.store.fingerprint,
            "train_contexts": len(self.train),
            "tokens_per_epoch": self.tokens_per_epoch,
            "stored_dtype": self.store.facts.dtype,
            "torch": torch.__version__,
            "numpy": np.__version__,
        }

    def batches(self, start: int = 0, check: Check | None = None) -> Iterator[Batch]:
        """Batches from number `start` on, without end.

        Args:
            start: number of the first batch.
            check: called before every window, and while one is waited for; what it raises ends the iteration.

        Yields:
            ``[batch_size, d_in]`` float32 on `device`, each a tensor of its own; for a transcoder a pair of them,
            ``(x, target)``.

        Raises:
            NotFoundError, FormatError: files of the store went away or were cut off.
        """
        check = check or (lambda: None)
        per_window = self.window // self.batch_size
        number, first = divmod(start, per_window)
        with ExitStack() as stack:
            readers = [stack.enter_context(self.store.reader(name)) for name in self._names]
            buffers = [[self._buffer(reader) for reader in readers] for _ in range(2)]
            thread = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="saewidgets-store"))
            coming = thread.submit(self._read, readers, number, buffers[0])
            turn = 0
            while True:
                _await(coming, check)
                window = [buffer.to(self.device) for buffer in buffers[turn]]
                turn = 1 - turn
                coming = thread.submit(self._read, readers, number + 1, buffers[turn])
                order = torch.from_numpy(generator(self.seed, WINDOW_ORDER, number).permutation(self.window))
                order = order.to(self.device)
                for index in range(first, per_window):
                    chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
                    found = [each.index_select(0, chosen).float() for each in window]
                    yield found[0] if len(found) == 1 else (found[0], found[1])
                number, first = number + 1, 0

    def estimate_scale(self, check: Check | None = None) -> float:
        """The factor that brings the mean norm of the activations to √d_in: ``sqrt(d_in) / mean ‖x‖``.

        The mean is over the first `norm_tokens` rows in this seed's order (over all of them where they are fewer),
        whatever batch the run is at.

        Raises:
            ConfigError: the activations are all zero or not finite.
        """
        return self._scale(self.hook_name, check)

    def estimate_scale_out(self, check: Check | None = None) -> float | None:
        """The same for the target of a transcoder; None where there is none."""
        return None if self.hook_name_out is None else self._scale(self.hook_name_out, check)

    def evaluation_contexts(self, n_tokens: int) -> Tensor:
        """Token ids of held-out contexts, ``[n, context_size]`` int64: the same for every run and seed.

        Raises:
            ConfigError: the store holds no tokens.
        """
        chosen = self.store.evaluation_contexts(self.validation, self.train, n_tokens)
        return torch.from_numpy(self.store.contexts(chosen))

    def held_out(self, n_tokens: int, check: Check | None = None) -> Iterator[tuple[Tensor, ...]]:
        """The activations of those contexts, a few thousand rows at a time.

        Yields:
            ``(x,)``, or ``(x, target)`` for a transcoder: ``[rows, width]`` float32 on `device`.
        """
        chosen = self.store.evaluation_contexts(self.validation, self.train, n_tokens)
        numbers = self.store.row_numbers(chosen, self._exclude)
        with ExitStack() as stack:
            readers = [stack.enter_context(self.store.reader(name)) for name in self._names]
            for part in batched(numbers, _HELD_OUT_ROWS):
                if check is not None:
                    check()
                yield tuple(self._rows(reader, part) for reader in readers)

    def _rows(self, reader: RowReader, numbers: Numbers) -> Tensor:
        target = torch.empty(len(numbers), reader.width, dtype=reader.dtype)
        reader.read(numbers, target)
        return target.to(self.device).float()

    def _scale(self, hook_name: str, check: Check | None) -> float:
        numbers = self._numbers(0, min(self._norm_tokens, self.tokens_per_epoch))
        total = 0.0
        with self.store.reader(hook_name) as reader:
            for part in batched(numbers, _HELD_OUT_ROWS):
                if check is not None:
                    check()
                total += float(self._rows(reader, part).norm(dim=-1).double().sum())
        mean = total / len(numbers)
        if not 0 < mean < float("inf"):
            raise ConfigError(
                f"The mean norm of the stored activations is {mean}.", where="hook_name",
                hint="These are no usable numbers; capture them again, in another number format perhaps.",
            )
        return float(self.store.width(hook_name) ** 0.5 / mean)

    def _buffer(self, reader: RowReader) -> Tensor:
        pinned = self.device.type == "cuda"  # so that the copy to the device needs no second one
        return torch.empty(self.window, reader.width, dtype=reader.dtype, pin_memory=pinned)

    def _read(self, readers: list[RowReader], number: int, targets: list[Tensor]) -> None:
        """Read window `number` into `targets`, in the order of the sequence."""
        numbers = self._numbers(number * self.window, self.window)
        for reader, target in zip(readers, targets, strict=True):
            reader.read(numbers, target)

    def _numbers(self, row: int, rows: int) -> Numbers:
        """Numbers in the store of `rows` rows of the endless sequence."""
        parts = [
            self.store.row_numbers(each.contexts, self._exclude)[each.skip : each.skip + each.rows]
            for each in self._order.stretches(row, rows)
        ]
        return np.concatenate(parts)


def _await(coming: Future[None], check: Check) -> None:
    """Until the thread has read its window; `check` may end it. Raises what the thread met."""
    check()
    while not coming.done():
        wait([coming], _PATIENCE)
        check()
    coming.result()
