"""The one place where text becomes HTML: whatever is not `Html` is escaped."""

from __future__ import annotations

import html
import re
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Html(str):
    """Markup that was built by `tag` and may be used as it is."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


def escape(value: Any) -> Html:
    """`value` as text inside HTML; `Html` passes unchanged.

    Control characters (but tab and newline) and marks of direction, which turn around what follows, become U+FFFD.
    """
    if isinstance(value, Html):
        return value
    return Html(html.escape(_CONTROL.sub("\ufffd", str(value)), quote=True))


def tag(name: str, *children: Any, **attributes: Any) -> Html:
    """`tag("td", "5 < 6", style="…")`. Attribute names: ``class_`` → class, ``_`` → ``-``; None leaves one out."""
    parts = [name]
    for key, value in attributes.items():
        if value is not None:
            parts.append(f'{key.rstrip("_").replace("_", "-")}="{escape(value)}"')
    inner = "".join(escape(child) for child in children)
    return Html(f"<{' '.join(parts)}>{inner}</{name}>")


def join(children: Any, separator: str = "") -> Html:
    """Several pieces as one."""
    return Html(escape(separator).join(escape(child) for child in children))
