"""The whole context around an example, with the feature's activation on every token where its model is here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from saewidgets.errors import SAEWidgetsError
from saewidgets.features.store.layout import WINDOW
from saewidgets.features.store.page import pieces
from saewidgets.features.store.read import Store
from saewidgets.workspace.reading.text import Prompt, TextReading, latents
from saewidgets.workspace.reading.views import place_in

if TYPE_CHECKING:
    from saewidgets.workspace.reading.live import LiveFeatures
    from saewidgets.workspace.reading.views import View


def context(features: LiveFeatures, view: View, index: int, position: int) -> TextReading:
    """See `Features.context`."""
    store = view.store
    assert store is not None  # the view of an extraction has one
    size = store.manifest.context_size
    row, offset = place_in(store, position)
    ids = store.context(row)
    begun = time.perf_counter()
    counted = store.packed.kept(ids)
    note, complete = "", True
    try:
        opened = features.open_live(view)
        prompt = Prompt(ids, None, None, tuple(pieces(store, ids)), counted, "")
        values = latents(features.live, opened, prompt, index)[1][0]
    except (SAEWidgetsError, OSError) as error:
        what = error.what if isinstance(error, SAEWidgetsError) else str(error)
        note, complete = f"Only activations near the example are known: {what}", False
        values = _stored(store, index, row, size)
    first = int(offset > 0 and int(ids[0]) in store.special_ids)  # the BOS is no text that comes before
    return TextReading(
        index, ids[first:], tuple(pieces(store, ids[first:])), counted[first:], values[first:], note,
        time.perf_counter() - begun, position, offset - first, complete,
    )


def _stored(store: Store, index: int, row: int, size: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """What examples kept of this context hold."""
    values = np.zeros(size, dtype=np.float32)
    for kind in ("top", "interval"):
        windows = store.windows(kind, index).reshape(-1, 2 * WINDOW + 1)
        positions = np.asarray(store[f"{kind}_positions"][index], dtype=np.int64).ravel()
        exact = np.asarray(store[f"{kind}_values"][index]).ravel()
        for at in np.flatnonzero((positions >= row * size) & (positions < (row + 1) * size)):
            offset = int(positions[at]) - row * size
            begin, end = max(0, offset - WINDOW), min(size, offset + WINDOW + 1)
            near = windows[at, begin - offset + WINDOW : end - offset + WINDOW]
            values[begin:end] = np.maximum(values[begin:end], near)
            values[offset] = exact[at]
    return values
