"""A small extraction, made the slow and plain way from a dense matrix of latents."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from saewidgets.activations import open_corpus, pack
from saewidgets.activations.packed import PackedTokens
from saewidgets.config import TextCorpus
from saewidgets.features.store.layout import BINS, INTERVALS, WINDOW, Manifest, write_store
from saewidgets.lm import TokenText

W = 2 * WINDOW + 1
D = 40


def packed_text(tokenizer: Any, folder: Path, texts: list[str], context_size: int = 24) -> PackedTokens:
    """The texts as packed contexts in `folder`."""
    corpus = open_corpus(TextCorpus(strings=texts))
    return pack(corpus, tokenizer, folder=folder, context_size=context_size)


def make_store(
    folder: Path, packed: PackedTokens, tokenizer: Any, latents: npt.NDArray[np.float32], *, k: int = 4, m: int = 2,
    sample: Callable[[int], bool] = lambda position: True, **facts: Any,
) -> Manifest:
    """Write the extraction whose latents are ``[contexts · context_size, d_sae]``; the first examples are kept."""
    size = packed.context_size
    n = packed.n_contexts
    dense = latents.copy()
    ids = packed.contexts(range(n))
    dense[~packed.kept(ids).ravel()] = 0
    d = dense.shape[1]
    arrays: dict[str, Any] = {
        "contexts": np.arange(n), "firing_counts": (dense > 0).sum(0),
        "context_counts": (dense.reshape(n, size, d) > 0).any(1).sum(0),
        "document_counts": (dense.reshape(n, size, d) > 0).any(1).sum(0), "sums": dense.sum(0, dtype=np.float64),
        "max": dense.max(0), "scale": np.zeros(d, np.int16), "histogram": np.zeros((d, BINS), np.int64),
        "top_values": np.zeros((d, k)), "top_positions": np.full((d, k), -1), "top_windows": np.zeros((d, k, W)),
        "interval_values": np.zeros((d, INTERVALS, m)), "interval_positions": np.full((d, INTERVALS, m), -1),
        "interval_windows": np.zeros((d, INTERVALS, m, W)),
    }
    for i in range(d):
        column = dense[:, i]
        fired = np.flatnonzero(column)
        if not len(fired):
            continue
        scale = arrays["scale"][i] = math.ceil(math.log2(column.max()))
        width = 2.0**scale / BINS
        for position in fired:
            arrays["histogram"][i, math.ceil(column[position] / width) - 1] += 1
        for place, position in enumerate(fired[np.argsort(-column[fired], kind="stable")][:k]):
            arrays["top_values"][i, place] = column[position]
            arrays["top_positions"][i, place] = position
            arrays["top_windows"][i, place] = window(column, position, size)
        for position in fired:
            interval = (math.ceil(column[position] / width) - 1) // (BINS // INTERVALS)
            free = np.flatnonzero(arrays["interval_positions"][i, interval] < 0)
            if len(free):
                arrays["interval_values"][i, interval, free[0]] = column[position]
                arrays["interval_positions"][i, interval, free[0]] = position
                arrays["interval_windows"][i, interval, free[0]] = window(column, position, size)
    sampled = [p for p in range(len(dense)) if sample(p) and packed.kept(ids).ravel()[p]]
    active = [np.flatnonzero(dense[p]) for p in sampled]
    arrays |= {
        "sample_positions": np.asarray(sampled), "sample_offsets": np.cumsum([0, *map(len, active)]),
        "sample_latents": np.concatenate(active) if active else np.empty(0, np.int32),
    }
    text = TokenText(tokenizer)
    table, data = [], b""
    for token in np.unique(ids):
        own = text.bytes(int(token))
        table.append((int(token), len(data), len(data) + len(own)))
        data += own
    arrays["vocabulary"] = np.asarray(table)
    manifest = Manifest(
        version=1, d_sae=d, d_in=8, hook_name="blocks.1.hook_resid_post", model="tiny", architecture="topk",
        tokens=packed.fingerprint, context_size=size, n_contexts=n, n_documents=packed.facts.n_documents,
        n_tokens=int(packed.kept(ids).sum()), n_excluded_special=int((~packed.kept(ids)).sum()), n_excluded_norm=0,
        norm_limit=None, examples=k, per_interval=m, per_document=k, min_activation=0.0, coactivation_rate=1.0,
        settings={}, facts={},
    )
    manifest = replace(manifest, **facts)
    write_store(folder, arrays, manifest, data)
    return manifest


def window(column: npt.NDArray[np.float32], position: int, size: int) -> npt.NDArray[np.float32]:
    """Values around a position, 0 outside its context."""
    begin = position - position % size
    found = np.zeros(W, dtype=np.float32)
    for at in range(max(begin, position - WINDOW), min(begin + size, position + WINDOW + 1)):
        found[at - position + WINDOW] = column[at]
    return found


def sparse_latents(n: int, d: int, share: float = 0.1, seed: int = 0) -> npt.NDArray[np.float32]:
    """Random activations; latent 0 never fires, latent 1 always does."""
    rng = np.random.default_rng(seed)
    found = (rng.gamma(2.0, 2.0, (n, d)) * (rng.random((n, d)) < share)).astype(np.float32)
    found[:, 0] = 0
    found[:, 1] = rng.gamma(2.0, 0.1, n)
    return found
