"""The k largest of every row, where rows are long and k is small: what TopK SAEs let fire.

The k-th largest of the maxima of groups of neighbours is below the k-th largest value of the row or equal to it, so
that only what is not below it has to be looked at: hardly more than k.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saewidgets.features.extraction import ops

_GROUP = 32  # neighbouring latents of which the largest stands for all
_LEAST = 2.0**-149  # the smallest float32 above zero: what is not positive does not fire


def winners(pre: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """(row, latent, value), each [n], of the positive ones among the `k` largest of every row of `pre` [rows, d].

    Row by row, the latents of a row ascending; of equal values the lower latents win. NaN is larger than everything.
    """
    rows, width = pre.shape
    if width % _GROUP or width // _GROUP < k:
        return _by_sorting(pre, k)
    maxima = pre.view(rows, -1, _GROUP).amax(2)
    bound = maxima.topk(k, dim=1, sorted=False).values.amin(1)
    if not bool(maxima.sum().isfinite()) and bool(maxima.isnan().any()):  # the sum is the cheaper look
        return _by_sorting(pre, k)
    bound.clamp_min_(_LEAST)
    groups = ops.nonzero((maxima >= bound[:, None]).view(-1))
    of_row = torch.div(groups, width // _GROUP, rounding_mode="floor")
    near = pre.view(-1, _GROUP).index_select(0, groups)
    inside = ops.nonzero((near >= bound.index_select(0, of_row)[:, None]).view(-1))
    values = near.view(-1).index_select(0, inside)
    group = torch.div(inside, _GROUP, rounding_mode="floor")
    row = of_row.index_select(0, group)
    flat = (groups.index_select(0, group) - group) * _GROUP + inside
    order = ops.by_group(row, ops.descending(values))
    chosen = order.index_select(0, ops.nonzero(ops.ranks(row) < k))  # `row` is sorted: the same in either order
    chosen = ops.sorted_keys(chosen)
    row = row.index_select(0, chosen)
    return row, flat.index_select(0, chosen) - row * width, values.index_select(0, chosen)


def _by_sorting(pre: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    best = pre.topk(min(k, pre.shape[1]), dim=1, sorted=False)
    latents, order = best.indices.sort(dim=1)
    values = best.values.gather(1, order)
    row, place = (values <= 0).logical_not_().nonzero().unbind(1)
    return row, latents[row, place], values[row, place]
