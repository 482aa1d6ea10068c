"""Lists of features: which ones match, and their numbers from an extraction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.feature_records import FeatureRecord
from saewidgets.features.store import query
from saewidgets.features.store.query import Notes
from saewidgets.features.store.read import Store

_NEED_NUMBERS = frozenset({"dead", "live", "dense", "density", "max"})


def find(
    store: Store | None, notes: Notes, search: str, show: Any, sort: Any, descending: bool
) -> npt.NDArray[np.int64]:
    """The features that match, in order (see `query.find`). Without an extraction those of which something was said.

    Raises:
        ConfigError: `show` or `sort` has no such value.
        StateError: it asks for numbers, and there is no extraction.
    """
    if store is not None:
        return query.find(store, notes, search=search, show=show, sort=sort, descending=descending)
    for name, value, choices in (
        ("show", show, get_args(query.Show)), ("sort", sort, get_args(query.Sort)),
    ):  # fmt: skip
        if value not in choices:
            raise ConfigError(f"{value!r} is none of its values.", where=name, hint=f"Use {', '.join(choices)}.")
        if value in _NEED_NUMBERS:
            raise StateError(
                "Its features were not extracted yet, so how often they fire is not known.", where=name,
                hint="Start an extraction, or choose another value.",
            )
    keep = notes.mask(np.ones(len(notes.indices), dtype=bool))
    if show == "labelled":
        keep &= notes.labelled
    elif show == "unlabelled":
        keep &= ~notes.labelled
    elif show == "starred":
        keep &= notes.starred
    if words := search.casefold().split():
        keep &= notes.with_words(words)
    if sort == "index":
        found = np.flatnonzero(keep)
        return found[::-1] if descending else found
    first = notes.order(sort, descending)
    first = first[keep[first]]
    rest = keep.copy()
    rest[first] = False
    return np.concatenate([first, np.flatnonzero(rest)])


def with_numbers(store: Store, extraction_id: str, rows: Sequence[FeatureRecord]) -> list[FeatureRecord]:
    """The same features with what the extraction found of them."""
    at = np.asarray([row.index for row in rows], dtype=np.int64)
    columns = (store.density, store.fired, store.max, store.mean)
    density, fired, largest, mean = (column[at].tolist() for column in columns)
    try:
        tokens = store.peak_tokens[at].tolist()
    except NotFoundError:  # the text is gone; the numbers are still here
        tokens = [[] for _ in rows]
    texts: dict[int, str] = {token: store.text_of(token) for row in tokens for token in row if token >= 0}
    return [
        replace(
            row, extraction_id=extraction_id, density=density[i], fired=fired[i], max=largest[i], mean=mean[i],
            top_tokens=tuple(texts[token] for token in tokens[i] if token >= 0),
        )
        for i, row in enumerate(rows)
    ]  # fmt: skip
