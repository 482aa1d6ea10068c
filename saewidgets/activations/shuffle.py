"""Defines `EndlessOrder`, the order in which a run reads contexts on disk: each epoch shuffles them anew.

Epoch e goes through the training contexts in an order drawn from (seed, e); a context contributes the rows that are
kept. Any part of the sequence is found without going through what is before it, so that a run can resume anywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

CONTEXT_ORDER, WINDOW_ORDER = 1, 2  # keep the two kinds of random order apart
_COUNTED = 4096


def generator(seed: int, kind: int, number: int) -> np.random.Generator:
    """The generator for one epoch's contexts or one window's rows; no global state."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, kind, number])))


def split(n: int, held_out: int, share: float) -> tuple[Numbers, Numbers]:
    """(training, validation) of `n` contexts: the first `held_out`, where there are any, else a `share`, are for
    validation."""
    everything = np.arange(n, dtype=np.int64)
    if held_out:
        return everything[held_out:], everything[:held_out]
    count = 0 if share <= 0 or n < 2 else min(n - 1, max(1, round(n * share)))
    chosen = spread(n, count, middle=True)
    return np.setdiff1d(everything, chosen), chosen


def evaluated(train: Numbers, validation: Numbers, context_size: int, n_tokens: int) -> Numbers:
    """Numbers of contexts with about `n_tokens` tokens, from all over the held-out ones: the same for every run. Where
    none are held out they are trained on."""
    pool = validation if len(validation) else train
    count = min(len(pool), max(1, -(-n_tokens // context_size)))
    return pool[np.sort(np.random.default_rng(0).permutation(len(pool))[:count])]


def counted(contexts: Numbers, count: Callable[[Numbers], Numbers]) -> Numbers:
    """`count` of all contexts, called for some thousands at once."""
    parts = [count(contexts[start : start + _COUNTED]) for start in range(0, len(contexts), _COUNTED)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def spread(n: int, count: int, *, middle: bool = False) -> Numbers:
    """`count` of the numbers below `n`, evenly spread; with `middle` from the middle of each stretch."""
    steps = np.arange(count, dtype=np.int64)
    return ((2 * steps + 1) * n) // (2 * max(count, 1)) if middle else steps * n // max(count, 1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Contexts that follow each other in the sequence, `skip` kept rows left out at the beginning of the first."""

    contexts: Numbers
    skip: int
    rows: int


class EndlessOrder:
    """The sequence for one seed, of contexts by their numbers and the rows that each of them keeps."""

    def __init__(self, contexts: Numbers, counts: Numbers, seed: int) -> None:
        self._contexts, self._counts, self._seed = contexts, counts, seed
        self.rows_per_epoch = int(counts.sum())
        self.epoch = lru_cache(maxsize=2)(self._epoch)  # a window can span two

    def stretches(self, row: int, rows: int) -> list[Stretch]:
        """What `rows` rows of the sequence, from number `row` on, are made of: one stretch per epoch they touch."""
        found = []
        while rows:
            number, within = divmod(row, self.rows_per_epoch)
            take = min(rows, self.rows_per_epoch - within)
            order, before = self.epoch(number)
            first = int(np.searchsorted(before, within, side="right")) - 1
            last = int(np.searchsorted(before, within + take, side="left"))
            found.append(Stretch(order[first:last], within - int(before[first]), take))
            row, rows = row + take, rows - take
        return found

    def _epoch(self, number: int) -> tuple[Numbers, Numbers]:
        """(context numbers in this epoch's order, kept rows before each of them)."""
        order = generator(self._seed, CONTEXT_ORDER, number).permutation(len(self._contexts))
        counts = self._counts[order]
        return self._contexts[order], np.cumsum(counts) - counts
