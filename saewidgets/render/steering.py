"""Steering as static HTML: the features, then what was written, from plain values and pieces that are HTML already."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from saewidgets.render.html import Html, tag
from saewidgets.render.numbers import NONE
from saewidgets.render.runs import BOX, CELL, NUMBER, TABLE

MODES = {
    "add_max": "Add × max", "add": "Add", "clamp": "Clamp to", "conditional_clamp": "Clamp to, where it fires",
    "scale": "Scale by", "ablate": "Ablate",
}  # fmt: skip


def features_table(rows: Sequence[Mapping[str, Any]]) -> Html:
    """One row per feature (the fields of `messages.steering.SteeringRow`); an empty state when there is none."""
    if not rows:
        return tag("p", "No feature chosen", style="margin:4px 0")
    heads = ("SAE", "Feature", "Label", "Mode", "Strength")
    head = tag("tr", *(tag("th", text, scope="col", style=NUMBER if text == "Strength" else CELL) for text in heads))
    body = [
        tag(
            "tr",
            tag("td", row["sae"], style=CELL),
            tag("td", str(row["index"]), style=f"{CELL};font-weight:600"),
            tag("td", row["label"], style=CELL),
            tag("td", MODES[row["mode"]], style=CELL),
            tag("td", NONE if row["mode"] == "ablate" else f"{row['strength']:g}", style=NUMBER),
        )
        for row in rows
    ]
    return tag("table", tag("thead", head), tag("tbody", *body), style=TABLE)


def steering_page(
    rows: Sequence[Mapping[str, Any]], results: Sequence[Html], *, prompt: str, workspace: str, taken_at: float
) -> Html:
    """The last state of the steering widget, marked as such.

    Args:
        rows: the features.
        results: what was written, as HTML.
        prompt: the text that is continued, shown while nothing was written.
        workspace, taken_at: whose, and of when (Unix seconds).
    """
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(taken_at)) if taken_at else NONE
    mark = f"Static copy of the steering ({workspace}), as of {when}."
    parts = [
        tag("div", tag("strong", "Steering"), style="font-size:15px;margin-bottom:2px"),
        tag("div", mark, style="opacity:.75;font-size:12px;margin-bottom:8px"),
        features_table(rows),
    ]
    if prompt and not results:
        parts.append(tag("p", prompt, style="white-space:pre-wrap"))
    parts += [tag("div", result, style="margin-top:12px") for result in results]
    return tag("div", *parts, style=BOX)
