"""A table of runs and a whole page about them, from plain mappings (the fields of `messages.training.Card`)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from saewidgets.records import TrainingRecord
from saewidgets.render.html import Html, join, tag
from saewidgets.render.labels import architecture_label
from saewidgets.render.numbers import NONE, metric, tokens

ICONS = {
    "queued": "◷",
    "starting": "▶",
    "running": "▶",
    "pausing": "❚❚",
    "paused": "❚❚",
    "stopping": "■",
    "completed": "✓",
    "failed": "✕",
    "stopped": "■",
    "cancelled": "■",
    "interrupted": "┅",
}
TILES = (("loss", "Loss"), ("l0", "L0"), ("fvu", "FVU"), ("ce_loss_score", "CE rec."), ("dead", "Dead"))
CELL = "padding:3px 10px 3px 0;text-align:left;vertical-align:top;border:0"
NUMBER = f"{CELL};text-align:right;font-variant-numeric:tabular-nums"
# JupyterLab gives columns one width, so that a long hook name would stand over the next one: auto.
TABLE = "border-collapse:collapse;table-layout:auto;width:100%;font-size:12px"
BOX = "font:13px/1.5 system-ui,sans-serif;border:1px solid #8884;border-radius:4px;padding:10px 12px;overflow-x:auto"


def tile_values(record: TrainingRecord) -> dict[str, float | None]:
    """The newest value of each of `TILES`. What made a loss NaN is not recorded, but the run's error says so.

    `val_dead`, the share that never fired on held-out text, is there where the run has ended before anybody could know
    which latents are dead.
    """
    values = {name: record.latest.get(name) for name, _ in TILES}
    ended_early = record.status.is_final and values["dead"] is None
    values["val_dead"] = record.latest.get("val_dead") if ended_early else None
    return values | {"loss": math.nan} if record.error is not None and record.error.kind == "nan" else values


def status_words(status: str) -> str:
    """Icon and word."""
    return f"{ICONS.get(status, '·')} {status.capitalize()}"


def runs_table(cards: Sequence[Mapping[str, Any]]) -> Html:
    """One row per run; an empty state when there is none."""
    if not cards:
        return tag("p", "No trainings yet", style="margin:4px 0")
    heads = ["Status", "Name", "Model and hook", "Autoencoder", "Tokens", *(label for _, label in TILES)]
    head = tag("tr", *(tag("th", text, scope="col", style=NUMBER if i > 3 else CELL) for i, text in enumerate(heads)))
    rows = []
    for card in cards:
        done = f"{tokens(card['tokens_done'])} of {tokens(card['tokens_total'])}"
        cells = [
            tag("td", status_words(card["status"]), style=f"{CELL};white-space:nowrap"),
            tag("td", card["name"], style=f"{CELL};font-weight:600"),
            tag("td", f"{card['model']} · {card['hook_name']}", style=CELL),
            tag("td", f"{card['architecture']} · d_sae {card['d_sae']:,}", style=CELL),
            tag("td", done, style=NUMBER),
            *(tag("td", _tile(card["tiles"], name), style=NUMBER) for name, _ in TILES),
        ]
        rows.append(tag("tr", *cells))
        note = card.get("note")
        if note:
            text = " ".join(filter(None, [note["what"], note.get("hint")]))
            rows.append(tag("tr", tag("td", style=CELL), tag("td", text, style=CELL, colspan=len(heads) - 1)))
    return tag("table", tag("thead", head), tag("tbody", *rows), style=TABLE)


def _tile(tiles: Mapping[str, Any], name: str) -> str:
    if name == "dead" and tiles.get("val_dead") is not None:
        return f"{metric(name, tiles['val_dead'])} never fired (held-out text)"
    return metric(name, tiles.get(name))


def group_card(name: str, status: str, records: Iterable[TrainingRecord]) -> Html:
    """Trainings of one job, in a frame."""
    cards = [
        {
            "status": r.status.value, "name": r.name, "model": r.model, "hook_name": r.hook_name,
            "architecture": r.architecture, "d_sae": r.d_sae, "tokens_done": r.tokens_done,
            "tokens_total": r.tokens_total, "tiles": tile_values(r),
            "note": {"what": r.error.what, "hint": r.error.hint} if r.error is not None else None,
        }
        for r in records
    ]  # fmt: skip
    title = tag("div", tag("strong", name), " ", status_words(status), style="margin-bottom:6px")
    return tag("div", title, runs_table(cards), style=BOX)


def runs_page(
    cards: Sequence[Mapping[str, Any]], *, workspace: str, taken_at: float, charts: Sequence[Html] = (), note: str = ""
) -> Html:
    """The last state of a panel, marked as such."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(taken_at)) if taken_at else NONE
    mark = f"Static copy of the training panel ({workspace}), as of {when}. {note}".strip()
    return tag(
        "div",
        tag("div", tag("strong", "Training"), style="font-size:15px;margin-bottom:2px"),
        tag("div", mark, style="opacity:.75;font-size:12px;margin-bottom:8px"),
        runs_table(cards),
        tag("div", join(charts), style="display:flex;flex-wrap:wrap;gap:16px;margin-top:8px") if charts else Html(""),
        style=BOX,
    )


def facts_card(title: str, facts: Mapping[str, Any]) -> Html:
    """One object as a compact card: a title and name – value pairs."""
    rows = [
        tag("tr", tag("th", k, scope="row", style=f"{CELL};opacity:.75"), tag("td", v, style=CELL))
        for k, v in facts.items()
    ]
    table = tag("table", *rows, style="border-collapse:collapse;font-size:12px")
    return tag("div", tag("strong", title), table, style=BOX)


def run_facts(record: TrainingRecord) -> dict[str, Any]:
    """The fields of a run that the tables of this module show (a subset of `messages.training.Card`)."""
    note = {"what": record.error.what, "hint": record.error.hint} if record.error else None
    return {
        "name": record.name,
        "status": record.status.value,
        "model": record.model,
        "hook_name": record.hook_name,
        "architecture": architecture_label(record.config.get("sae", {}), record.architecture),
        "d_sae": record.d_sae,
        "tokens_done": record.tokens_done,
        "tokens_total": record.tokens_total,
        "tiles": tile_values(record),
        "note": note,
    }


def runs_html(records: Iterable[TrainingRecord]) -> str:
    """Runs as `_repr_html_` shows them."""
    return str(tag("div", runs_table([run_facts(record) for record in records]), style=BOX))
