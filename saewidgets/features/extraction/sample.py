"""The co-activation sample: all latents that fire on some of the counted tokens.

A token is in the sample when the hash of (seed, stream position) is below `rate`. The rate begins at 1; whenever there
are more than `limit` (token, latent) pairs it is halved, and what it no longer admits is dropped. Which tokens stay in
the end depends on nothing but the seed and the pairs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from saewidgets.features.extraction import hashing, ops
from saewidgets.features.extraction.chunk import TOKEN_SAMPLE, Chunk
from saewidgets.features.extraction.encoding import Firings

Integers = npt.NDArray[np.int64]


class TokenSample:
    """Collects (token, latent) pairs in memory of the CPU, token by token in reading order.

    Attributes:
        halvings: the rate is ``2 ** -halvings``.
        pairs: how many there are.
    """

    def __init__(self, limit: int, seed: int) -> None:
        self._limit, self._seed = limit, seed
        self.halvings = 0
        self.pairs = 0
        # Chunk by chunk: stream positions, how many latents each has, the latents.
        self._done: list[tuple[Integers, Integers, npt.NDArray[np.int32]]] = []
        self._now: list[tuple[Integers, Integers]] = []  # (row, latent) of this chunk
        self._admitted: Tensor | None = None

    @property
    def rate(self) -> float:
        """Share of the counted tokens that are admitted."""
        return float(2.0**-self.halvings)

    def add(self, chunk: Chunk, firings: Firings) -> None:
        """Take in the firings of a range of latents."""
        if self._admitted is None:
            self._admitted = self._admits(chunk.stream)
        rows, latents = firings.rows, firings.latents
        if self.halvings:
            chosen = ops.nonzero(self._admitted.index_select(0, rows))
            rows, latents = rows.index_select(0, chosen), latents.index_select(0, chosen)
        self._now.append((rows.cpu().numpy(), latents.cpu().numpy()))
        self.pairs += len(rows)
        while self.pairs > self._limit:
            self._halve(chunk)

    def end_chunk(self, chunk: Chunk) -> None:
        """The whole chunk was added."""
        admitted = self._admits(chunk.stream).cpu().numpy()
        rows = np.concatenate([rows for rows, _ in self._now])
        latents = np.concatenate([latents for _, latents in self._now])
        keys = np.sort(rows << 32 | latents)
        counts = np.bincount(rows, minlength=chunk.rows)[admitted]
        positions = chunk.stream.cpu().numpy()[admitted]
        self._done.append((positions, counts, (keys & 0xFFFFFFFF).astype(np.int32)))
        self._now.clear()
        self._admitted = None

    def arrays(self) -> tuple[Integers, Integers, npt.NDArray[np.int32]]:
        """(stream positions, offsets, latents): `sample_positions`, `sample_offsets`, `sample_latents`."""
        self._join()
        if not self._done:
            return np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, np.int32)
        positions, counts, latents = self._done[0]
        return positions, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), latents

    def _admits(self, positions: Tensor) -> Tensor:
        none = torch.zeros_like(positions)
        hashes = hashing.combined(hashing.of_numbers(positions, self._seed, TOKEN_SAMPLE), none)
        return hashes <= (hashing.LARGEST >> self.halvings)

    def _halve(self, chunk: Chunk) -> None:
        self.halvings += 1
        self._done = [self._admitted_of(part) for part in self._done]
        self._admitted = self._admits(chunk.stream)
        admitted = self._admitted.cpu().numpy()
        self._now = [(rows[admitted[rows]], latents[admitted[rows]]) for rows, latents in self._now]
        self.pairs = sum(len(part[2]) for part in self._done) + sum(len(rows) for rows, _ in self._now)

    def _admitted_of(
        self, part: tuple[Integers, Integers, npt.NDArray[np.int32]]
    ) -> tuple[Integers, Integers, npt.NDArray[np.int32]]:
        positions, counts, latents = part
        stays = self._admits(torch.from_numpy(positions)).numpy()
        return positions[stays], counts[stays], latents[np.repeat(stays, counts)]

    def _join(self) -> None:
        if len(self._done) > 1:
            self._done = [tuple(np.concatenate(parts) for parts in zip(*self._done, strict=True))]  # type: ignore[list-item]

    def tensors(self) -> dict[str, Tensor]:
        """Everything by name: what a checkpoint holds."""
        positions, offsets, latents = self.arrays()
        return {
            "halvings": torch.tensor([self.halvings], dtype=torch.int64),
            "positions": torch.from_numpy(positions), "counts": torch.from_numpy(np.diff(offsets)),
            "latents": torch.from_numpy(latents),
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue with what `tensors` gave."""
        self.halvings = int(tensors["halvings"][0])
        positions, counts, latents = (tensors[name].numpy().copy() for name in ("positions", "counts", "latents"))
        self._done, self.pairs = [(positions, counts, latents)], len(latents)
