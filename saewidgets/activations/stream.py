"""Defines `Windows` and `ActivationStream`: language-model forwards → shuffled batches of activations.

Batch number b is a pure function of (model, packed tokens, configuration, seed, b), so a run that resumes at step b
sees what it would have seen:

- Epoch e reads the training contexts in an order drawn from (seed, e). One epoch after the other they make an endless
  sequence of contexts, and of rows: one per position that is kept (special tokens may be left out, and positions).
- The language model always reads contexts ``m·model_batch_size … (m+1)·model_batch_size - 1`` of that sequence
  together, wherever reading starts: a row can depend on its neighbours in the last bits.
- Window w is rows ``w·window … (w+1)·window - 1``, permuted by (seed, w). `window` is a multiple of the batch size, so
  every batch is full and lies in one window; what an epoch leaves over opens the next one's first window.

A forward can feed several hook points: `Windows` holds one window of each, `ActivationStream` takes what one run reads
from them. Streams that share their windows and go on side by side cost one forward together, and each sees what it
would have seen alone.

Where the model and the SAE are on different devices, the next window is computed by a thread while one is used: both
devices work. That changes no number, only when it is computed.

Memory: one window per hook point plus one language-model batch; two windows where the next is computed ahead.
"""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from saewidgets.activations.packed import PackedTokens
from saewidgets.activations.prefetch import Check, WindowsAhead, handed_over
from saewidgets.activations.shuffle import WINDOW_ORDER, EndlessOrder, Numbers, generator
from saewidgets.config import TrainingConfig
from saewidgets.durable import storage_errors
from saewidgets.errors import ConfigError
from saewidgets.lm import LoadedModel, capture, check_context, evaluating, resolve_hook
from saewidgets.lm.tokens import TokenMask
from saewidgets.settings import resolve_device

# What is measured of activations before training: their mean norm, or their mean and covariance. The sums are kept
# in a file, so that a run which is left in the middle goes on with them.

_HINT = "The model produces no usable numbers there; try another precision (model_dtype) or hook point."


class MeanNorm:
    """The factor that brings the mean norm of the rows to √width. `sums` are running ones; "rows" is how many."""

    def __init__(self, name: str, width: int) -> None:
        self._name, self._width = name, width
        self.sums = {"rows": torch.tensor(0), "norms": torch.tensor(0.0, dtype=torch.float64)}

    def add(self, rows: Tensor) -> None:
        self.sums["norms"] += float(rows.float().norm(dim=-1).double().sum())
        self.sums["rows"] += len(rows)

    def factor(self) -> float:
        """``sqrt(width) / mean ‖x‖``"""
        mean = float(self.sums["norms"]) / max(int(self.sums["rows"]), 1)
        if not 0 < mean < float("inf"):
            raise ConfigError(
                f"The mean norm of the activations at {self._name} is {mean}.", where="hook_name", hint=_HINT
            )
        return float(self._width**0.5 / mean)


