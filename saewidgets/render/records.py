"""Defines how notebooks and terminals show records: a compact table per kind, a card for one record. `records.views`
holds the functions, since records are below this module."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from typing import Any

from saewidgets.config.names import shown_model
from saewidgets.errors import visible
from saewidgets.records import views
from saewidgets.render.html import CELL, NUMBER, SHORT, card, facts_card, marked, tag
from saewidgets.render.numbers import NONE, activation, decimal, metric, percent, size, tokens
from saewidgets.render.static_views import MARK, TABLE, runs_html, shade, status_words

# Class → the fields that its table shows. A class that is not here shows its plain fields.
_FIELDS = {
    "TrainingRecord": "status name model hook_name architecture d_sae tokens fvu l0",
    "SAERecord": "name source model hook_name architecture d_sae d_in size_bytes created_at",
    "ExtractionRecord": "status name model hook_name tokens seen dead size_bytes created_at",
    "ActivationStoreRecord": "status name model hook_names tokens dtype size_bytes created_at",
    "TemplateRecord": "favorite name model hook_name architecture d_sae corpus description",
    "JobRecord": "id kind status name progress created_at error",
    "CheckpointRecord": "step tokens kinds size_bytes created_at",
    "FeatureRecord": "index label score density max top_tokens starred",
    "RelatedRecord": "index label value density top_tokens",
    "ExampleRecord": "value text",
    "LabelRecord": "index text source by description error",
    "PresetRecord": "name features saes prompt saved_at problem",
    "Variant": "path site layer d_sae l0 format size_bytes cached",
    "KnownRepo": "repo_id model sites layers widths format",
    "Advice": "severity title text changes why",
    "Comparison": "a b mean_max_cosine mean_max_cosine_back matches",
    "LogitsRecord": "index raises lowers note",
}
_HEADS = {"hook_name": "Hook", "size_bytes": "Size", "l0": "L0", "fvu": "FVU", "d_sae": "d_sae", "d_in": "d_in",
          "seen": "Fired", "saes": "SAEs", "favorite": "★", "starred": "★", "repo_id": "Repository"}  # fmt: skip
_NUMBERS: dict[str, Callable[[Any], str]] = {
    "at": lambda at: time.strftime("%Y-%m-%d %H:%M", time.localtime(at)), "bytes": size, "tokens": tokens,
    "density": percent, "free": size, "max": activation, "mean": activation,
}  # fmt: skip
_ROWS = 25
_NUMBER = re.compile(rf"{NONE}|[\d,.−]+( %| ?[kKMGTB]+)?")  # a cell that is set to the right
_WIDEST, _LONGEST, _ITEMS = 36, 300, 8  # characters of a cell of text and of any value, items of a list


def _value(record: Any, name: str) -> Any:
    """A field of a record, or what stands for it in a table."""
    if hasattr(record, "to_row"):
        return record.to_row().get(name)
    if name in ("fvu", "l0") and hasattr(record, "latest"):
        value = record.latest.get(f"val_{name}", record.latest.get(name))
        return None if value is None else metric(name, value)
    if name == "tokens" and (total := getattr(record, "tokens_total", None)) is not None:
        done = getattr(record, "tokens_done", 0) or getattr(record, "n_tokens", 0) or 0
        return tokens(done) if record.status.is_final or done >= total else f"{tokens(done)} of {tokens(total)}"
    return record.payload.get("name") if name == "name" and hasattr(record, "payload") else getattr(record, name, None)


def _cell(name: str, value: Any) -> str:
    if value is None or value in ("", ()) or value is False or (value == 0 and name.endswith("_at")):
        return NONE
    if isinstance(value, Enum):
        return status_words(str(value.value))
    if value is True:
        return "★" if name in _HEADS else "yes"
    if isinstance(value, int | float):
        return _NUMBERS.get(name.rpartition("_")[2], lambda n: f"{n:,}" if isinstance(n, int) else decimal(n, 3))(value)
    if isinstance(value, Mapping):
        value = tuple(f"{key} = {each}" for key, each in value.items())
    if isinstance(value, tuple | list):
        words = [f"‘{_visible(each)}’" if name == "top_tokens" else _brief(each) for each in value[:_ITEMS]]
        return ", ".join([*words, *(["…"] if len(value) > _ITEMS else [])])
    return _brief(shown_model(value) if name == "model" else value)


def _brief(value: Any) -> str:
    text = f"{value.fraction:.0%}" if hasattr(value, "fraction") else str(getattr(value, "message", value))
    if hasattr(value, "cosine"):
        text = f"{value.a:,} – {value.b:,} ({decimal(value.cosine, 3)})"
    elif isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], float):  # a token and a number
        text = f"‘{_visible(value[0])}’ {decimal(value[1], 3)}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _visible(token: str) -> str:
    return "".join(MARK.get(c, c) for c in token)


def _example(record: Any, in_html: bool) -> str:
    """The text of an example, its tokens shaded, or the peak between marks."""
    texts = [_visible(token) for token in record.tokens]
    if in_html:
        text = marked(zip(texts, record.activations, strict=True), max(record.activations), record.peak, shade)
        return tag("span", text, style="white-space:pre-wrap")
    before, after = "".join(texts[: record.peak]), "".join(texts[record.peak + 1 :])
    return f"{before[-_WIDEST:]}«{texts[record.peak]}»{after[:_WIDEST]}"


def _columns(kind: type[Any], records: Sequence[Any], in_html: bool) -> dict[str, list[str]]:
    """Heading → cells, without columns that have no values; of a kind without a table of its own only plain values."""
    own = _FIELDS.get(kind.__name__)
    columns = {}
    for name in own.split() if own else getattr(kind, "COLUMNS", None) or [each.name for each in fields(kind)]:
        if name == "text" and kind.__name__ == "ExampleRecord":
            cells = [_example(record, in_html) for record in records]
        else:
            values = [_value(record, name) for record in records]
            nested = not own and any(isinstance(value, Mapping) or hasattr(value, "counts") for value in values)
            cells = [NONE if nested else _cell(name, value) for value in values]
        if any(cell != NONE for cell in cells):
            head = name.replace("_", " ").removesuffix(" at").capitalize()
            columns[_HEADS.get(name, head)] = cells if in_html else [_plain(cell) for cell in cells]
    return columns


def _plain(cell: str) -> str:
    text = " ".join(visible(cell).split())
    return text if len(text) <= _WIDEST or "«" in text else f"{text[: _WIDEST - 1]}…"


def _noun(kind: type[Any]) -> str:
    return kind.__name__.removesuffix("Record")


def list_html(records: Sequence[Any], kind: type[Any]) -> str:
    """A list of records as a table."""
    left = len(records) - _ROWS
    more = tag("div", f"and {left:,} more", style="margin-top:4px") if left > 0 else ""
    if kind.__name__ == "TrainingRecord":
        return runs_html(records[:_ROWS]) + more
    body, columns = [], _columns(kind, records[:_ROWS], True)
    if not columns:
        return tag("p", f"{_noun(kind)} records: none")
    wide = set("Text Label Description Why Name Title Changes Prompt Error Problem".split()) | {"Top tokens"}
    styles = [
        f"{NUMBER};white-space:nowrap" if all(map(_NUMBER.fullmatch, cells)) else CELL if head in wide else SHORT
        for head, cells in columns.items()
    ]  # fmt: skip
    heads = (tag("th", head, scope="col", style=style) for head, style in zip(columns, styles, strict=True))
    for row in zip(*columns.values(), strict=True):
        body.append(tag("tr", *(tag("td", cell, style=style) for cell, style in zip(row, styles, strict=True))))
    style = TABLE.replace("width:100%", "width:auto")
    return card(tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body), style=style), more)


def list_text(records: Sequence[Any], kind: type[Any]) -> str:
    """A list of records as a table for a terminal."""
    columns = _columns(kind, records[:_ROWS], False)
    widths = [max(map(len, [head, *cells])) for head, cells in columns.items()]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [tuple(columns), *zip(*columns.values(), strict=True)]
    ]
    left = len(records) - _ROWS
    more = [f"and {left:,} more"] if left > 0 else []
    return "\n".join([f"<{_noun(kind)} records: {len(records):,}>", *filter(None, lines), *more])


def _facts(record: Any, in_html: bool) -> dict[str, str]:
    facts = {head: cell for head, (cell,) in _columns(type(record), [record], in_html).items()}
    return facts | {"Id": record.id} if isinstance(getattr(record, "id", None), str) else facts


def record_html(record: Any) -> str:
    """One record as a card."""
    return facts_card(type(record).__name__, {k: v for k, v in _facts(record, True).items() if v != NONE})


def record_text(record: Any) -> str:
    """One record as a line."""
    parts = [f"{head} {cell}" for head, cell in _facts(record, False).items() if cell != NONE]
    return f"<{type(record).__name__} {' · '.join(parts)}>"


views.update(list_html=list_html, list_text=list_text, record_html=record_html, record_text=record_text)
