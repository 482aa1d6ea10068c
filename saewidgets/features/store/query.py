"""Defines `find`, which searches, filters and sorts the latents of an extraction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from saewidgets.errors import ConfigError, StateError

if TYPE_CHECKING:
    from saewidgets.features.store.read import FeatureStore

Show = Literal["all", "labelled", "unlabelled", "starred", "dead", "live", "dense"]
Sort = Literal["index", "density", "max", "label", "score"]

_NUMBERS = ("dead", "live", "dense", "density", "max")  # what only an extraction knows

DENSE = 0.01
"""A latent that fires on more than this share of all tokens counts as dense."""


@dataclass(frozen=True, slots=True)
class LatentNote:
    """A latent's label, star and note, as far as lists need them."""

    label: str = ""
    score: float | None = None
    starred: bool = False


class LatentNotes:
    """Labels, stars and notes of one extraction's latents, arranged for lists; made anew when any of them changes."""

    def __init__(self, noted: Mapping[int, LatentNote], d_sae: int) -> None:
        inside = {index: noted[index] for index in sorted(noted) if 0 <= index < d_sae}
        self.d_sae = d_sae
        self._labels = {index: one.label.casefold() for index, one in inside.items() if one.label}
        self._scores = {index: one.score for index, one in inside.items() if one.score is not None}
        self.said, self.labelled = self._mask(inside), self._mask(self._labels)
        self.starred = self._mask(index for index, one in inside.items() if one.starred)

    def _mask(self, indices: Iterable[int]) -> npt.NDArray[np.bool_]:
        found = np.zeros(self.d_sae, dtype=bool)
        found[np.fromiter(indices, dtype=np.int64)] = True
        return found

    def with_words(self, words: list[str]) -> npt.NDArray[np.bool_]:
        """``[d_sae]``: latents whose label has all of `words` (in lower case)."""
        return self._mask(i for i, label in self._labels.items() if all(word in label for word in words))

    def order(self, by: Literal["label", "score"], descending: bool) -> npt.NDArray[np.int64]:
        """The latents that have a label (a score), sorted; ties by index."""
        having: Mapping[int, Any] = self._labels if by == "label" else self._scores
        return np.asarray(sorted(having, key=having.__getitem__, reverse=descending), dtype=np.int64)


def find(
    store: FeatureStore | None, notes: LatentNotes, *, search: str = "", show: Show = "all", sort: Sort = "index",
    descending: bool = False,
) -> npt.NDArray[np.int64]:
    """The latents that match, in order; without a store they are those with a label, star or note.

    A search is found in labels (all of its words) and in the three commonest top tokens (all of it in one), whatever
    the case; a number also finds the latent of that index. Latents without a label or score come last either way.
    """
    for name, value, choices in (("show", show, get_args(Show)), ("sort", sort, get_args(Sort))):
        if value not in choices:
            raise ConfigError(f"{value!r} is not one of its values.", where=name, hint=f"Use {', '.join(choices)}.")
        if store is None and value in _NUMBERS:
            raise StateError(
                "Its features were not extracted yet, so how often they fire is not known.", where=name,
                hint="Start an extraction, or choose another value.",
            )
    keep = _shown(store, notes, show)
    if search.strip():
        keep = keep & _matching(store, notes, search.strip())
    if sort in ("label", "score"):
        first = notes.order("label" if sort == "label" else "score", descending)
        first = first[keep[first]]
        rest = keep.copy()
        rest[first] = False
        return np.concatenate([first, np.flatnonzero(rest)])
    found = np.flatnonzero(keep)
    if sort == "index" or store is None:
        return found[::-1] if descending else found
    keys = store.fired[found] if sort == "density" else store.max[found]
    return found[np.argsort(-keys if descending else keys, kind="stable")]


def _shown(store: FeatureStore | None, notes: LatentNotes, show: Show) -> npt.NDArray[np.bool_]:
    if show in ("labelled", "starred"):
        return notes.labelled if show == "labelled" else notes.starred
    if store is None:
        keep = notes.said
    elif show in ("dead", "live"):
        return np.asarray((store.fired == 0) == (show == "dead"))
    elif show == "dense":
        return np.asarray(store.density > DENSE)
    else:
        keep = np.ones(notes.d_sae, dtype=bool)
    return keep & ~notes.labelled if show == "unlabelled" else keep


def _matching(store: FeatureStore | None, notes: LatentNotes, search: str) -> npt.NDArray[np.bool_]:
    wanted = search.casefold()
    mask = notes.with_words(wanted.split())
    if store is None:
        return mask
    tokens = [token for token, text in store.casefolded if wanted in text]
    if tokens:
        mask |= np.isin(store.peak_tokens, np.asarray(tokens, dtype=np.int32)).any(axis=1)
    if search.isdecimal() and len(search) < 10 and int(search) < store.d_sae:
        mask[int(search)] = True
    return mask
