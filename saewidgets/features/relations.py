"""Latents that resemble or accompany a latent: cosine of decoder directions, firing on the same tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from saewidgets.feature_records import check_index
from saewidgets.features.store.read import Store
from saewidgets.sae import SAE

_ROWS = 1 << 16  # rows of W_dec at a time


@dataclass(frozen=True, slots=True)
class Related:
    """Another latent and its value: a cosine, or the share of firings on which both fire."""

    index: int
    value: float


@dataclass(frozen=True, slots=True)
class Coactive:
    """Latents that fire together with one.

    Attributes:
        found: with the share of the latent's sampled firings on which each fires too; ordered by how much that share
            exceeds the other's density, so that those that fire everywhere do not come first.
        sampled: the latent's firings in the sample. A share p has a standard error of √(p (1 − p) / sampled).
    """

    found: list[Related]
    sampled: int


@torch.no_grad()
def similar(sae: SAE, index: int, n: int = 10) -> list[Related]:
    """The `n` latents whose decoder directions have the largest cosine with that of `index`."""
    W = sae.W_dec.detach()
    own = torch.nn.functional.normalize(W[index].float(), dim=0)
    cosines = torch.cat(
        [(part @ own) / part.norm(dim=1).clamp_min(1e-12) for part in (p.float() for p in W.split(_ROWS))]
    )
    cosines[index] = -torch.inf
    best = cosines.topk(min(n, len(cosines) - 1))
    return [Related(int(i), float(v)) for v, i in zip(best.values, best.indices, strict=True)]


def coactive(store: Store, index: int, n: int = 10) -> Coactive:
    """The `n` latents that fire together with `index` most beyond chance, by the extraction's sample of tokens.

    Raises:
        ConfigError: the SAE has no such latent.
    """
    check_index(index, store.d_sae)
    latents, offsets = store["sample_latents"], store["sample_offsets"]
    at = np.searchsorted(offsets, np.flatnonzero(latents == index), side="right") - 1
    if not len(at):
        return Coactive([], 0)
    together = np.concatenate([latents[offsets[t] : offsets[t + 1]] for t in at])
    others, counts = np.unique(together, return_counts=True)
    inside = (others != index) & (others >= 0) & (others < store.d_sae)  # a damaged file names none
    others, shares = others[inside], counts[inside] / len(at)
    order = np.argsort(-(shares - store.density[others]), kind="stable")[:n]
    return Coactive([Related(int(others[i]), float(shares[i])) for i in order], len(at))
