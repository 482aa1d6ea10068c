"""The sparse step on a GPU: selection of the largest pre-activations, and the sums over entries that encoder and
decoder are made of. `select.py` and `sparse.py` import it once there are tensors on one.

All sums are those of one Triton kernel: rows of a table, weighted, per bag. Bags are tokens in the decoder's forward
pass, and latents in both gradients of weights, where the scalar products that are the gradient of the latents come with
it. A bag is added up in its order by one program, in float32 and without atomics, so results are the same bit for bit
in every call. Long bags are cut into pieces that are added up in a second pass, lest one latent that fires on every
token keeps everybody waiting.

Nothing here waits for the device, except for the first call of `works_on`: all shapes follow from those of the
arguments. Without Triton, or where its kernels do not work, `sparse.py` has the same of plain torch operations.
"""

import logging
import math
from collections.abc import Iterator
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # Windows, some builds for ROCm
    triton = None

BLOCK_ELEMENTS = 1 << 28  # pre-activations that exist at a time: 1 GiB in float32
_LONG = 128  # entries of a bag that one program adds up
_TILE = 8  # entries that it reads at once
_COLUMN_BYTES = 2048  # of each that it adds up: 16 for each of 128 threads, the most that one reads at once

_logger = logging.getLogger(__name__)


# --- selection --------------------------------------------------------------------------------------------------------


def table_dtype(device: torch.device) -> torch.dtype:
    """What the tables of `bag_sum` are read in: bfloat16 where autocast says so, else float32. Gradients that were not
    divided by the batch do not fit into float16."""
    is_low = torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) == torch.bfloat16
    return torch.bfloat16 if is_low else torch.float32


