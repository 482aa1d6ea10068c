"""What a person types into a form as the value it means; `js/src/lib/format.ts` reads numbers by the same rules."""

from __future__ import annotations

import re
from decimal import Decimal

from saewidgets.widgets.values import LARGEST_SAFE

_THOUSANDS = re.compile(r"\A([+-]?[1-9]\d{0,2})((?:[,\s]\d{3})+)(?!\d)", re.ASCII)
_COUNT = re.compile(r"([+-]?\d+(?:\.\d+)?)(?:([km])|e\+?(\d\d?))?", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?")
_OF_MAX = re.compile(r"(of\s+(the\s+)?max(imum)?|×\s*max(imum)?)\.?$", re.IGNORECASE)
_ZEROS = {None: 0, "k": 3, "m": 6}
_LONGEST = 60  # characters; no number of a form is longer


def whole(text: str) -> int | None:
    """ "16,384", "16_384", "16 384", "1M", "1.5k", "1e6" → an integer; None when it is none."""
    found = _COUNT.fullmatch(_plain(text))
    if found is None:
        return None
    value = Decimal(found[1]).scaleb(int(found[3] or _ZEROS[found[2] and found[2].lower()]))
    return int(value) if value == value.to_integral_value() and abs(value) <= LARGEST_SAFE else None


def decimal(text: str) -> float | None:
    """ "3e-4", "0.5", "1,000.5" → a number; None when it is none."""
    plain = _plain(text)
    return float(plain) if _NUMBER.fullmatch(plain) else None


def share(text: str) -> float | None:
    """ "1 % of max", "1%", "0.01", "0.01 of max" → 0.01; None when it is none."""
    rest = _OF_MAX.sub("", text.strip()).strip()
    percent = rest.endswith("%")
    value = decimal(rest.removesuffix("%"))
    if value is None:
        return None
    return float(Decimal(str(value)) / 100) if percent else value


def shown_share(value: float) -> str:
    """0.01 → "1 % of max": what `share` reads again."""
    return f"{float(Decimal(str(value)) * 100):.10g} % of max"


def _plain(text: str) -> str:
    """Without what stands between thousands: "0,001" and "16, 32" are no numbers, nor is what is too long."""
    if len(text) > _LONGEST:
        return ""
    return _THOUSANDS.sub(lambda found: re.sub(r"[,\s]", "", found[0]), text.strip().replace("_", ""), count=1)
