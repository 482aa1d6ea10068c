"""The activation stream: language-model forwards → shuffled batches of activations.

Batch number b is a pure function of (model, packed tokens, configuration, seed, b), so a run that resumes at step b
sees what it would have seen:

- Epoch e reads the training contexts in an order drawn from (seed, e). One epoch after the other they make an endless
  sequence of contexts, and of rows: one per position that is kept (special tokens may be left out).
- The language model always reads contexts ``m·model_batch_size … (m+1)·model_batch_size - 1`` of that sequence
  together, wherever reading starts: a row can depend on its neighbours in the last bits.
- Window w is rows ``w·window … (w+1)·window - 1``, permuted by (seed, w). `window` is a multiple of the batch size, so
  every batch is full and lies in one window; what an epoch leaves over opens the next one's first window.

Memory: one window plus one language-model batch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saewidgets.activations.packing import PackedTokens
from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError
from saewidgets.lm import LoadedModel, capture, check_context, resolve_hook

Check = Callable[[], None]

_CONTEXT_ORDER, _WINDOW_ORDER = 1, 2  # keep the two kinds of random order apart


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a row of the endless sequence is: context number in the sequence, and kept rows before that context."""

    context: int
    row: int


class ActivationStream:
    """Activations of one hook point as shuffled batches.

    Args:
        lm: the language model.
        packed: contexts from `pack`.
        config: `hook_name`, `batch_size` and `activations` are used.
        seed: fixes the order.

    Attributes:
        d_in: width of the activations.
        batch_size: rows per batch.
        window: rows shuffled together.
        tokens_per_epoch: kept rows in one pass over the training contexts.

    Raises:
        HookError: the model has no such hook point.
        ConfigError: contexts are longer than the model can read, token ids are outside its vocabulary, or the corpus is
            smaller than one batch.
    """

    def __init__(self, lm: LoadedModel, packed: PackedTokens, config: TrainingConfig, seed: int | None = None) -> None:
        settings = config.activations
        self.lm, self.packed = lm, packed
        self.hook_name = config.hook_name
        self.d_in = resolve_hook(lm.model, config.hook_name).width
        self.batch_size = config.batch_size
        self.seed = config.seed if seed is None else seed
        self.window = self.batch_size * max(1, round(settings.shuffle_tokens / self.batch_size))
        self._model_batch = settings.model_batch_size
        self._norm_tokens = settings.norm_tokens
        self._exclude = settings.exclude_special_tokens
        check_context(lm.name, lm.context, packed.context_size)
        if packed.facts.largest_id >= lm.vocab_size:
            raise ConfigError(
                f"The text has token id {packed.facts.largest_id:,}, but {lm.name} knows {lm.vocab_size:,} tokens.",
                where="tokenizer", hint="Pass the tokenizer that belongs to the model.",
            )
        self._counts = packed.kept_counts(packed.train, self._exclude)
        self.tokens_per_epoch = int(self._counts.sum())
        if self.tokens_per_epoch < self.batch_size:
            raise ConfigError(
                f"The corpus has {self.tokens_per_epoch:,} training tokens, "
                f"fewer than one batch of {self.batch_size:,}.",
                where="corpus", hint="Give more text, or lower Batch size.",
            )
        self._epochs: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}

    @property
    def layout(self) -> dict[str, Any]:
        """All that bit-identity depends on; a resumed run compares it with what it had before."""
        import transformers  # long loaded here; at the top it would slow the import of this package

        device = self.lm.device
        return {
            "seed": self.seed,
            "hook_name": self.hook_name,
            "batch_size": self.batch_size,
            "window": self.window,
            "model_batch_size": self._model_batch,
            "context_size": self.packed.context_size,
            "exclude_special_tokens": self._exclude,
            "tokens": self.packed.fingerprint,
            "train_contexts": len(self.packed.train),
            "tokens_per_epoch": self.tokens_per_epoch,
            "model": self.lm.fingerprint(),
            "model_dtype": str(self.lm.dtype).removeprefix("torch."),
            "attention": str(getattr(getattr(self.lm.model, "config", None), "_attn_implementation", "unknown")),
            "device": device.type,
            "device_name": _device_name(device),
            "threads": torch.get_num_threads() if device.type == "cpu" else None,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "numpy": np.__version__,
        }

    def batches(self, start: int = 0, check: Check | None = None) -> Iterator[Tensor]:
        """Batches from number `start` on, without end.

        Args:
            start: number of the first batch.
            check: called before every language-model batch; what it raises ends the iteration.

        Yields:
            ``[batch_size, d_in]`` float32 on the model's device, each a tensor of its own, without gradient.
        """
        per_window = self.window // self.batch_size
        number, first = divmod(start, per_window)
        rows = self._rows(number * self.window, check or (lambda: None))
        buffer = torch.empty(self.window, self.d_in, dtype=self.lm.dtype, device=self.lm.device)
        while True:
            filled = 0
            while filled < self.window:
                filled += rows.fill(buffer[filled:])
            order = torch.from_numpy(self._generator(_WINDOW_ORDER, number).permutation(self.window)).to(buffer.device)
            for index in range(first, per_window):
                chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
                yield buffer.index_select(0, chosen).float()
            number, first = number + 1, 0

    def estimate_scale(self, check: Check | None = None) -> float:
        """The factor that brings the mean norm of the activations to √d_in: ``sqrt(d_in) / mean ‖x‖``.

        The mean is over the first `norm_tokens` rows of the training text in this seed's order (over all of it where it
        is smaller), whatever batch the run is at.

        Raises:
            ConfigError: the activations are all zero or not finite.
        """
        wanted = min(self._norm_tokens, self.tokens_per_epoch)
        rows = self._rows(0, check or (lambda: None))
        part = torch.empty(min(wanted, 8192), self.d_in, dtype=self.lm.dtype, device=self.lm.device)
        total, done = 0.0, 0
        while done < wanted:
            count = rows.fill(part[: wanted - done])
            total += float(part[:count].float().norm(dim=-1).double().sum())
            done += count
        mean = total / done
        if not 0 < mean < float("inf"):
            raise ConfigError(
                f"The mean norm of the activations is {mean}.", where="hook_name",
                hint="The model produces no usable numbers here; try another precision (model_dtype) or hook point.",
            )
        return float(self.d_in**0.5 / mean)

    def evaluation_contexts(self, n_tokens: int) -> Tensor:
        """Held-out contexts, ``[n, context_size]`` int64; see `PackedTokens.evaluation_contexts`."""
        return torch.from_numpy(self.packed.evaluation_contexts(n_tokens))

    def _generator(self, kind: int, number: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, kind, number])))

    def _epoch(self, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(context numbers in this epoch's order, kept rows before each of them)."""
        if epoch not in self._epochs:
            order = self._generator(_CONTEXT_ORDER, epoch).permutation(len(self.packed.train))
            counts = self._counts[order]
            self._epochs = {e: v for e, v in self._epochs.items() if e == epoch - 1}  # a batch can span two
            self._epochs[epoch] = (self.packed.train[order], np.cumsum(counts) - counts)
        return self._epochs[epoch]

    def _place(self, row: int) -> _Place:
        """The context that row number `row` of the endless sequence is in."""
        epoch, within = divmod(row, self.tokens_per_epoch)
        _, before = self._epoch(epoch)
        index = int(np.searchsorted(before, within, side="right")) - 1
        return _Place(epoch * len(self.packed.train) + index, epoch * self.tokens_per_epoch + int(before[index]))

    def _contexts(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """Context numbers `first` … `first + count - 1` of the endless sequence."""
        n = len(self.packed.train)
        return np.array([self._epoch(g // n)[0][g % n] for g in range(first, first + count)], dtype=np.int64)

    def _rows(self, row: int, check: Check) -> _Rows:
        return _Rows(self, row, check)

    def _forward(self, batch: int) -> tuple[Tensor, npt.NDArray[np.bool_]]:
        """Language-model batch number `batch`: activations ``[contexts, context_size, d_in]`` and the rows to keep."""
        tokens = self.packed.contexts(self._contexts(batch * self._model_batch, self._model_batch))
        found = capture(self.lm.model, [self.hook_name], torch.from_numpy(tokens))[self.hook_name]
        return found, self.packed.kept(tokens, self._exclude)


class _Rows:
    """Reads the endless sequence of rows forward from one place, a language-model batch at a time."""

    def __init__(self, stream: ActivationStream, row: int, check: Check) -> None:
        self._stream, self._check = stream, check
        place = stream._place(row)
        self._batch = place.context // stream._model_batch
        # The batch may start with contexts that lie before the wanted row: their kept rows are skipped.
        ahead = stream._contexts(self._batch * stream._model_batch, place.context % stream._model_batch)
        self._skip = row - place.row + int(stream.packed.kept_counts(ahead, stream._exclude).sum())
        self._waiting: Tensor | None = None  # rows computed and not handed out yet

    def fill(self, target: Tensor) -> int:
        """Write rows into the start of `target` ``[n, d_in]``; returns how many (0 where a batch keeps none)."""
        if self._waiting is None or not len(self._waiting):
            self._check()
            found, kept = self._stream._forward(self._batch)
            self._batch += 1
            flat = found.reshape(-1, found.shape[-1])
            index = np.flatnonzero(kept)[self._skip :]
            self._skip = max(0, self._skip - int(kept.sum()))
            if len(index) < kept.size:
                flat = flat.index_select(0, torch.from_numpy(index).to(flat.device))
            self._waiting = flat
        count = min(len(target), len(self._waiting))
        target[:count].copy_(self._waiting[:count])
        self._waiting = self._waiting[count:]
        return count


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    machine = os.uname().machine if hasattr(os, "uname") else "unknown"
    return f"{machine} {torch.backends.cpu.get_cpu_capability()}"
