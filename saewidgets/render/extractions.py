"""Tables of extractions and the page of a feature, from plain mappings (the fields of `messages.features`)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from saewidgets.render.features_page import STEPS, activation, percent, step_of
from saewidgets.render.html import Html, join, tag
from saewidgets.render.numbers import NONE, size, tokens
from saewidgets.render.runs import BOX, CELL, NUMBER, TABLE, status_words

_SMALL = "opacity:.75;font-size:12px;margin-bottom:8px"
_MARK = {"\n": "↵", "\t": "⇥", "\r": "↵"}


def extractions_table(cards: Sequence[Mapping[str, Any]]) -> Html:
    """One row per extraction; an empty state when there is none."""
    if not cards:
        return tag("p", "No features yet", style="margin:4px 0")
    heads = ("Status", "SAE", "Model", "Tokens", "Features", "Dead", "Dense", "Size")
    head = tag("tr", *(tag("th", text, scope="col", style=NUMBER if i > 2 else CELL) for i, text in enumerate(heads)))
    rows = []
    for card in cards:
        done = tokens(card["tokens_done"])
        if card["tokens_done"] != card["tokens_total"]:
            done += f" of {tokens(card['tokens_total'])}"
        counts = (card["d_sae"], card["dead"], card["dense"])
        cells = [
            tag("td", status_words(card["status"]), style=f"{CELL};white-space:nowrap"),
            tag("td", card["name"], style=f"{CELL};font-weight:600"),
            tag("td", card["model"], style=CELL),
            tag("td", done, style=NUMBER),
            *(tag("td", NONE if count is None else f"{count:,}", style=NUMBER) for count in counts),
            tag("td", NONE if card["size_bytes"] is None else size(card["size_bytes"]), style=NUMBER),
        ]
        rows.append(tag("tr", *cells))
        note = card.get("note")
        if note:
            text = " ".join(filter(None, [note["what"], note.get("hint")]))
            rows.append(tag("tr", tag("td", style=CELL), tag("td", text, style=CELL, colspan=len(heads) - 1)))
    return tag("table", tag("thead", head), tag("tbody", *rows), style=TABLE)


def extractions_page(
    cards: Sequence[Mapping[str, Any]], *, total: int, workspace: str, taken_at: float
) -> Html:
    """The last list of an extraction viewer, marked as such.

    Args:
        cards: the extractions that were shown.
        total: how many the workspace has.
        workspace: what it is called.
        taken_at: Unix seconds; 0 if unknown.
    """
    mark = f"Static copy of the extraction viewer ({workspace}), as of {_when(taken_at)}: "
    mark += f"{len(cards):,} of {total:,} extraction{'s' * (total != 1)}."
    return tag(
        "div",
        tag("div", tag("strong", "Features"), style="font-size:15px;margin-bottom:2px"),
        tag("div", mark, style=_SMALL),
        extractions_table(cards),
        style=BOX,
    )


def feature_page_html(
    page: Mapping[str, Any], activations: Sequence[float], *, name: str, workspace: str, taken_at: float
) -> Html:
    """The page of a feature, marked as a copy.

    Args:
        page: the fields of `FeaturePage`.
        activations: of the tokens of all examples, one after another.
        name: of the SAE.
        workspace: what it is called.
        taken_at: Unix seconds; 0 if unknown.
    """
    labels = page["notes"]["labels"]
    title = f"Feature {page['index']}" + (f": {labels[0]['text']}" if labels else "")
    mark = f"Static copy of the extraction viewer ({name}, {workspace}), as of {_when(taken_at)}."
    values = iter(activations)
    groups = [_group(group, page, values) for group in page["groups"]]
    if not page["fired"]:
        groups = [tag("p", f"Feature {page['index']} did not fire. Not once in {page['n_tokens']:,} tokens.")]
    notes = page["notes"]["notes"]
    return tag(
        "div",
        tag("div", tag("strong", title), style="font-size:15px;margin-bottom:2px"),
        tag("div", mark, style=_SMALL),
        tag("div", _numbers(page), style="margin-bottom:8px"),
        tag("p", notes, style="white-space:pre-wrap") if notes else "",
        join(groups),
        style=BOX,
    )


def _numbers(page: Mapping[str, Any]) -> str:
    return (
        f"Density {percent(page['density'])} · fired on {page['fired']:,} of {tokens(page['n_tokens'])} tokens · "
        f"max {activation(page['max'])} · mean when active {activation(page['mean'])} · "
        f"in {page['n_documents']:,} of {page['documents']:,} documents"
    )


def _group(group: Mapping[str, Any], page: Mapping[str, Any], values: Iterator[float]) -> Html:
    title = group["title"]
    if group["share"] is not None:
        title += f", {percent(group['share'])} of firings, {percent(group['token_share'])} of tokens"
    else:
        title += f", {len(group['examples'])} of {group['count']:,}"
    rows = []
    for example in group["examples"]:
        shades = [next(values, 0.0) for _ in example["tokens"]]
        text = join(
            _token(page["texts"][place], value, page["list_max"], at == example["peak"])
            for at, (place, value) in enumerate(zip(example["tokens"], shades, strict=True))
        )
        cells = [
            tag("td", activation(example["value"]), style=NUMBER),
            tag(
                "td", "… " if example["before"] else "", text, " …" if example["after"] else "",
                style=f"{CELL};white-space:pre-wrap",
            ),
        ]  # fmt: skip
        rows.append(tag("tr", *cells))
    table = tag("table", tag("tbody", *rows), style="border-collapse:collapse;font-size:12px")
    return join([tag("div", title, style="font-weight:600;margin-top:6px"), table if rows else ""])


def _token(text: str, value: float, largest: float, peak: bool) -> Html:
    """A token with its shade; leading spaces stand outside of it."""
    shown = "".join(_MARK.get(c, c) for c in text)
    bare = shown.lstrip(" ")
    step = step_of(value, largest)
    if not step and not peak:
        return join([shown])
    style = f"background:rgba(217,139,0,{0.08 + 0.62 * step / STEPS:.2f});border-radius:2px" if step else None
    return join([" " * (len(shown) - len(bare)), tag("b" if peak else "span", bare, style=style)])


def _when(taken_at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(taken_at)) if taken_at else NONE