def grouped_topk(pre: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Values and indices of the k largest of every row [rows, n], in no particular order.

    torch.topk goes over all entries once per few bits of them. The k largest lie in the k groups with the largest
    maxima, so here one pass takes those, and torch.topk sees maxima and candidates only: about √(n k) of each.
    """
    rows, n = pre.shape
    size = 1 << max(0, round(math.log2(n / k) / 2))
    groups = n // size
    if size < 4 or groups <= k:
        return pre.topk(k, dim=1, sorted=False)
    # neighbours are in different groups, so that threads that stand side by side read side by side
    best = pre[:, : size * groups].unflatten(1, (size, groups)).amax(1).topk(k, dim=1, sorted=False).indices
    members = torch.arange(0, size * groups, groups, device=pre.device)
    left = torch.arange(size * groups, n, device=pre.device).expand(rows, -1)
    columns = torch.cat([(best[:, None] + members[:, None]).flatten(1), left], 1)
    values, where = pre.gather(1, columns).topk(k, dim=1, sorted=False)
    return values, columns.gather(1, where)


def _pre_activations(x: Tensor, W_enc: Tensor, b_enc: Tensor, rows: int) -> Iterator[Tensor]:
    """Of `rows` rows at a time, in autocast's dtype; they are cast here once and not once per block."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, W_enc, b_enc = x.to(dtype), W_enc.to(dtype), b_enc.to(dtype)
    for block in x.split(rows):
        yield torch.addmm(b_enc, block, W_enc)


@torch.no_grad()
def largest_of_rows(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, values and offsets of `select.topk_code`."""
    batch, rows = x.shape[0], max(1, BLOCK_ELEMENTS // W_enc.shape[1])
    found = [grouped_topk(pre, k) for pre in _pre_activations(x, W_enc, b_enc, rows)]
    values, latents = (torch.cat(parts).view(-1) for parts in zip(*found))
    return latents, values.float().relu_(), torch.arange(0, batch * k, k, device=x.device)


@torch.no_grad()
def largest_of_batch(x: Tensor, W_enc: Tensor, b_enc: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Those of `select.batch_topk_code`, but always of k · batch entries, some of them 0 where fewer are positive: how
    many those are, only the device knows."""
    batch, d_sae = x.shape[0], W_enc.shape[1]
    (pre,) = _pre_activations(x, W_enc, b_enc, batch)
    values, flat = grouped_topk(pre.view(1, -1), k * batch)
    flat, order = flat[0].sort()
    starts = torch.arange(0, batch * d_sae, d_sae, device=x.device)
    return flat % d_sae, values[0][order].float().relu_(), torch.searchsorted(flat, starts)


# --- sums -------------------------------------------------------------------------------------------------------------


if triton is not None:

    # out[piece] = Σ weights[j] · table[rows[j]] over the entries j of a piece, for some columns; WITH_DOTS gives also
    # the share of these columns in ⟨table[rows[j]], beside[owners[piece]]⟩.
    @triton.jit
    def _sum_pieces(
        table, rows, weights, starts, ends, owners, beside, out, dots, n, width,
        TILE: tl.constexpr, COLUMNS: tl.constexpr, WITH_DOTS: tl.constexpr,
    ):  # fmt: skip
        piece, part = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
        columns = part * COLUMNS + tl.arange(0, COLUMNS)
        inside = columns < width
        total = tl.zeros([COLUMNS], dtype=tl.float32)
        start, end = tl.load(starts + piece), tl.load(ends + piece)
        own = total
        if WITH_DOTS:
            own = tl.load(beside + tl.load(owners + piece) * width + columns, mask=inside, other=0.0).to(tl.float32)
        for first in range(start, end, TILE):
            entries = first + tl.arange(0, TILE)
            there = entries < end
            row = tl.load(rows + entries, mask=there, other=0)
            weight = tl.load(weights + entries, mask=there, other=0.0)
            places = row[:, None] * width + columns[None, :]
            tile = tl.load(table + places, mask=there[:, None] & inside[None, :], other=0.0).to(tl.float32)
            total += tl.sum(weight[:, None] * tile, axis=0)
            if WITH_DOTS:
                tl.store(dots + part * n + entries, tl.sum(tile * own[None, :], axis=1), mask=there)
        tl.store(out + piece * width + columns, total, mask=inside)

    # Adds to out[bag] of every long bag its further pieces, from out[bags] on, by the program of the first of them.
    @triton.jit
    def _add_pieces(out, owners, pieces, bags, width, COLUMNS: tl.constexpr):
        piece, part = tl.program_id(0).to(tl.int64) + bags, tl.program_id(1).to(tl.int64)
        bag = tl.load(owners + piece)
        count = tl.load(pieces + piece)
        if count > 0:
            columns = part * COLUMNS + tl.arange(0, COLUMNS)
            inside = columns < width
            total = tl.load(out + bag * width + columns, mask=inside, other=0.0)
            for further in range(piece, piece + count):
                total += tl.load(out + further * width + columns, mask=inside, other=0.0)
            tl.store(out + bag * width + columns, total, mask=inside)


def bag_sum(table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor) -> Tensor:
    """[bags, width] float32: out[i] = Σ_j weights[j] · table[rows[j]] for j from offsets[i] up to offsets[i + 1].

    `table` [any, width] is float32 or bfloat16, `rows` [n] and `offsets` [bags] int64, `weights` [n] of any precision.
    """
    return _sums(table, rows, weights, offsets, None)[0]


def bag_sum_and_dots(
    table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor, beside: Tensor
) -> tuple[Tensor, Tensor]:
    """`bag_sum`, and [n] float32: ⟨table[rows[j]], beside[i]⟩ for every entry j of bag i, of `beside` [bags, width]."""
    return _sums(table, rows, weights, offsets, beside)


def _sums(
    table: Tensor, rows: Tensor, weights: Tensor, offsets: Tensor, beside: Tensor | None
) -> tuple[Tensor, Tensor]:
    table, rows, weights = table.contiguous(), rows.contiguous(), weights.float().contiguous()
    beside = None if beside is None else beside.contiguous()
    bags, n, width = offsets.numel(), rows.numel(), table.shape[1]
    starts, ends, owners, pieces = _pieces(offsets, n)
    columns = min(_COLUMN_BYTES // table.element_size(), triton.next_power_of_2(max(width, 16)))
    parts = triton.cdiv(width, columns)
    out = torch.empty(starts.numel(), width, device=table.device)
    dots = torch.empty(parts if beside is not None else 0, n, device=table.device)
    with torch.cuda.device_of(table):  # Triton launches on the current device
        _sum_pieces[(starts.numel(), parts)](
            table, rows, weights, starts, ends, owners, table if beside is None else beside, out, dots, n, width,
            TILE=_TILE, COLUMNS=columns, WITH_DOTS=beside is not None,
        )
        if starts.numel() > bags:
            _add_pieces[(starts.numel() - bags, parts)](out, owners, pieces, bags, width, COLUMNS=columns)
    return out[:bags], dots.sum(0)


def _pieces(offsets: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where pieces of at most `_LONG` entries begin and end, whose bag they belong to, and for the second one of every
    bag how many there are from it on. First come the beginnings of all bags, then as many further pieces as there can
    be; those that are not needed are empty."""
    bags = offsets.numel()
    stops = F.pad(offsets[1:], (0, 1), value=n)
    further = (stops - offsets - 1).clamp_min(0).div(_LONG, rounding_mode="floor")
    upto = further.cumsum(0)
    number = torch.arange(n // _LONG, device=offsets.device)
    owner = torch.searchsorted(upto, number, right=True)
    is_needed, owner = owner < bags, owner.clamp_max(bags - 1)
    nth = number - (upto - further)[owner]
    starts = torch.where(is_needed, offsets[owner] + (nth + 1) * _LONG, 0)
    ends = torch.where(is_needed, torch.minimum(starts + _LONG, stops[owner]), 0)
    pieces = torch.where(is_needed & (nth == 0), further[owner], 0)
    return (
        torch.cat([offsets, starts]), torch.cat([torch.minimum(offsets + _LONG, stops), ends]),
        torch.cat([torch.arange(bags, device=offsets.device), owner]), F.pad(pieces, (bags, 0)),
    )  # fmt: skip


@cache
def works_on(device: torch.device) -> bool:
    """Whether the kernels give the right sums on `device`. They are compiled there, for a GPU that may be too old, by a
    C compiler that may be missing; so a small case is computed at first and compared with plain torch operations."""
    if triton is None:
        return False
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor([0, 3 * _LONG + 1, 1, 0, _TILE + 1, 2 * _LONG])
    n, width = int(counts.sum()), _COLUMN_BYTES // 2 + 3
    rows = torch.randint(50, (n,), generator=generator)
    weights, table = torch.randn(n, generator=generator), torch.randn(50, width, generator=generator)
    beside, bags = torch.randn(len(counts), width, generator=generator), torch.arange(len(counts))
    owner = torch.repeat_interleave(bags, counts)
    try:
        for dtype in (torch.float32, torch.bfloat16):
            low = table.to(dtype)
            found = bag_sum_and_dots(*(
                each.to(device) for each in (low, rows, weights, counts.cumsum(0) - counts, beside)
            ))
            read = low.double()[rows]
            sums = torch.zeros(len(counts), width).double().index_add(0, owner, read * weights[:, None])
            torch.testing.assert_close(found[0].cpu(), sums.float(), rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(found[1].cpu(), (read * beside[owner]).sum(1).float(), rtol=1e-3, atol=1e-3)
    except Exception as error:  # noqa: BLE001 - whatever Triton, the compiler or the driver says
        reason = str(error).strip().splitlines()[:1]
        _logger.warning("Triton's kernels do not work on %s (%s); plain torch operations run.", device, *reason)
        return False
    return True
