"""Statistics and examples of all latents in one pass, in bounded memory.

For every latent the `n` largest activations are kept, exactly, with where they occurred, and a uniform sample of the
places where it fired at all; in both at most one (or `per_context`) from any context, so that one passage does not fill
the list.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saewidgets.errors import ConfigError


class _Table:
    """The entries with the largest keys per latent: key, value, context, position, each ``[d_sae, n]``."""

    def __init__(self, d_sae: int, n: int, device: torch.device | str) -> None:
        self.keys = torch.zeros(d_sae, n, device=device)
        self.values = torch.zeros(d_sae, n, device=device)
        self.contexts = torch.full((d_sae, n), -1, dtype=torch.int64, device=device)
        self.positions = torch.full((d_sae, n), -1, dtype=torch.int32, device=device)

    def merge(self, keys: Tensor, values: Tensor, contexts: Tensor, positions: Tensor) -> None:
        """Take in candidates ``[batch, k, d_sae]`` of contexts ``[batch]``; those with key 0 do not exist."""
        batch, k, d_sae = keys.shape

        def candidates(t: Tensor) -> Tensor:
            return t.permute(2, 0, 1).reshape(d_sae, batch * k)

        numbers = contexts.to(keys.device)[:, None, None].expand(batch, k, d_sae)
        n = self.keys.shape[1]
        self.keys, chosen = torch.cat([self.keys, candidates(keys)], dim=1).topk(n, dim=1)
        empty = self.keys <= 0

        def pick(old: Tensor, new: Tensor, nothing: int) -> Tensor:
            merged = torch.cat([old, candidates(new).to(old.dtype)], dim=1)
            return merged.gather(1, chosen).masked_fill_(empty, nothing)

        self.values = pick(self.values, values, 0)
        self.contexts = pick(self.contexts, numbers, -1)
        self.positions = pick(self.positions, positions, -1)


class TopExamples:
    """Running statistics per latent.

    Args:
        d_sae: number of latents.
        n: largest activations kept per latent.
        per_context: at most so many of them from one context.
        n_random: size of the random sample per latent (one per context at most).
        seed: of that sample.
        device: where the tables live (that of the latents passed to `update`).

    Attributes:
        n_tokens: positions seen (masked ones not counted).
        firing_counts: ``[d_sae]`` int64, positions where the latent was above zero.
        context_counts: ``[d_sae]`` int64, contexts in which it fired at least once.
        sums: ``[d_sae]`` float64, sum of its activations.
    """

    def __init__(
        self,
        d_sae: int,
        n: int = 20,
        per_context: int = 1,
        n_random: int = 0,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if n < 1 or per_context < 1:
            raise ConfigError(
                f"{n} examples, {per_context} per context.", where="examples", hint="Both have to be at least 1."
            )
        self.per_context = per_context
        self.n_tokens = 0
        self.firing_counts = torch.zeros(d_sae, dtype=torch.int64, device=device)
        self.context_counts = torch.zeros(d_sae, dtype=torch.int64, device=device)
        self.sums = torch.zeros(d_sae, dtype=torch.float64, device=device)
        self._top = _Table(d_sae, n, device)
        self._random = _Table(d_sae, n_random, device) if n_random else None
        self._generator = torch.Generator().manual_seed(seed)

    @torch.no_grad()
    def update(self, latents: Tensor, contexts: Tensor, mask: Tensor | None = None) -> None:
        """Add the latents of some contexts.

        Args:
            latents: ``[batch, context, d_sae]``, not negative.
            contexts: int64 ``[batch]``, the number of each context; a context is passed once.
            mask: bool ``[batch, context]``; positions that do not count are False.
        """
        batch, length, _ = latents.shape
        if mask is not None:
            latents = latents.masked_fill(~mask[..., None].to(latents.device), 0)
        self.n_tokens += batch * length if mask is None else int(mask.sum())
        firing = latents > 0
        fired = firing.sum(1)
        self.firing_counts += fired.sum(0)
        self.context_counts += (fired > 0).sum(0)
        self.sums += latents.sum((0, 1), dtype=torch.float64)

        k = min(self.per_context, length)
        # The best k positions of every context, [batch, k, d_sae]: for one, max is much faster than topk.
        best, at = (t[:, None] for t in latents.max(dim=1)) if k == 1 else latents.topk(k, dim=1)
        self._top.merge(best.float(), best, contexts, at)
        if self._random is not None:
            # One random number per position, the same for all latents: each latent's sample is still uniform over the
            # contexts in which it fired and over its places there.
            draw = torch.rand(batch, length, 1, generator=self._generator).clamp_min_(1e-9).to(latents.device)
            key, at = (firing * draw).max(dim=1)
            value = latents.gather(1, at[:, None])
            self._random.merge(key[:, None], value, contexts, at[:, None])

    def top(self, latent: int) -> list[tuple[float, int, int]]:
        """(activation, context, position) of the largest activations, descending."""
        return _entries(self._top, latent)

    def random(self, latent: int) -> list[tuple[float, int, int]]:
        """(activation, context, position) of the random sample, in no order."""
        return _entries(self._random, latent) if self._random is not None else []

    @property
    def values(self) -> Tensor:
        """The largest activations, ``[d_sae, n]`` float32, descending; 0 where there are fewer."""
        return self._top.values

    @property
    def contexts(self) -> Tensor:
        """Their contexts, ``[d_sae, n]`` int64; −1 where there are fewer."""
        return self._top.contexts

    @property
    def positions(self) -> Tensor:
        """Their positions, ``[d_sae, n]`` int32; −1 where there are fewer."""
        return self._top.positions

    @property
    def density(self) -> Tensor:
        """Share of the positions on which each latent fired, ``[d_sae]`` float64."""
        return self.firing_counts.double() / max(1, self.n_tokens)

    @property
    def mean(self) -> Tensor:
        """Mean activation over the positions where the latent fired, ``[d_sae]`` float64; 0 for a dead one."""
        return self.sums / self.firing_counts.clamp_min(1)

    @property
    def max(self) -> Tensor:
        """Largest activation, ``[d_sae]`` float32."""
        return self._top.values[:, 0]


def _entries(table: _Table, latent: int) -> list[tuple[float, int, int]]:
    rows = zip(
        table.values[latent].tolist(), table.contexts[latent].tolist(), table.positions[latent].tolist(), strict=True
    )
    return [row for row in rows if row[1] >= 0]
