"""A table of SAEs and a whole page about them, from plain mappings (the fields of `messages.saes.SaeCard`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from saewidgets.render.html import Html, tag
from saewidgets.render.numbers import NONE, size
from saewidgets.render.runs import BOX, CELL, NUMBER, TABLE

_HEADS = ("Name", "Source", "Model and hook", "Architecture", "d_sae × d_in", "Format", "Size", "Added")
_STATES = {"missing": "⚠ Files not found.", "changed": "⚠ Files changed."}


def saes_table(cards: Sequence[Mapping[str, Any]]) -> Html:
    """One row per SAE; an empty state when there is none."""
    if not cards:
        return tag("p", "No SAEs yet", style="margin:4px 0")
    head = tag("tr", *(tag("th", text, scope="col", style=NUMBER if i in (4, 6) else CELL)
                       for i, text in enumerate(_HEADS)))  # fmt: skip
    rows = []
    for card in cards:
        place = " · ".join(filter(None, [card["model"], card["hook_name"]])) or NONE
        added = time.strftime("%Y-%m-%d", time.localtime(card["created_at"]))
        cells = [
            tag("td", card["name"], style=f"{CELL};font-weight:600"),
            tag("td", card["source_label"], style=CELL),
            tag("td", place, style=CELL),
            tag("td", card["architecture"], style=CELL),
            tag("td", f"{card['d_sae']:,} × {card['d_in']:,}", style=NUMBER),
            tag("td", card["format_label"], style=CELL),
            tag("td", size(card["size_bytes"]), style=NUMBER),
            tag("td", added, style=f"{CELL};white-space:nowrap"),
        ]
        rows.append(tag("tr", *cells))
        if card["state"] in _STATES:
            text = f"{_STATES[card['state']]} {card['state_note']}".strip()
            rows.append(tag("tr", tag("td", text, style=CELL, colspan=len(_HEADS))))
    return tag("table", tag("thead", head), tag("tbody", *rows), style=TABLE)


def saes_page(
    cards: Sequence[Mapping[str, Any]], *, total: int, matching: int, workspace: str, taken_at: float
) -> Html:
    """The last state of an SAE browser, marked as such.

    Args:
        cards: the SAEs that were shown.
        total: how many the workspace has.
        matching: how many fitted the filters.
        workspace: what it is called.
        taken_at: Unix seconds; 0 if unknown.
    """
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(taken_at)) if taken_at else NONE
    mark = f"Static copy of the SAE browser ({workspace}), as of {when}: "
    mark += f"{len(cards):,} of {total:,} SAE{'s' * (total != 1)}"
    mark += f", {matching:,} match the filters." if matching != total else "."
    empty = tag("p", "No SAE matches", style="margin:4px 0") if total and not cards else None
    return tag(
        "div",
        tag("div", tag("strong", "SAEs"), style="font-size:15px;margin-bottom:2px"),
        tag("div", mark, style="opacity:.75;font-size:12px;margin-bottom:8px"),
        empty or saes_table(cards),
        style=BOX,
    )
