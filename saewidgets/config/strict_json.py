"""JSON that strangers wrote: no key twice (two readers could take different ones), of bounded depth."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 64


def loads(raw: bytes | str, *, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """The value that `raw` stands for: UTF-8, with or without a byte order mark.

    `parse_constant` says what becomes of NaN and infinity, which are no JSON; they are numbers without it. Raises
    `ValueError` where it is not JSON or not UTF-8, or a key is repeated.
    """
    text = raw.decode("utf-8-sig") if isinstance(raw, bytes) else raw.removeprefix("\ufeff")
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=parse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found


def is_deep(data: Any, most: int = MAX_DEPTH) -> bool:
    """Whether tables and lists are nested in more than `most` levels. What holds itself is endlessly deep."""
    level: list[Any] = [data]
    for _ in range(most):
        level = [item for value in level if isinstance(value, dict | list)
                 for item in (value.values() if isinstance(value, dict) else value)]  # fmt: skip
        if not level:
            return False
    return any(isinstance(value, dict | list) for value in level)