class Covariance:
    """Mean and covariance of the rows, in float64, from `sums` as `MeanNorm` has them."""

    def __init__(self, name: str, width: int) -> None:
        self._name, self._width = name, width
        self.sums = {
            "rows": torch.tensor(0), "sum": torch.zeros(width, dtype=torch.float64),
            "outer": torch.zeros(width, width, dtype=torch.float64),
        }  # fmt: skip

    def add(self, rows: Tensor) -> None:
        if rows.device.type == "mps":  # it has no float64
            rows = rows.cpu()
        rows = rows.double()
        self.sums = {name: sum_.to(rows.device) for name, sum_ in self.sums.items()}
        self.sums["sum"] += rows.sum(0)
        self.sums["outer"].addmm_(rows.T, rows)
        self.sums["rows"] += len(rows)

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean [width] and covariance [width, width] (over n - 1), float64 on the device of the rows."""
        count = int(self.sums["rows"])
        mean = self.sums["sum"] / max(count, 1)
        covariance = (self.sums["outer"] - count * torch.outer(mean, mean)) / max(count - 1, 1)
        variance = float(covariance.trace())
        if not 0 < variance < float("inf"):
            raise ConfigError(
                f"The variance of the activations at {self._name} is {variance}.", where="hook_name", hint=_HINT
            )
        return mean, covariance


def _keep(file: Path, of: str, found: Mapping[str, MeanNorm | Covariance]) -> None:
    tensors = {f"{of} {name} {key}": each.cpu() for name, one in found.items() for key, each in one.sums.items()}
    with storage_errors("The measurements cannot be written", file, "Free some space, then resume."):
        draft = file.with_suffix(".part")
        draft.write_bytes(save(tensors))
        os.replace(draft, file)


def _take_up(file: Path, of: str, found: Mapping[str, MeanNorm | Covariance]) -> int:
    """Go on with what `_keep` wrote of the same rows; how many they were, 0 where there is nothing of them."""
    try:
        kept = load(file.read_bytes())
    except (FileNotFoundError, SafetensorError):  # a machine that went down may leave half a file: measured anew
        return 0
    names = {f"{of} {name} {key}": (one, key) for name, one in found.items() for key in one.sums}
    if kept.keys() != names.keys():
        return 0
    for name, (one, key) in names.items():
        one.sums[key] = kept[name]
    return min(int(one.sums["rows"]) for one in found.values())


M = TypeVar("M", MeanNorm, Covariance)

Batch = Tensor | tuple[Tensor, Tensor]
"""Activations [batch_size, d_in]; for a transcoder with what it has to reconstruct, [batch_size, d_out]."""

_SCALE_ROWS = 8192  # rows whose norms are taken at once


def _ignore(filled: int, window: int) -> None:
    """Nobody is told of windows."""


class RowWindows(ABC):
    """Windows of rows at one or several hook points, each shuffled and cut into batches.

    Attributes:
        widths: hook name → width of its activations.
        batch_size: rows per batch.
        window: rows shuffled together.
        tokens_per_epoch: kept rows in one pass over the training contexts.
        train, validation: context numbers.
        device: where batches go.
        filled: rows that are there of the window that is filled now.
        on_fill: called with `filled` and `window` while a batch waits for its window, and once it is whole.
    """

    _more = "Give more text"

    def __init__(
        self, config: TrainingConfig, widths: dict[str, int], seed: int | None, device: torch.device,
        split: tuple[Numbers, Numbers], kept_counts: Callable[[Numbers, TokenMask], Numbers],
    ) -> None:
        settings = config.activations
        self.widths, self.device = widths, device
        self.batch_size = config.batch_size
        self.seed = config.seed if seed is None else seed
        self.window = self.batch_size * max(1, round(settings.shuffle_tokens / self.batch_size))
        self.train, self.validation = split
        name = settings.buffer_device
        self._place = device if name is None else torch.device(resolve_device(name, "activations.buffer_device"))
        self._norm_tokens = settings.norm_tokens
        self._rule = TokenMask.of(settings)
        self._order = EndlessOrder(self.train, kept_counts(self.train, self._rule), self.seed)
        self.tokens_per_epoch = self._order.rows_per_epoch
        if self.tokens_per_epoch < self.batch_size:
            raise ConfigError(
                f"There are {self.tokens_per_epoch:,} training tokens, fewer than one batch of {self.batch_size:,}.",
                where="corpus", hint=f"{self._more}, or lower Batch size{self._rule.advice}.",
            )
        self.filled = 0
        self.on_fill: Callable[[int, int], None] = _ignore
        self._scales: dict[str, float] = {}
        self._covariances: dict[str, Covariance] = {}
        self._readers = 0
        self._ahead: WindowsAhead | None = None
        self._open = ExitStack()  # what the thread that fills windows ahead needs

    @property
    def layout(self) -> dict[str, Any]:
        """All that bit-identity depends on, but which activations are read."""
        return {
            "seed": self.seed, "batch_size": self.batch_size, "window": self.window, **self._rule.layout,
            "train_contexts": len(self.train), "tokens_per_epoch": self.tokens_per_epoch, "device": self.device.type,
            "torch": torch.__version__, "numpy": np.__version__,
        }  # fmt: skip

    def scale(self, hook_name: str, check: Check) -> float:
        if hook_name not in self._scales:
            found = self._measured(MeanNorm, hook_name, check)
            self._scales |= {name: norm.factor() for name, norm in found.items()}
        return self._scales[hook_name]

    def covariance(self, hook_name: str, check: Check) -> tuple[Tensor, Tensor]:
        if hook_name not in self._covariances:
            self._covariances = self._measured(Covariance, hook_name, check)
        return self._covariances.pop(hook_name).result()  # which is large: it is not kept

    @abstractmethod
    def _measured(self, kind: Callable[[str, int], M], hook_name: str, check: Check) -> dict[str, M]:
        """The first rows of the training text in this seed's order, in a measure of this name, and maybe of others."""

    @abstractmethod
    def evaluation_contexts(self, n_tokens: int) -> Numbers: ...

    @abstractmethod
    def _hold(self, number: int, check: Check) -> Mapping[str, Tensor]:
        """Window `number`, hook name → [window, width] in its own number format; the one before it is lost."""

    def batches(self, hook_names: Sequence[str], start: int, check: Check) -> Generator[tuple[Tensor, ...]]:
        """Batches from number `start` on, without end: a fresh float32 tensor per name, of the same rows, on `device`.

        Several iterations may go on at once. The window that one of them needs is kept until one needs another, so
        they share the work as long as none is a window ahead.
        """
        per_window = self.window // self.batch_size
        number, first = divmod(start, per_window)
        has_waited = False

        def waiting() -> None:
            nonlocal has_waited
            check()
            has_waited = True
            self.on_fill(min(self.filled, self.window - 1), self.window)

        self._readers += 1
        try:
            while True:
                shuffled = generator(self.seed, WINDOW_ORDER, number).permutation(self.window)
                order = torch.from_numpy(shuffled).to(self._place)
                for index in range(first, per_window):
                    chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
                    rows = self._hold(number, waiting)
                    if has_waited:
                        has_waited = False
                        self.on_fill(self.window, self.window)
                    yield tuple(handed_over(rows[name], chosen, self.device) for name in hook_names)
                number, first = number + 1, 0
        finally:
            self._readers -= 1
            if not self._readers:
                self._release()

    def _release(self) -> None:
        self._ahead = None
        self._open.close()


