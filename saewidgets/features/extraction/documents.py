"""Where documents begin in packed contexts.

A separator begins a document. A context that does not follow the one read before it in the packed tokens begins one
too, since something is missing between them. Where every context starts with BOS, that token is no separator, even if
it has the same id: it belongs to the document that goes on, or after a gap to the one that begins.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Documents:
    """Numbers the documents of contexts in reading order.

    Args:
        separator: token id that begins a document; None: nothing is known but which contexts follow each other.
        prepend_bos: whether the first token of every context is BOS.
        joined: documents follow one another; else each context is one.

    Attributes:
        count: documents begun so far.
        previous: number of the context read last; -2 before the first.
    """

    def __init__(self, separator: int | None, prepend_bos: bool, joined: bool = True) -> None:
        self._separator, self._prepend_bos, self._joined = separator if joined else None, prepend_bos, joined
        self.count = 0
        self.previous = -2

    def number(self, ids: Tensor, numbers: Tensor) -> Tensor:
        """``[contexts, length]`` int64: the document of every position, for the next `ids` of that shape, which are the
        contexts `numbers` of the packed tokens."""
        before = numbers.roll(1)
        before[0] = self.previous
        jump = (numbers != before + 1) | (not self._joined)
        starts = ids == self._separator if self._separator is not None else torch.zeros_like(ids, dtype=torch.bool)
        if self._prepend_bos:
            starts[:, 0] = False
            starts[:, 1] &= ~jump  # BOS belongs to the document that begins with it
        starts[:, 0] |= jump
        documents = starts.view(-1).cumsum(0).view(ids.shape) + (self.count - 1)
        self.count = int(documents[-1, -1]) + 1
        self.previous = int(numbers[-1])
        return documents
