"""What labelling would ask and cost, as HTML, from plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saewidgets.render.html import Html, tag
from saewidgets.render.runs import CELL, NUMBER

_PROMPT = "white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto;font-size:12px;margin:4px 0 8px"


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question: of which feature, estimated tokens, and messages as (role, text)."""

    index: int
    tokens: int
    messages: Sequence[tuple[str, str]]


def plan_card(title: str, facts: Sequence[tuple[str, str]], prompts: Sequence[Prompt]) -> Html:
    """A table of `facts` under a title, and every prompt folded away, the first one open."""
    rows = [
        tag("tr", tag("th", name, scope="row", style=f"{CELL};text-align:left"), tag("td", value, style=NUMBER))
        for name, value in facts
    ]
    folded = [
        tag(
            "details",
            tag("summary", f"Feature {prompt.index:,}: the exact prompt, about {prompt.tokens:,} tokens"),
            *(tag("pre", f"{role}:\n{text}", style=_PROMPT) for role, text in prompt.messages),
            open="" if number == 0 else None,
        )
        for number, prompt in enumerate(prompts)
    ]
    return tag("div", tag("p", title, style="margin:4px 0;font-weight:600"), tag("table", *rows), *folded)
