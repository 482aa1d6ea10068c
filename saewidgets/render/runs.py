"""Tables of runs, drawn from records or from the state of the training panel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from saewidgets.records import TrainingRecord
from saewidgets.render.html import CELL, NUMBER, SHORT, STRONG, Html, card, note_text, static_copy, table, tag
from saewidgets.render.labels import architecture_label
from saewidgets.render.numbers import metric, tokens

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
_RUN = {
    "Status": SHORT, "Name": STRONG, "Model and hook": CELL, "Autoencoder": CELL, "Tokens": NUMBER,
    **{label: NUMBER for _, label in TILES},
}  # fmt: skip


def status_words(status: str) -> str:
    """Icon and word."""
    return f"{ICONS.get(status, '·')} {status.capitalize()}"


def tile_values(record: TrainingRecord) -> dict[str, float | None]:
    """The newest value of each of `TILES`. What made a loss NaN is not recorded, but the run's error says so.

    `val_dead`, the share that never fired on held-out text, is there where the run has ended before anybody could know
    which latents are dead.
    """
    values = {name: record.latest.get(name) for name, _ in TILES}
    ended_early = record.status.is_final and values["dead"] is None
    values["val_dead"] = record.latest.get("val_dead") if ended_early else None
    return values | {"loss": math.nan} if record.error is not None and record.error.kind == "nan" else values


def _card_of(record: TrainingRecord) -> dict[str, Any]:
    """The fields of `messages.training.Card` that are shown here."""
    sae = record.config.get("sae", {})
    return {
        "name": record.name, "status": record.status.value, "model": record.model, "hook_name": record.hook_name,
        "architecture": architecture_label(sae, record.architecture), "d_sae": record.d_sae,
        "tokens_done": record.tokens_done, "tokens_total": record.tokens_total, "tiles": tile_values(record),
        "note": {"what": record.error.what, "hint": record.error.hint} if record.error else None,
    }  # fmt: skip


def _runs(cards: Iterable[Mapping[str, Any]]) -> Html:
    def tile(tiles: Mapping[str, Any], name: str) -> str:
        if name == "dead" and tiles.get("val_dead") is not None:
            return f"{metric(name, tiles['val_dead'])} never fired (held-out text)"
        return metric(name, tiles.get(name))

    rows = (
        (
            (
                status_words(run["status"]), run["name"], f"{run['model']} · {run['hook_name']}",
                f"{run['architecture']} · d_sae {run['d_sae']:,}",
                f"{tokens(run['tokens_done'])} of {tokens(run['tokens_total'])}",
                *(tile(run["tiles"], name) for name, _ in TILES),
            ),
            note_text(run),
        )
        for run in cards
    )  # fmt: skip
    return table(_RUN, rows, "No trainings yet")


def runs_html(records: Iterable[TrainingRecord]) -> str:
    """Runs as `_repr_html_` shows them."""
    return str(card(_runs(map(_card_of, records))))


def group_card(name: str, status: str, records: Iterable[TrainingRecord]) -> Html:
    """Trainings of one job, in a frame."""
    title = tag("div", tag("strong", name), " ", status_words(status), style="margin-bottom:6px")
    return card(title, _runs(map(_card_of, records)))


def runs_page(state: Mapping[str, Any], charts: Sequence[Html] = ()) -> Html:
    """The static copy of the training panel, with its charts."""
    drawn = tag("div", *charts, style="display:flex;flex-wrap:wrap;gap:16px;margin-top:8px") if charts else ""
    return static_copy("Training", "training panel", state, _runs(state["cards"]), drawn)
