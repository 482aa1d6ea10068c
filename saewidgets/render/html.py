"""`Html`, `escape` and `tag`, the one place where text becomes HTML; cards, shaded text and documents made of them."""

import html
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

CELL = "padding:3px 10px 3px 0;text-align:left;vertical-align:top;border:0"
SHORT = f"{CELL};white-space:nowrap"
NUMBER = f"{CELL};text-align:right;font-variant-numeric:tabular-nums"
_SMALL = "border-collapse:collapse;font-size:12px"
_BOX = "font:13px/1.5 system-ui,sans-serif;border:1px solid #8884;border-radius:4px;padding:10px 12px;overflow-x:auto"
_PAGE = "margin:24px;color-scheme:light dark;background:Canvas;color:CanvasText;font:13px/1.5 system-ui,sans-serif"
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


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


def small_table(rows: Iterable[Html]) -> Html:
    """A table that is as wide as its cells."""
    return tag("table", tag("tbody", *rows), style=_SMALL)


def card(*parts: Any) -> Html:
    """Something in a frame."""
    return tag("div", *parts, style=_BOX)


def facts_table(title: str, facts: Mapping[str, Any]) -> Html:
    """A title, and name – value pairs below it."""
    rows = (
        tag("tr", tag("th", k, scope="row", style=f"{CELL};opacity:.75"), tag("td", v, style=CELL))
        for k, v in facts.items()
    )
    return join([tag("strong", title), small_table(rows)])


def facts_card(title: str, facts: Mapping[str, Any]) -> Html:
    """One object as a compact card."""
    return card(facts_table(title, facts))


def html_document(title: str, body: Html) -> str:
    """A complete HTML file around `body`, readable in light and dark, without script."""
    meta = Html(f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">')
    head = tag("head", meta, tag("title", title), tag("style", Html(f"body{{{_PAGE}}}")))
    return "<!doctype html>\n" + tag("html", head, tag("body", body), lang="en") + "\n"


STEPS = 8
LEAST = 5e-5
"""An activation below this has no shade."""

Look = Callable[[int, bool, float], str]
"""From the step of a token's shade, whether it is the strongest, and its activation to the attributes of its tag."""


def step_of(value: float, largest: float) -> int:
    """The shade of an activation, 0 (none) to 8: logarithmic, so that weak ones can be seen."""
    if not (value >= LEAST and largest > 0):
        return 0
    return min(STEPS, math.ceil(STEPS * math.log10(1 + 9 * min(1.0, value / largest)) - 1e-9))


def marked(tokens: Iterable[tuple[str, float]], largest: float, peak: int, look: Look) -> Html:
    """Tokens (text and activation) with their shades, the darkest at `largest`; leading spaces have none."""
    parts: list[str] = []
    for place, (text, value) in enumerate(tokens):
        step = step_of(value, largest)
        if step or place == peak:
            body = text.lstrip(" ") or text
            text = Html(f"{text[: len(text) - len(body)]}<i {look(step, place == peak, value)}>{escape(body)}</i>")
        parts.append(text)
    return join(parts)


def bars(counts: Sequence[int], step: float, height: int, most: int, first: int = 0) -> str:
    """Bars as one SVG path, from the bin `first` on, each `step` wide: a rectangle each would be ten times as long."""
    thick = max(step - 0.6, 0.6)
    return "".join(
        f"M{1 + (first + i) * step:.1f} {height}v{-max(1.0, height * c / most):.1f}h{thick:.1f}V{height}z"
        for i, c in enumerate(counts) if c
    )  # fmt: skip
