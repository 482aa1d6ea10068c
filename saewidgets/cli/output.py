"""Defines text for terminals and JSON for programs; every command writes through it."""

import json
import math
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from typing import Any, TextIO

from pydantic_core import from_json, to_json

from saewidgets.render import numbers


def printable(text: object) -> str:
    """`text` without what a terminal would obey: names, labels and tokens come from strangers.

    Control characters (escape sequences begin with one) and bidirectional overrides become visible as ``\\x1b``.
    """
    return "".join(
        character if character == "\n" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
        else character.encode("unicode_escape").decode("ascii")
        for character in str(text)
    )  # fmt: skip


def to_data(value: Any) -> Any:
    """`value` as JSON data. Numbers that JSON does not have (NaN, infinity) become null."""
    return from_json(to_json(value, inf_nan_mode="null", fallback=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "to_data"):
        return value.to_data()
    if hasattr(value, "item"):  # a numpy scalar
        return value.item()
    raise TypeError(f"{type(value).__name__} has no JSON form")


_results: TextIO | None = None  # standard output, where everybody else's goes to standard error


@contextmanager
def results_alone() -> Iterator[None]:
    """Only what `write` and `write_json` write goes to standard output.

    Trackers print there what they do, from threads of their own, and what a program reads would not be JSON any more.
    """
    global _results
    _results = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results = None


def write_json(value: Any) -> None:
    """`value` on standard output as indented JSON."""
    (_results or sys.stdout).write(json.dumps(to_data(value), indent=2, ensure_ascii=False) + "\n")


def write(text: str = "") -> None:
    """One line (or more) on standard output, made safe for a terminal."""
    out = _results or sys.stdout
    out.write(printable(text) + "\n")
    out.flush()  # in its place among the notes where both go to one file


def note(text: str) -> None:
    """One line on standard error: what a person reads while a program reads standard output."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def table(header: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[int] = ()) -> str:
    """Aligned columns under a header; the columns in `right` are aligned to the right."""
    cells = [[printable(cell).replace("\n", " ") for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    right = set(right)

    def line(row: list[str]) -> str:
        return "  ".join(cell.rjust(widths[i]) if i in right else cell.ljust(widths[i]) for i, cell in enumerate(row))

    return "\n".join(line(row).rstrip() for row in cells)


def facts(pairs: Iterable[tuple[str, object]], width: int = 14) -> list[str]:
    """A line for each label with its value, where there is one."""
    return [f"{label:<{width}}{value}" for label, value in pairs if value]


def cut(text: str, most: int) -> str:
    """The text, or its beginning where it has more than `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def count(value: float | None) -> str:
    """``1,234``; a dash when it is not known."""
    return "–" if value is None else f"{value:,.0f}"


def plural(n: int, noun: str) -> str:
    """``1 label``, ``1,234 labels``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


def number(value: object) -> str:
    """Four significant digits; a dash when it is not known; yes or no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return "–" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def duration(seconds: float | None) -> str:
    """``42 s``, ``3 min 5 s``, ``2 h 10 min``; a dash when it is not known."""
    return "–" if seconds is None else numbers.duration(seconds)


def size(n_bytes: float | None) -> str:
    """``512 B``, ``1.5 MB``: powers of 1000; a dash when it is not known."""
    return "–" if n_bytes is None else numbers.size(n_bytes)


def moment(unix: float | None) -> str:
    """A time of day in the local zone."""
    return "–" if unix is None else datetime.fromtimestamp(unix).strftime("%Y-%m-%d %H:%M:%S")