class Windows(RowWindows):
    """Windows of rows at one or several hook points of one forward, which ends behind the deepest. `kept` is a file for
    what is measured of the rows, so that it goes on after an interruption; `on_measured` is called with their
    number and the total."""

    def __init__(
        self,
        lm: LoadedModel,
        packed: PackedTokens,
        config: TrainingConfig,
        hook_names: Sequence[str],
        seed: int | None = None,
        device: torch.device | str | None = None,
        *,
        kept: Path | None = None,
        on_measured: Callable[[int, int], None] | None = None,
    ) -> None:
        settings = config.activations
        self.lm, self.packed = lm, packed
        self._kept, self._on_measured = kept, on_measured
        device = lm.device if device is None else torch.device(device)
        self.reads_ahead = settings.read_ahead == "on" or (settings.read_ahead == "auto" and lm.device != device)
        widths = {name: resolve_hook(lm.model, name).width for name in dict.fromkeys(hook_names)}
        self._model_batch = settings.model_batch_size
        check_text(lm, packed)
        super().__init__(config, widths, seed, device, (packed.train, packed.validation), packed.kept_counts)
        self._held: int | None = None
        self._rows: _Rows | None = None
        self._buffers: dict[str, Tensor] = {}
        self._begun = 0  # rows of the first window that are in the buffers

    @property
    def layout(self) -> dict[str, Any]:
        import transformers  # long loaded here; at the top it would slow the import of this package

        device = self.lm.device
        return {
            **super().layout,
            "model_batch_size": self._model_batch,
            "context_size": self.packed.context_size,
            "tokens": self.packed.fingerprint,
            "model": self.lm.fingerprint(),
            "model_dtype": str(self.lm.dtype).removeprefix("torch."),
            "attention": str(getattr(getattr(self.lm.model, "config", None), "_attn_implementation", "unknown")),
            "device": device.type,
            "device_name": device_name(device),
            "threads": torch.get_num_threads() if device.type == "cpu" else None,
            "transformers": transformers.__version__,
        }

    def evaluation_contexts(self, n_tokens: int) -> Numbers:
        return self.packed.evaluation_contexts(n_tokens)

    def _measured(self, kind: Callable[[str, int], M], hook_name: str, check: Check) -> dict[str, M]:
        """All names in one pass."""
        found = {name: kind(name, width) for name, width in self.widths.items()}
        wanted = min(self._norm_tokens, self.tokens_per_epoch)
        of = hashlib.sha256(json.dumps([self.layout, wanted], sort_keys=True).encode()).hexdigest()[:24]
        done = _take_up(self._kept, of, found) if self._kept is not None else 0
        rows = _Rows(self, done)
        parts = self._empty(min(wanted, _SCALE_ROWS), self.lm.device)
        is_first = not done and not self.reads_ahead and self._place == self.lm.device
        if is_first:  # the first window begins with these rows
            self._rows, self._buffers = rows, self._buffer()
        try:
            while done < wanted:
                into = parts
                if is_first and done < self.window:
                    into = {name: target[done:] for name, target in self._buffers.items()}
                count = rows.fill({name: part[: wanted - done] for name, part in into.items()}, check)
                for name, part in into.items():
                    found[name].add(part[:count])
                done += count
                self._begun = min(done, self.window) if is_first else 0
                if self._on_measured is not None:
                    self._on_measured(done, wanted)
        finally:
            if self._kept is not None:
                _keep(self._kept, of, found)
        return found

    def _hold(self, number: int, check: Check) -> Mapping[str, Tensor]:
        if self.reads_ahead:
            if self._ahead is None:
                # Or a forward here would switch dropout on again in the middle of an evaluation.
                self._open.enter_context(evaluating(self.lm.model))
                self._ahead = WindowsAhead(self._fill, self._buffer, name="saewidgets-forwards")
                self._open.callback(self._ahead.close)
            return self._ahead.window(number, check)
        if self._held != number:
            self._held = None
            self._buffers = self._buffers or self._buffer()
            self._fill(number, self._buffers, check)
            self._held = number
        return self._buffers

    def _fill(self, number: int, targets: Mapping[str, Tensor], check: Check) -> None:
        """Compute window `number`; those that follow one another need no forward twice."""
        filled, self._begun = 0 if number else self._begun, 0
        first = number * self.window + filled
        if self._rows is None or self._rows.next_row != first:
            self._rows = _Rows(self, first)
        try:
            while filled < self.window:
                self.filled = filled
                filled += self._rows.fill({name: target[filled:] for name, target in targets.items()}, check)
        except BaseException:
            self._rows = None  # half a window: the next reader starts anew
            raise

    def _release(self) -> None:
        super()._release()
        self._held, self._rows, self._buffers, self._begun = None, None, {}, 0

    def _buffer(self) -> dict[str, Tensor]:
        return self._empty(self.window, self._place)

    def _empty(self, rows: int, device: torch.device) -> dict[str, Tensor]:
        dtype = self.lm.dtype
        return {name: torch.empty(rows, width, dtype=dtype, device=device) for name, width in self.widths.items()}

    def place(self, row: int) -> tuple[int, int]:
        """Where row number `row` of the endless sequence is: number of its context there, and rows before that."""
        epoch, within = divmod(row, self.tokens_per_epoch)
        _, before = self._order.epoch(epoch)
        index = int(np.searchsorted(before, within, side="right")) - 1
        return epoch * len(self.train) + index, epoch * self.tokens_per_epoch + int(before[index])

    def rows_before(self, context: int) -> tuple[int, int]:
        """The language-model batch that context number `context` is in, and the kept rows of it that lie before."""
        batch, within = divmod(context, self._model_batch)
        ahead = self._contexts(batch * self._model_batch, within)
        return batch, int(self.packed.kept_counts(ahead, self._rule).sum())

    def _contexts(self, first: int, count: int) -> Numbers:
        """Context numbers `first` … `first + count - 1` of the endless sequence."""
        n = len(self.train)
        return np.array([self._order.epoch(g // n)[0][g % n] for g in range(first, first + count)], dtype=np.int64)

    def forward(self, batch: int) -> tuple[dict[str, Tensor], npt.NDArray[np.bool_]]:
        """Language-model batch number `batch`: activations ``[contexts, context_size, width]``, and rows to keep."""
        tokens = self.packed.contexts(self._contexts(batch * self._model_batch, self._model_batch))
        found = capture(self.lm.model, list(self.widths), torch.from_numpy(tokens))
        return found, self.packed.kept(tokens, self._rule)


class _Rows:
    """Reads the endless sequence of rows forward from one place, a language-model batch at a time."""

    def __init__(self, windows: Windows, row: int) -> None:
        self._windows = windows
        self.next_row = row
        context, first = windows.place(row)
        # The batch may start with contexts that lie before the wanted row: their kept rows are skipped.
        self._batch, before = windows.rows_before(context)
        self._skip = row - first + before
        self._waiting: dict[str, Tensor] = {}  # rows computed and not handed out yet
        self._left = 0

    def fill(self, targets: Mapping[str, Tensor], check: Check) -> int:
        """Write rows into the start of each target ``[n, width]``; returns how many (0 where a batch keeps none)."""
        if not self._left:
            check()
            self._read()
        count = min(self._left, *(len(target) for target in targets.values()))
        for name, target in targets.items():
            # A copy to the CPU's memory must be complete: it is read without waiting for the GPU.
            target[:count].copy_(self._waiting[name][:count], non_blocking=target.is_cuda)
            self._waiting[name] = self._waiting[name][count:]
        self._left -= count
        self.next_row += count
        return count

    def _read(self) -> None:
        found, kept = self._windows.forward(self._batch)
        self._batch += 1
        index = np.flatnonzero(kept)[self._skip :]
        self._skip = max(0, self._skip - int(kept.sum()))
        self._left = len(index)
        self._waiting = {name: activation.reshape(-1, activation.shape[-1]) for name, activation in found.items()}
        if len(index) < kept.size:
            chosen = torch.from_numpy(index)
            for name, flat in self._waiting.items():
                self._waiting[name] = flat.index_select(0, chosen.to(flat.device))


class RowStream:
    """What one run reads, as shuffled batches: ``[batch_size, d_in]``, for a transcoder with targets ``[batch_size,
    d_out]``."""

    def __init__(self, windows: RowWindows, config: TrainingConfig) -> None:
        self._windows = windows
        self.hook_name, self.hook_name_out = config.hook_name, config.hook_name_out
        self._names = config.hook_names
        self.d_in = windows.widths[self.hook_name]
        self.d_out = None if self.hook_name_out is None else windows.widths[self.hook_name_out]
        self.batch_size, self.window = windows.batch_size, windows.window
        self.tokens_per_epoch = windows.tokens_per_epoch

    @property
    def layout(self) -> dict[str, Any]:
        """All that bit-identity depends on; a resumed run compares it with what it had before."""
        out = {} if self.hook_name_out is None else {"hook_name_out": self.hook_name_out}
        return {"hook_name": self.hook_name, **out, **self._windows.layout}

    def batches(self, start: int = 0, check: Check = lambda: None) -> Generator[Batch]:
        """Batches from number `start` on, without end: ``[batch_size, d_in]`` float32, each a tensor of its own; for a
        transcoder a pair of it and of the same rows at `hook_name_out`. What `check`, called before every forward or
        stored window, raises ends the iteration."""
        with closing(self._windows.batches(self._names, start, check)) as batches:
            for found in batches:
                yield found[0] if len(found) == 1 else (found[0], found[1])

    def estimate_scale(self, check: Check = lambda: None) -> float:
        """The factor that brings the mean norm of the activations to √d_in, from the first `norm_tokens` rows of the
        training text in this seed's order, whatever batch the run is at."""
        return self._windows.scale(self.hook_name, check)

    def estimate_scale_out(self, check: Check = lambda: None) -> float | None:
        return None if self.hook_name_out is None else self._windows.scale(self.hook_name_out, check)

    def estimate_covariance(self, check: Check = lambda: None) -> tuple[Tensor, Tensor]:
        """Mean ``[d_in]`` and covariance ``[d_in, d_in]``, float64, of the rows that `estimate_scale` reads."""
        return self._windows.covariance(self.hook_name, check)

    def evaluation_contexts(self, n_tokens: int) -> Tensor:
        return torch.from_numpy(self._windows.evaluation_contexts(n_tokens))

    @property
    def n_held_out(self) -> int:
        return len(self._windows.validation)


class ActivationStream(RowStream):
    """A `RowStream` of language-model forwards. Streams that are read in step and share their `windows` (of the same
    text, batch size and seed) cost one forward together; model, text, seed and device are then those of `windows`."""

    def __init__(
        self, lm: LoadedModel, packed: PackedTokens, config: TrainingConfig, seed: int | None = None, *,
        windows: Windows | None = None,
    ) -> None:
        self.windows = windows or Windows(lm, packed, config, config.hook_names, seed)
        super().__init__(self.windows, config)


def check_text(lm: LoadedModel, packed: PackedTokens) -> None:
    """Raises `ConfigError` where the model cannot read contexts so long, or does not know one of their ids."""
    check_context(lm.name, lm.context, packed.context_size)
    if packed.facts.largest_id >= lm.vocab_size:
        raise ConfigError(
            f"The text has token id {packed.facts.largest_id:,}, but {lm.name} knows {lm.vocab_size:,} tokens.",
            where="tokenizer", hint="Pass the tokenizer that belongs to the model.",
        )


def device_name(device: torch.device) -> str:
    """The name of a device, as far as exact results depend on it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    machine = os.uname().machine if hasattr(os, "uname") else "unknown"
    return f"{machine} {torch.backends.cpu.get_cpu_capability()}"
