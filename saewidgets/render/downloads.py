"""A table of downloads and a whole page about them, from plain mappings (the fields of `messages.hub.DownloadCard`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from saewidgets.render.html import Html, tag
from saewidgets.render.numbers import NONE, size
from saewidgets.render.runs import BOX, CELL, NUMBER, TABLE, status_words


def downloads_table(cards: Sequence[Mapping[str, Any]]) -> Html:
    """One row per download; an empty state when there is none."""
    if not cards:
        return tag("p", "No downloads", style="margin:4px 0")
    head = tag(
        "tr",
        *(
            tag("th", text, scope="col", style=NUMBER if text == "Bytes" else CELL)
            for text in ("Status", "SAE", "Bytes", "")
        ),
    )
    rows = []
    for card in cards:
        note = card.get("note") or {}
        total = card["bytes_total"]
        amount = f"{size(card['bytes_done'])} of {size(total)}" if total else NONE
        rows.append(
            tag(
                "tr",
                tag("td", status_words(card["status"]), style=f"{CELL};white-space:nowrap"),
                tag("td", card["name"], style=f"{CELL};font-weight:600"),
                tag("td", amount, style=f"{NUMBER};white-space:nowrap"),
                tag("td", " ".join(filter(None, [note.get("what"), note.get("hint")])), style=CELL),
            )
        )
    return tag("table", tag("thead", head), tag("tbody", *rows), style=TABLE)


def downloads_page(cards: Sequence[Mapping[str, Any]], *, workspace: str, taken_at: float) -> Html:
    """The last state of the download widget, marked as such."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(taken_at)) if taken_at else NONE
    mark = f"Static copy of the downloads ({workspace}), as of {when}."
    return tag(
        "div",
        tag("div", tag("strong", "Download from Hugging Face"), style="font-size:15px;margin-bottom:2px"),
        tag("div", mark, style="opacity:.75;font-size:12px;margin-bottom:8px"),
        downloads_table(cards),
        style=BOX,
    )
