"""Formats values for a page: numbers, settings, texts cut to a length; and reads paths that are typed there."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saewidgets.config.corpus import typed
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus
from saewidgets.render.labels import short_float
from saewidgets.widgets.messages.wire import Note, Setting

NAME_LENGTH = 300  # characters of a name on a card
LARGEST_SAFE = 2**53 - 1  # a page's numbers are doubles: larger bounds mean nothing there


def number(value: Any) -> float | str | None:
    """A number as JSON can carry it: non-finite ones become the words "NaN", "Infinity" and "-Infinity"."""
    if value is None:
        return None
    found = float(value)
    if math.isnan(found):
        return "NaN"
    if math.isinf(found):
        return "Infinity" if found > 0 else "-Infinity"
    return found


def finite(value: float | None) -> float | None:
    """`value`, or None where it says nothing (a rate of a run that has not begun)."""
    return value if value is not None and math.isfinite(value) else None


def shorten(text: str, length: int) -> str:
    """`text` cut to `length` characters with an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def show_value(value: Any) -> str:
    """A setting's value for a reader: separators in counts, an en dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return short_float(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(shorten(str(item), 80) for item in list(value)[:5]) + (", …" if len(value) > 5 else "")
    return shorten(str(value), 200)


def settings_of(config: Mapping[str, Any], prefix: str = "", depth: int = 6) -> list[Setting]:
    """The configuration flattened to dotted names, in its own order; what is nested deeper than `depth` is "…"."""
    rows: list[Setting] = []
    for key, value in config.items():
        name = f"{prefix}{shorten(str(key), 80)}"
        if isinstance(value, Mapping) and value and depth:
            rows.extend(settings_of(value, f"{name}.", depth - 1))
        else:
            text = show_value(value)
            if isinstance(value, Mapping):
                text = "…" if value else "{}"
            rows.append(Setting(name=name, value=text or ("" if isinstance(value, str) else "[]")))
    return rows


def corpus_text(corpus: Any) -> str:
    """ "demo", a path or a dataset of the hub. Several paths, and strings held in memory, have no text of their own."""
    if isinstance(corpus, Mapping):
        return typed(corpus) or ""
    return str(corpus)


def job_fields(record: Any, done: int, total: int) -> dict[str, Any]:
    """The text on the card of a job: the rate and the rest while it runs, the phase while it is active."""
    progress, running = record.progress, record.status is JobStatus.RUNNING
    note = Note(what=record.note, kind="info") if record.note else None
    if (error := record.error) is not None:
        note = Note(what=error.what, where=error.where, hint=error.hint, kind=error.kind)
    return {
        "status": record.status.value,
        "fraction": min(1.0, done / total) if total > 0 else 0.0,
        "rate": finite(progress.rate) if progress and running else None,
        "eta_seconds": finite(progress.eta_seconds) if progress and running else None,
        "phase": progress.phase if progress and record.status.is_active else None,
        "note": note,
    }


def path_from(text: str) -> Path:
    """A path as the user typed it; relative ones count from the folder of the notebook."""
    typed = text.strip().strip("\"'")
    if not typed or "\0" in typed:
        raise ConfigError("No folder was given.", where="path", hint="Enter a path on the kernel's machine.")
    try:
        return Path(typed).expanduser().absolute()
    except (RuntimeError, OSError) as error:  # ~nobody
        raise ConfigError(f"{typed[:200]} is not a path: {error}.", where="path", hint="Enter it in full.") from None


def folder_name(name: str, taken: set[str]) -> str:
    """A folder name made of an SAE's name, unlike those in `taken` (to which it is added)."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:100] or "sae"
    found, number = plain, 2
    while found.casefold() in taken:
        found, number = f"{plain}-{number}", number + 1
    taken.add(found.casefold())
    return found
