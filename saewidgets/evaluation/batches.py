"""Contexts in parts that one forward reads, with what counts in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from saewidgets.evaluation.ce import CrossEntropy
from saewidgets.lm import LoadedModel, special_tokens
from saewidgets.lm.token_mask import Kept

Check = Callable[[], None] | None


class Batches:
    """The contexts in parts, each with two masks: the positions that count, and the tokens whose prediction does.

    Args:
        lm: the language model; its tokenizer says which tokens are special.
        contexts: ``[n, context]`` token ids.
        rule: which positions count.
        batch_size: contexts per forward.
        losses: where the cross-entropy is measured, which may need smaller parts.
        check: called before every forward; what it raises ends the evaluation.
    """

    def __init__(
        self, lm: LoadedModel, contexts: Tensor, rule: Kept, batch_size: int, losses: CrossEntropy | None,
        check: Check,
    ) -> None:  # fmt: skip
        self._contexts, self._check = contexts, check
        special = special_tokens(lm.tokenizer).all if rule.exclude_special else ()
        self._excluded = torch.tensor(sorted({*special, *rule.exclude_ids}), dtype=contexts.dtype)
        self._in_slice = torch.from_numpy(rule.in_slice(contexts.shape[1])).to(contexts.device)
        self._size = batch_size if losses is None else min(batch_size, losses.batch_limit(contexts.shape[1]))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        # Token t is predicted at position t - 1; the first, where this wraps around, is never predicted.
        predicted = self._in_slice.roll(1)
        for ids in self._contexts.split(self._size):
            usual = ~torch.isin(ids, self._excluded)
            yield ids, usual & self._in_slice, usual & predicted

    def run_check(self) -> None:
        """Before every forward."""
        if self._check is not None:
            self._check()
