"""Defines `FeatureData`, one latent of an extraction: its numbers, histogram, example texts, coactive latents."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from saewidgets.feature_records import check_index
from saewidgets.features.store.layout import BINS, INTERVALS, WINDOW
from saewidgets.features.store.read import FeatureStore, bin_edges

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class StoredExample:
    """A place where the latent fired, with the text around it.

    Attributes:
        position: stream position of the peak; `value` is the activation there.
        row, offset: which of the contexts that were read, and where in it; `context` is its number in the packed text.
        tokens: ids of the text kept around the peak (up to 16 on either side, within the context), ``[n]``.
        pieces: their texts; of a special token its name.
        activations: of this latent on each, ``[n]`` float32; that of token `peak` is exact, others have three digits.
        before, after: whether the context goes on.
    """

    position: int
    value: float
    row: int
    offset: int
    context: int
    tokens: npt.NDArray[np.int64]
    pieces: list[str]
    activations: Values
    peak: int
    before: bool
    after: bool


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Examples of one `kind`, ``top`` or ``interval``, descending by activation.

    Attributes:
        low, high: an interval has activations in (low, high].
        count: firings in it (of ``top``: all).
        share, token_share: of the latent's firings, and of all counted tokens.
    """

    kind: str
    low: float
    high: float
    count: int
    share: float
    token_share: float
    examples: list[StoredExample]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureData:
    """All that an extraction knows of one latent."""

    index: int
    fired: int
    density: float
    max: float
    mean: float
    n_documents: int
    n_contexts: int
    counts: npt.NDArray[np.int64]
    edges: npt.NDArray[np.floating[Any]]
    groups: list[Group]

    @property
    def top(self) -> list[StoredExample]:
        return self.groups[0].examples if self.groups else []


def feature_data(store: FeatureStore, index: int) -> FeatureData:
    """Everything about latent `index`; of a dead one the numbers are 0 and there are no groups.

    Raises `ConfigError` (no such latent) and `NotFoundError` (the text that was read is gone).
    """
    check_index(index, store.d_sae)
    fired, largest = int(store.fired[index]), float(store.max[index])
    counts = np.trim_zeros(np.asarray(store["histogram"][index], dtype=np.int64), "b")
    edges = bin_edges(int(store["scale"][index]))[: len(counts) + 1]
    groups: list[Group] = []
    if fired:
        top = _examples(store, index, "top", store.windows("top", index))
        groups.append(Group("top", 0.0, largest, fired, 1.0, float(store.density[index]), top))
        windows = store.windows("interval", index)
        bounds = bin_edges(int(store["scale"][index]))[:: BINS // INTERVALS]
        in_each = np.asarray(store["histogram"][index], dtype=np.int64).reshape(INTERVALS, -1).sum(1).tolist()
        for i in np.flatnonzero(in_each)[::-1].tolist():
            examples = _examples(store, index, "interval", windows[i], i)
            share, token_share = in_each[i] / fired, in_each[i] / max(1, store.manifest.n_tokens)
            high = min(float(bounds[i + 1]), largest)
            groups.append(Group("interval", float(bounds[i]), high, in_each[i], share, token_share, examples))
    return FeatureData(
        index=index, fired=fired, density=float(store.density[index]), max=largest, mean=float(store.mean[index]),
        n_documents=int(store["document_counts"][index]), n_contexts=int(store["context_counts"][index]),
        counts=counts, edges=edges, groups=groups,
    )


def coactive(store: FeatureStore, index: int, n: int = 10) -> tuple[list[tuple[int, float]], int]:
    """The `n` latents that fire together with `index` most beyond chance, by the extraction's sample of tokens.

    Returns:
        (latent, share of the sampled firings of `index` on which it fires too), ordered by how much that share exceeds
        the other's density, so that those that fire everywhere do not come first; and the sampled firings. A share p
        has a standard error of √(p (1 − p) / sampled).
    """
    check_index(index, store.d_sae)
    latents, offsets = store["sample_latents"], store["sample_offsets"]
    at = np.searchsorted(offsets, np.flatnonzero(latents == index), side="right") - 1
    if not len(at):
        return [], 0
    together = np.concatenate([latents[offsets[t] : offsets[t + 1]] for t in at])
    others, counts = np.unique(together, return_counts=True)
    inside = (others != index) & (others >= 0) & (others < store.d_sae)  # a damaged file names none
    others, shares = others[inside], counts[inside] / len(at)
    order = np.argsort(-(shares - store.density[others]), kind="stable")[:n]
    return list(zip(others[order].tolist(), shares[order].tolist(), strict=True)), len(at)


def _examples(
    store: FeatureStore, index: int, kind: str, windows: Values, interval: int | None = None
) -> list[StoredExample]:
    at: Any = index if interval is None else (index, interval)
    values = np.asarray(store[f"{kind}_values"][at], dtype=np.float32)
    positions = np.asarray(store[f"{kind}_positions"][at], dtype=np.int64)
    kept = np.flatnonzero(positions >= 0)
    kept = kept[np.argsort(-values[kept], kind="stable")]
    return [example_at(store, int(positions[i]), float(values[i]), windows[i]) for i in kept]


def example_at(store: FeatureStore, position: int, value: float, window: Values) -> StoredExample:
    """The text around a stream position, with a latent's activations ``[2 · WINDOW + 1]`` there, and exactly at it."""
    size = store.manifest.context_size
    row, offset = divmod(position, size)
    whole = store.context(row)
    texts = store.pieces(whole)  # of the whole context: several tokens can share a character
    begin, end = max(0, offset - WINDOW), min(size, offset + WINDOW + 1)
    tokens = whole[begin:end]
    activations = window[begin - offset + WINDOW : end - offset + WINDOW].copy()
    peak = offset - begin
    activations[peak] = value
    # The BOS is not text that comes before.
    first = int(begin == 0 and peak > 0 and int(tokens[0]) in store.special_ids)
    tokens, activations, peak = tokens[first:], activations[first:], peak - first
    return StoredExample(
        position=position, value=value, row=row, offset=offset, context=int(store["contexts"][row]), tokens=tokens,
        pieces=texts[begin + first : end], activations=activations, peak=peak, before=begin > 0, after=end < size,
    )
