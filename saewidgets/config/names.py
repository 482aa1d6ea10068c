"""Names that people and files give to things, as one line that says what it shows."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection

from saewidgets.errors import ConfigError

MAX_NAME = 120
"""Characters of the name of a run, a template, a store or an SAE."""

_WORDS, _LETTERS = 50, 1_000  # of a search

# They change the direction of what follows them, also of our own words behind a name.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def one_line(text: str) -> str:
    """`text` without line breaks, control characters, marks of direction, and blanks around it."""
    kept = "".join(" " if unicodedata.category(c) == "Cc" else c for c in storable(text) if c not in _DIRECTIONS)
    return " ".join(kept.split())


def storable(text: str) -> str:
    """`text` as UTF-8 can hold it: halves of surrogate pairs, which JSON may contain, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def search_words(search: str | None) -> list[str]:
    """The words of a search. Raises `ConfigError`: there are more than a query can hold."""
    words = storable(search or "").split()
    if len(words) > _WORDS or len(search or "") > _LETTERS:
        raise ConfigError(
            f"A search has at most {_WORDS} words and {_LETTERS} characters.", where="search", hint="Shorten it."
        )
    return words


def free_name(wanted: str, taken: Collection[str]) -> str:
    """`wanted`, shortened if need be, with a number behind it if somebody else has it."""
    wanted = one_line(wanted)[:MAX_NAME]
    name, number = wanted, 2
    while name in taken:
        end = f"-{number}"
        name, number = wanted[: MAX_NAME - len(end)] + end, number + 1
    return name
