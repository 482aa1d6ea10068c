"""Round numbers for axes."""

from __future__ import annotations

import math

_CHARACTER, _GAP = 6.5, 10.0  # pixels that a character of a label (11 px) takes, and that are free between two


def linear_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """About `wanted` multiples of 1, 2 or 5 · 10^n from `low` to `high` (both included when they are round)."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low] if math.isfinite(low) else []
    rough = span / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    # The factor nearest to the rough step on a logarithmic scale.
    step = power * next(
        factor for factor, limit in ((1, 2**0.5), (2, 10**0.5), (5, 50**0.5), (10, math.inf)) if rough / power < limit
    )
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    found = (0.0 if index == 0 else float(f"{index * step:.15g}") for index in range(first, last + 1))
    return list(dict.fromkeys(found))  # far from zero two neighbours can round to the same number


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """1, 2, 5 · 10^n between `low` and `high`; powers of ten alone when the range is wide; at least two marks."""
    if not (math.isfinite(low) and math.isfinite(high) and 0 < low < high):
        return []
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [float(f"{factor * 10.0**power:.12g}") for power in powers for factor in factors]
        inside = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(inside) <= most:
            break
    else:
        inside = inside[:: -(-len(inside) // most)]
    return inside if len(inside) >= 2 else linear_ticks(low, high, 3)


def doubling_ticks(low: float, high: float, width: float) -> list[float]:
    """Powers of two between `low` and `high` on a logarithmic axis of `width` pixels, as many as fit beside each other.

    1, 2, 5 · 10^n where there are fewer than two, and below 1/8, where powers of two have long names.
    """
    if not (math.isfinite(low) and math.isfinite(high) and 0 < low < high):
        return []
    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    if first < -3 or last <= first:
        return log_ticks(low, high, max(2, int(width / (_CHARACTER * 6 + _GAP))))
    longest = max(len(tick_text(2.0**exponent)) for exponent in range(first, last + 1))
    step = math.ceil((_CHARACTER * longest + _GAP) * math.log2(high / low) / width)
    return [2.0**exponent for exponent in range(first, last + 1, step)]


def widened(low: float, high: float) -> tuple[float, float]:
    """`low` to `high`, but at least a tenth of their middle to each side: the noise of a flat line is no news."""
    middle = low + (high - low) / 2
    half = 0.1 * abs(middle) or 0.1
    return (low, high) if (high - low) / 2 >= half else (middle - half, middle + half)


def tick_text(value: float) -> str:
    """The shortest exact-looking label: 0.25, 2, 1,500, 1M, 1e-5."""
    if value != 0 and (abs(value) < 1e-4 or abs(value) >= 1e12):
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    for unit, suffix in ((1e9, "B"), (1e6, "M")):
        if abs(value) >= unit * 0.9999995:  # six digits of less would be written with an exponent
            return f"{value / unit:.6g}{suffix}"
    return f"{value:,.6g}"


def metric_tick_text(value: float) -> str:
    """A tick of a metric: from 100,000 on 1e5, as in the tiles, for there is no room for more beside an axis."""
    if abs(value) < 99_999.5:
        return tick_text(value)
    mantissa, exponent = f"{value:.5e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
