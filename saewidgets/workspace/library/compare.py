"""Two SAEs side by side: which latents of one write what a latent of the other writes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from saewidgets.errors import ConfigError
from saewidgets.records import Comparison, LatentMatch, SAERecord
from saewidgets.workspace.library.statistics import histogram
from saewidgets.workspace.library.weights import Weights, open_weights

BOUNDS = (0.9, 0.7)
ROWS = 2048  # of each SAE at a time: a block of cosines has 16 MB


def compare(a: SAERecord, b: SAERecord, folders: tuple[Path, Path], top: int) -> Comparison:
    """See `SAEs.compare`."""
    with open_weights(folders[0]) as first, open_weights(folders[1]) as second:
        shapes = first.shape("W_dec"), second.shape("W_dec")
        if shapes[0] is None or shapes[1] is None or shapes[0][1] != shapes[1][1]:
            raise ConfigError(
                f"{a.name} writes to {_width(shapes[0])} dimensions, {b.name} to {_width(shapes[1])}.",
                hint="Compare SAEs of the same activations.",
            )
        best_a, partner_a, best_b = _matches(first, second, shapes[0][0], shapes[1][0])
    order = best_a.argsort(descending=True, stable=True)[:top].tolist()
    pairs = tuple(LatentMatch(i, int(partner_a[i]), round(float(best_a[i]), 6)) for i in order)
    return Comparison(
        a=a.id, b=b.id, matches=pairs, mean_max_cosine=float(best_a.mean()), mean_max_cosine_back=float(best_b.mean()),
        above={bound: int((best_a >= bound).sum()) for bound in BOUNDS}, histogram=histogram(best_a),
        histogram_back=histogram(best_b),
    )  # fmt: skip


def _matches(first: Weights, second: Weights, n_first: int, n_second: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of each latent of the first its largest cosine and whose it is; of each of the second its largest."""
    best_a = torch.full((n_first,), -2.0)
    partner = torch.zeros(n_first, dtype=torch.int64)
    best_b = torch.full((n_second,), -2.0)
    for i, rows in first.blocks("W_dec", ROWS):
        ours = _unit(rows)
        here = slice(i, i + len(ours))
        for j, others in second.blocks("W_dec", ROWS):
            there = slice(j, j + len(others))
            cosines = ours @ _unit(others).T
            values, columns = cosines.max(dim=1)
            better = values > best_a[here]
            best_a[here] = torch.where(better, values, best_a[here])
            partner[here] = torch.where(better, columns + j, partner[here])
            best_b[there] = torch.maximum(best_b[there], cosines.amax(dim=0))
    return best_a.clamp(-1, 1), partner, best_b.clamp(-1, 1)


def _unit(rows: Tensor) -> Tensor:
    """Rows of norm one; rows of zeros stay so: their cosine with anything is 0."""
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return unit


def _width(shape: tuple[int, ...] | None) -> str:
    return f"{shape[1]:,}" if shape is not None else "no known"
