"""The static copies of the five widgets, drawn from their states, and tables of runs, drawn from records."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from saewidgets.config.names import shown_model
from saewidgets.records import TrainingRecord
from saewidgets.render.html import CELL, NUMBER, SHORT, STEPS, Html, card, join, marked, small_table, tag
from saewidgets.render.labels import architecture_label
from saewidgets.render.numbers import NONE, activation, metric, percent, size, tokens

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
_STRONG = f"{CELL};font-weight:600"
# JupyterLab gives columns one width, so that a long hook name would cover the next one: auto.
TABLE = "border-collapse:collapse;table-layout:auto;width:100%;font-size:12px"
TILES = (("loss", "Loss"), ("l0", "L0"), ("fvu", "FVU"), ("ce_loss_score", "CE rec."), ("dead", "Dead"))
_RUN = {
    "Status": SHORT, "Name": _STRONG, "Model and hook": CELL, "Autoencoder": CELL, "Tokens": NUMBER,
    **{label: NUMBER for _, label in TILES},
}  # fmt: skip
MODES = {
    "add_max": "Add × max", "add": "Add", "clamp": "Clamp to", "conditional_clamp": "Clamp to, where it fires",
    "scale": "Scale by", "ablate": "Ablate",
}  # fmt: skip
_SAE = {
    "Name": _STRONG, "Source": CELL, "Model and hook": CELL, "Architecture": CELL, "d_sae × d_in": NUMBER,
    "Format": CELL, "Size": NUMBER, "Added": SHORT,
}  # fmt: skip
_DOWNLOAD = {"Status": SHORT, "SAE": _STRONG, "Bytes": f"{NUMBER};white-space:nowrap"}
_EXTRACTION = {
    "Status": SHORT, "SAE": _STRONG, "Model": CELL,
    **dict.fromkeys(("Tokens", "Features", "Dead", "Dense", "Size"), NUMBER),
}  # fmt: skip
_STEERED = {"SAE": CELL, "Feature": _STRONG, "Label": CELL, "Mode": CELL, "Strength": NUMBER}
_SAE_STATES = {"missing": "⚠ Files not found.", "changed": "⚠ Files changed."}
MARK = {"\n": "↵", "\t": "⇥", "\r": "↵"}


def status_words(status: str) -> str:
    """Icon and word."""
    return f"{ICONS.get(status, '·')} {status.capitalize()}"


def tile_values(record: TrainingRecord) -> dict[str, float | None]:
    """The newest value of each of `TILES`. What made a loss NaN is not recorded, but the run's error says so.

    `val_dead`, the share that never fired in training, is there where the run has ended before anybody could know which
    latents are dead. `ce_tokens` is how many tokens the cross-entropy is measured on.
    """
    values = {name: record.latest.get(name) for name in (*(name for name, _ in TILES), "ce_tokens")}
    ended_early = record.status.is_final and values["dead"] is None
    values["val_dead"] = record.latest.get("val_dead") if ended_early else None
    return values | {"loss": math.nan} if record.error is not None and record.error.kind == "nan" else values


def _card_of(record: TrainingRecord) -> dict[str, Any]:
    """The fields of `messages.training.Card` that are shown here."""
    sae = record.config.get("sae", {})
    return {
        "name": record.name, "status": record.status.value,
        "model": shown_model(record.model), "hook_name": record.hook_name,
        "architecture": architecture_label(sae, record.architecture), "d_sae": record.d_sae,
        "tokens_done": record.tokens_done, "tokens_total": record.tokens_total, "tiles": tile_values(record),
        "note": {"what": record.error.what, "hint": record.error.hint} if record.error else None,
    }  # fmt: skip


def _note(shown: Mapping[str, Any]) -> str:
    """The note of a card."""
    note = shown.get("note") or {}
    return " ".join(filter(None, [note.get("what"), note.get("hint")]))


def _table(
    columns: Mapping[str, str], cards: Iterable[Any], cells: Callable[[Any], Sequence[Any]], empty: str,
    note: Callable[[Any], str] = _note,
) -> Html:  # fmt: skip
    """A row of cells for every card, with its note below, or the words `empty`; `columns`: heading → style of cells."""
    body = []
    for each in cards:
        drawn = (tag("td", cell, style=style) for cell, style in zip(cells(each), columns.values(), strict=True))
        body.append(tag("tr", *drawn))
        if text := note(each):
            body.append(tag("tr", tag("td", style=CELL), tag("td", text, style=CELL, colspan=len(columns) - 1)))
    if not body:
        return tag("p", empty, style="margin:4px 0")
    heads = (
        tag("th", name, scope="col", style=NUMBER if style.startswith(NUMBER) else CELL)
        for name, style in columns.items()
    )
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body), style=TABLE)


def _static_copy(title: str, of: str, state: Mapping[str, Any], *parts: Any, about: str = "", more: str = ".") -> Html:
    """The last state of a widget, marked as a copy `of` it; `about` comes before the workspace, `more` at the end."""
    at = state["updated_at"]
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else "–"
    mark = f"Static copy of the {of} ({about}{state['workspace']}), as of {when}{more}"
    return card(
        tag("div", tag("strong", title), style="font-size:15px;margin-bottom:2px"),
        tag("div", mark, style="opacity:.75;font-size:12px;margin-bottom:8px"),
        *parts,
    )


def _runs(cards: Iterable[Mapping[str, Any]]) -> Html:
    def tile(tiles: Mapping[str, Any], name: str) -> str:
        if name == "dead" and tiles.get("val_dead") is not None:
            return f"{metric(name, tiles['val_dead'])} never fired"
        return metric(name, tiles.get(name))

    def cells(run: Mapping[str, Any]) -> Sequence[str]:
        return (
            status_words(run["status"]), run["name"], f"{run['model']} · {run['hook_name']}",
            f"{run['architecture']} · d_sae {run['d_sae']:,}",
            f"{tokens(run['tokens_done'])} of {tokens(run['tokens_total'])}",
            *(tile(run["tiles"], name) for name, _ in TILES),
        )  # fmt: skip

    return _table(_RUN, cards, cells, "No trainings yet")


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
    others = state["total"] - len(state["cards"])
    rest = tag("p", f"and {others:,} more", style="margin:4px 0") if others > 0 else ""
    return _static_copy("Training", "training panel", state, _runs(state["cards"]), rest, drawn)


def saes_page(state: Mapping[str, Any]) -> Html:
    """The SAE browser: its page of the list."""

    def cells(sae: Mapping[str, Any]) -> Sequence[str]:
        return (
            sae["name"], sae["source_label"], " · ".join(filter(None, [sae["model"], sae["hook_name"]])) or NONE,
            sae["architecture"], f"{sae['d_sae']:,} × {sae['d_in']:,}", sae["format_label"],
            size(sae["size_bytes"]), time.strftime("%Y-%m-%d", time.localtime(sae["created_at"])),
        )  # fmt: skip

    def note(sae: Mapping[str, Any]) -> str:
        return f"{_SAE_STATES[sae['state']]} {sae['state_note']}" if sae["state"] in _SAE_STATES else ""

    cards, total, matching = state["cards"], state["total"], state["matching"]
    more = f": {len(cards):,} of {total:,} SAE{'s' * (total != 1)}"
    more += f", {matching:,} match the filters." if matching != total else "."
    drawn = _table(_SAE, cards, cells, "No SAE matches" if total else "No SAEs yet", note)
    return _static_copy("SAEs", "SAE browser", state, drawn, more=more)


def downloads_page(state: Mapping[str, Any]) -> Html:
    """The download widget: its list."""

    def cells(load: Mapping[str, Any]) -> Sequence[str]:
        amount = f"{size(load['bytes_done'])} of {size(load['bytes_total'])}" if load["bytes_total"] else NONE
        return status_words(load["status"]), load["name"], amount

    drawn = _table(_DOWNLOAD, state["downloads"], cells, "No downloads")
    return _static_copy("Download from Hugging Face", "downloads", state, drawn)


def extractions_page(state: Mapping[str, Any]) -> Html:
    """The extraction viewer: its list of extractions."""

    def cells(found: Mapping[str, Any]) -> Sequence[str]:
        done = tokens(found["tokens_done"])
        if found["tokens_done"] != found["tokens_total"]:
            done += f" of {tokens(found['tokens_total'])}"
        counts = (NONE if found[name] is None else f"{found[name]:,}" for name in ("d_sae", "dead", "dense"))
        taken = NONE if found["size_bytes"] is None else size(found["size_bytes"])
        return status_words(found["status"]), found["name"], found["model"], done, *counts, taken

    cards, total = state["cards"], state["total"]
    more = f": {len(cards):,} of {total:,} extraction{'s' * (total != 1)}."
    drawn = _table(_EXTRACTION, cards, cells, "No features yet")
    return _static_copy("Features", "extraction viewer", state, drawn, more=more)


def feature_page_html(
    page: Mapping[str, Any], activations: Iterable[float], state: Mapping[str, Any], *, name: str
) -> Html:
    """The extraction viewer: a `FeaturePage` with the activations of all its examples, one after another."""
    labels, notes = page["notes"]["labels"], page["notes"]["notes"]
    title = f"Feature {page['index']}" + (f": {labels[0]['text']}" if labels else "")
    numbers = (
        f"Density {percent(page['density'])} · fired on {page['fired']:,} of {tokens(page['n_tokens'])} tokens · "
        f"max {activation(page['max'])} · mean when active {activation(page['mean'])} · "
        f"in {page['n_documents']:,} of {page['documents']:,} documents"
    )
    values = iter(activations)
    groups = [_group(group, page, values) for group in page["groups"]]
    if not page["fired"]:
        groups = [tag("p", f"Feature {page['index']} did not fire. Not once in {page['n_tokens']:,} tokens.")]
    return _static_copy(
        title, "extraction viewer", state, tag("div", numbers, style="margin-bottom:8px"),
        tag("p", notes, style="white-space:pre-wrap") if notes else "", *groups, about=f"{name}, ",
    )  # fmt: skip


def _group(group: Mapping[str, Any], page: Mapping[str, Any], values: Iterator[float]) -> Html:
    title = group["title"]
    if group["share"] is not None:
        title += f", {percent(group['share'])} of firings, {percent(group['token_share'])} of tokens"
    else:
        title += f", {len(group['examples'])} of {group['count']:,}"
    rows = []
    for example in group["examples"]:
        texts = ("".join(MARK.get(c, c) for c in page["texts"][place]) for place in example["tokens"])
        text = marked([(each, next(values, 0.0)) for each in texts], page["list_max"], example["peak"], shade)
        before, after = ("… " if example["before"] else "", " …" if example["after"] else "")
        shown = tag("td", before, text, after, style=f"{CELL};white-space:pre-wrap")
        rows.append(tag("tr", tag("td", activation(example["value"]), style=NUMBER), shown))
    return join([tag("div", title, style="font-weight:600;margin-top:6px"), small_table(rows) if rows else ""])


def shade(step: int, strongest: bool, _: float) -> str:
    """The `Look` of a token in `marked`: an orange ground."""
    ground = f";background:rgba(217,139,0,{0.08 + 0.62 * step / STEPS:.2f});border-radius:2px" if step else ""
    return f'style="font-style:normal{ground}{";font-weight:bold" if strongest else ""}"'


def steering_page(state: Mapping[str, Any], results: Sequence[Html]) -> Html:
    """The steering widget: its features, then what was written, or the prompt where nothing was."""

    def cells(row: Mapping[str, Any]) -> Sequence[Any]:
        strength = NONE if row["mode"] == "ablate" else f"{row['strength']:g}"
        return row["sae"], row["index"], row["label"], MODES[row["mode"]], strength

    prompt = state["settings"]["prompt"]
    written = [tag("div", result, style="margin-top:12px") for result in results]
    if prompt and not results:
        written = [tag("p", prompt, style="white-space:pre-wrap")]
    drawn = _table(_STEERED, state["rows"], cells, "No feature chosen")
    return _static_copy("Steering", "steering", state, drawn, *written)
