"""Operations on long vectors: sorting and counting firings, and hashes that decide which of them are kept as a sample.

On the CPU numpy does the work where its way is faster than torch's; tensors share their memory. A hash looks random but
is a function of what it is of, so samples need no state and do not depend on order. Its mixing steps are those of
SplitMix64 (Steele, Lea & Flood 2014); all is int64, whose products wrap around.
"""

import numpy as np
import torch
from torch import Tensor

_INDEX = (1 << 32) - 1


def by_numpy(tensor: Tensor) -> bool:
    """Whether numpy does the work for this tensor."""
    return tensor.device.type == "cpu"


def nonzero(mask: Tensor) -> Tensor:
    """int64 places of what is True in a flat mask."""
    if not by_numpy(mask):
        return mask.nonzero().view(-1)
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def sorted_keys(keys: Tensor) -> Tensor:
    """int64 keys, ascending along the only dimension."""
    if not by_numpy(keys):
        return keys.sort().values
    return torch.from_numpy(np.sort(keys.numpy()))


def count(total: Tensor, places: Tensor) -> None:
    """Add one to the int64 `total` at each of `places`."""
    if not by_numpy(total):
        total.index_add_(0, places, torch.ones_like(places))
    else:
        np.add.at(total.numpy(), places.numpy(), 1)


def add_in_order(total: Tensor, groups: Tensor, lengths: Tensor, values: Tensor) -> None:
    """Add float32 `values`, which lie group after group, to the float64 `total` of their groups.

    On the CPU one after another, so that it does not matter how the values are split over calls.
    """
    if not by_numpy(total):
        sums = torch.segment_reduce(values.double(), "sum", lengths=lengths)
        total.index_copy_(0, groups, total.index_select(0, groups) + sums)
        return
    where = np.repeat(groups.numpy(), lengths.numpy())
    np.add.at(total.numpy(), where, values.numpy().astype(np.float64))


def largest(values: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
    """The largest of each group of values that begin at `starts`."""
    if not by_numpy(values):
        return torch.segment_reduce(values, "max", lengths=lengths)
    return torch.from_numpy(np.maximum.reduceat(values.numpy(), starts.numpy()))


def group_starts(sorted_groups: Tensor) -> Tensor:
    """bool: whether an entry is the first of its group."""
    first = torch.ones_like(sorted_groups, dtype=torch.bool)
    torch.ne(sorted_groups[1:], sorted_groups[:-1], out=first[1:])
    return first


def descending(values: Tensor) -> Tensor:
    """The order that sorts non-negative float32 values descending; equal ones keep their order."""
    bits = 0x7FFFFFFF - values.view(torch.int32).to(torch.int64)
    return sorted_keys(bits << 32 | _numbers(values)) & _INDEX


def ascending(keys: Tensor) -> Tensor:
    """The order that sorts int64 keys ascending; equal ones keep their order."""
    return keys.sort(stable=True).indices


def by_group(groups: Tensor, order: Tensor) -> Tensor:
    """`order` brought group by group, each in the order it had. Groups are numbers from 0 to 2**31 - 1."""
    packed = groups.index_select(0, order) << 32 | _numbers(order)
    return order.index_select(0, sorted_keys(packed) & _INDEX)


def ranks(sorted_groups: Tensor) -> Tensor:
    """0, 1, 2, … within each group of a sorted vector."""
    numbers = _numbers(sorted_groups)
    starts = nonzero(group_starts(sorted_groups))
    lengths = torch.diff(starts, append=starts.new_tensor([len(sorted_groups)]))
    return numbers - torch.repeat_interleave(starts, lengths, output_size=len(sorted_groups))


def _numbers(like: Tensor) -> Tensor:
    return torch.arange(len(like), dtype=torch.int64, device=like.device)


LARGEST = 2**63 - 1
"""The largest hash."""

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


def hash_of(numbers: Tensor, seed: int, purpose: int) -> Tensor:
    """int64 for each of the int64 `numbers`: another one for another seed or purpose."""
    start = mix(torch.tensor([seed, purpose], dtype=torch.int64, device=numbers.device) * _GOLDEN).cumsum(0)[1]
    return mix(numbers * _GOLDEN + mix(start))


def joint_hash(a: Tensor, b: Tensor) -> Tensor:
    """0 … 2**63 - 1 for each pair of what `hash_of` gave: which of a latent's firings are kept is decided by it."""
    x = (a ^ b) * _A
    x = (x ^ _right(x, 32)) * _B
    return _right(x ^ _right(x, 29), 1)


def neighbourhood_hash(ids: Tensor, reach: int) -> Tensor:
    """[contexts, length] token ids → int64 of the same shape: equal where the ids from `reach` before to `reach` after
    (as far as the context goes) and the place among them are equal."""
    count, length = ids.shape
    padded = torch.full((count, length + 2 * reach), -1, dtype=torch.int64, device=ids.device)
    padded[:, reach : reach + length] = ids
    found = torch.zeros(count, length, dtype=torch.int64, device=ids.device)
    for offset in range(2 * reach + 1):
        found = mix((found ^ padded[:, offset : offset + length]) + _GOLDEN)
    return found
