"""Numbers that look random but are functions of what they are of: samples need no state and do not depend on order.

The mixing steps are those of SplitMix64 (Steele, Lea & Flood 2014). All is int64, whose products wrap around.
"""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST = 2**63 - 1

_A, _B = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64


def _right(x: Tensor, bits: int) -> Tensor:
    """A shift that brings in zeros, whatever the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """A permutation of the int64 numbers in which neighbours have nothing in common."""
    x = (x ^ _right(x, 30)) * _A
    x = (x ^ _right(x, 27)) * _B
    return x ^ _right(x, 31)


def of_numbers(numbers: Tensor, seed: int, purpose: int) -> Tensor:
    """int64 for each of the int64 `numbers`: another one for another seed or purpose."""
    start = mix(torch.tensor([seed, purpose], dtype=torch.int64, device=numbers.device) * _GOLDEN).cumsum(0)[1]
    return mix(numbers * _GOLDEN + mix(start))


def combined(a: Tensor, b: Tensor) -> Tensor:
    """0 … 2**63 - 1 for each pair of what `of_numbers` gave: which of a latent's firings are kept is decided by it."""
    x = (a ^ b) * _A
    x = (x ^ _right(x, 32)) * _B
    return _right(x ^ _right(x, 29), 1)


def neighbourhoods(ids: Tensor, reach: int) -> Tensor:
    """[contexts, length] token ids → int64 of the same shape: equal where the ids from `reach` before to `reach` after
    (as far as the context goes) and the place among them are equal."""
    count, length = ids.shape
    padded = torch.full((count, length + 2 * reach), -1, dtype=torch.int64, device=ids.device)
    padded[:, reach : reach + length] = ids
    found = torch.zeros(count, length, dtype=torch.int64, device=ids.device)
    for offset in range(2 * reach + 1):
        found = mix((found ^ padded[:, offset : offset + length]) + _GOLDEN)
    return found
