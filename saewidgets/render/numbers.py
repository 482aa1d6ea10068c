"""Formats numbers for people: separators in counts, K and M only for tokens, fixed decimals per metric."""

import math
from collections.abc import Sequence

DECIMALS = {"loss": 4, "mse": 4, "fvu": 3, "ce_loss_score": 3, "l0": 1, "tokens_per_second": 0}
NONE = "–"
MINUS = "−"  # as the page writes it: as wide as a digit, and no line ends after it


def tokens(value: float) -> str:
    """950, 48.2K, 6.2M, 10M, 1.5B."""
    for limit, divisor, unit in ((1e9, 1e9, "B"), (1e6, 1e6, "M"), (1e3, 1e3, "K")):
        if abs(value) >= limit * 0.99995:
            return f"{value / divisor:.1f}".removesuffix(".0") + unit
    return f"{value:.0f}"


def metric(name: str, value: float | str | None) -> str:
    """A metric with its usual decimals (fewer where it is large); dead latents (a share) in per cent. What has none, as
    the learning rate, is 7.31e-4 where it is small. The same rule as `metric` of `js/src/lib/format.ts`."""
    if value is None:
        return NONE
    value = float(value)
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else f"{MINUS}∞")
    name = name.removeprefix("val_")
    if name == "dead":
        return f"{100 * value:.1f} %"
    if name not in DECIMALS and 0 < value < 1e-3:
        return f"{value:.2e}".replace("e-0", "e-")
    return decimal(value, DECIMALS.get(name, 4))


def column(name: str, values: Sequence[float | None]) -> tuple[str, ...]:
    """A metric of several runs, all with as many decimals as the one that has most: 0.2841 and 54.0510."""
    texts = [metric(name, value) for value in values]
    plain = {text for text in texts if text[-1].isdigit() and "e" not in text}
    digits = max((len(text.partition(".")[2]) for text in plain), default=0)
    return tuple(
        f"{value:,.{digits}f}".replace("-", MINUS) if value is not None and text in plain else text
        for value, text in zip(values, texts, strict=True)
    )


def decimal(value: float, digits: int) -> str:
    """A finite value with `digits` decimals, at most three from 10, one from 100 (219.7), none from 1,000, 3.3e5 from
    1e5 on.

    The same rule as `decimal` of `js/src/lib/format.ts`.
    """
    if value < 0:
        return MINUS + decimal(-value, digits)
    size = value = abs(value)  # -0.0 has no sign
    if size >= 99_999.5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if size >= 999.95:
        return f"{value:,.0f}"
    if round(size, digits) >= 100:
        digits = min(1, digits)
    elif round(size, digits) >= 10:
        digits = min(3, digits)
    return f"{value:.{digits}f}"


def percent(share: float) -> str:
    """0.24 %, 0.0021 %, 12 %: two significant digits."""
    if share <= 0:
        return "0 %"
    value = 100 * share
    digits = max(0, 1 - math.floor(math.log10(value)))
    return f"{value:.{digits}f} %"


def activation(value: float) -> str:
    """As many decimals as a reader needs: 41.7, 3.12, 0.0042."""
    return f"{value:.3g}" if abs(value) < 1 else decimal(value, 2)


def duration(seconds: float) -> str:
    """45 s, 3 min 28 s, 2 h 5 min."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s" if total % 60 else f"{total // 60} min"
    return f"{total // 3600} h {total % 3600 // 60} min"


def size(count: float) -> str:
    """512 B, 302 MB, 6.1 GB (powers of 1000)."""
    for divisor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= divisor * 0.99995:
            scaled = count / divisor
            return f"{scaled:.1f} {unit}" if scaled < 10 else f"{scaled:.0f} {unit}"
    return f"{count:.0f} B"
