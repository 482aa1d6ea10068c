"""Nested settings as dotted names: ``{"sae": {"k": 32}}`` is ``sae.k`` = 32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def dotted(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything that is not a mapping itself, in the order of `data`."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
