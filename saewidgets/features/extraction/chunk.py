"""Some contexts with what is known about each of their positions before a latent is computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from saewidgets.features.extraction import hashing
from saewidgets.features.store.layout import WINDOW

NEAR = 5
"""Firings with the same ids so many positions before and after are the same example."""

INTERVAL_SAMPLE, TOKEN_SAMPLE = 1, 2  # what a hash is for


@dataclass(frozen=True, slots=True)
class Chunk:
    """Contexts that are read together. Rows are the counted positions, in reading order.

    Attributes:
        x: ``[contexts, length, d_in]`` activations, the excluded positions included.
        numbers: ``[contexts]`` their numbers in the packed tokens.
        kept: ``[rows]`` the place of each row among the positions of the chunk.
        stream: ``[rows]`` stream positions.
        padded: ``[rows]`` places that are more than `WINDOW` apart for different contexts.
        context, document: ``[rows]`` which context of the chunk, and which document of all that were read.
        near: ``[rows]`` hash of the ids around.
        draw: ``[rows]`` hash of the stream position, for the samples from intervals.
        last_document: the document in which the chunk ends.
    """

    x: Tensor
    numbers: Tensor
    kept: Tensor
    stream: Tensor
    padded: Tensor
    context: Tensor
    document: Tensor
    near: Tensor
    draw: Tensor
    last_document: int

    @property
    def rows(self) -> int:
        """How many positions are counted."""
        return len(self.kept)

    @property
    def span(self) -> int:
        """Larger than every entry of `padded` by more than `WINDOW`."""
        count, length = self.x.shape[:2]
        return int(count * (length + WINDOW + 1) + WINDOW)


def make_chunk(
    x: Tensor, ids: Tensor, numbers: Tensor, counted: Tensor, documents: Tensor, first_row: int, seed: int
) -> Chunk:
    """A chunk of `x` ``[contexts, length, d_in]`` and its `ids`, `counted` and `documents`, each [contexts, length].

    `first_row` is how many contexts were read before it.
    """
    device = x.device
    length = ids.shape[1]
    kept = counted.to(device).view(-1).nonzero().view(-1)
    context = torch.div(kept, length, rounding_mode="floor")
    stream = kept + first_row * length
    return Chunk(
        x=x, numbers=numbers, kept=kept, stream=stream, padded=kept + context * (WINDOW + 1), context=context,
        document=documents.to(device).view(-1).index_select(0, kept),
        near=hashing.neighbourhoods(ids.to(device), NEAR).view(-1).index_select(0, kept),
        draw=hashing.of_numbers(stream, seed, INTERVAL_SAMPLE), last_document=int(documents[-1, -1]),
    )
