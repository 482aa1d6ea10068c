"""Defines how a store keeps rows of activations: as floats, or in int8 with a scale per row.

An int8 row is the scale, a little-endian float32, and behind it one signed byte per number: x ≈ scale · q · |q| with
scale = max |x| / 127² and q = sign(x) · round(127 · √(|x| / max |x|)), so |x - x̂| ≤ scale · (|q| + ¼). The levels lie
closer near zero: the few large dimensions of a residual stream set the scale, and the others keep their digits.
"""

import math

import torch
from torch import Tensor

from saewidgets.errors import ConfigError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "int8": torch.int8}
SCALE = 4  # bytes in front of an int8 row
_TINY = torch.finfo(torch.float32).tiny


def row_length(width: int, dtype: str) -> int:
    """Numbers of this format that a row of `width` takes, with its scale."""
    return width + SCALE * (dtype == "int8")


def row_bytes(width: int, dtype: str) -> int:
    """Bytes of a row in a file."""
    return row_length(width, dtype) * DTYPES[dtype].itemsize


def stored(rows: Tensor, dtype: str, what: str) -> Tensor:
    """Rows ``[n, width]`` in a store's number format, ``[n, row_length(width, dtype)]`` on the CPU. Raises
    `ConfigError` where they are not finite in it."""
    found = rows.to(torch.float32 if dtype == "int8" else DTYPES[dtype])
    if not bool(found.isfinite().all()):
        largest = float(rows.abs().nan_to_num(nan=torch.inf, posinf=torch.inf).max())
        if largest == torch.inf:
            raise ConfigError(
                f"{what} are not finite.", where="hook_names",
                hint="Load the model in another precision, or choose another hook point.",
            )
        raise ConfigError(
            f"{what} reach {largest:,.0f}, which {dtype} cannot hold.", where="dtype",
            hint='Use dtype="bfloat16" or "float32".',
        )
    return (_quantised(found) if dtype == "int8" else found).cpu()


def usable_norms(total: float, what: str) -> float:
    """`total`, the sum of the norms of some rows. Raises `ConfigError` if it is not finite: the numbers are finite, but
    their squares are not, so that no SAE can be trained on them."""
    if math.isfinite(total):
        return total
    raise ConfigError(
        f"{what} are so large that their norm overflows.", where="hook_names",
        hint="The model is damaged or not trained there: choose another hook point, or load it in another precision.",
    )


def _quantised(rows: Tensor) -> Tensor:
    scale = rows.abs().amax(dim=-1, keepdim=True) / 127**2
    levels = (rows.abs() / scale.clamp_min(_TINY)).sqrt().round().clamp(max=127).copysign(rows).to(torch.int8)
    return torch.cat([scale.view(torch.int8), levels], dim=-1)


def floats(rows: Tensor) -> Tensor:
    """Rows as they are stored in float32, ``[n, width]``."""
    if rows.dtype is not torch.int8:
        return rows.float()
    levels = rows[:, SCALE:].float()
    return levels.mul_(levels.abs()).mul_(rows[:, :SCALE].contiguous().view(torch.float32))
