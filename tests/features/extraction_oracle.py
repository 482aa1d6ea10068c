"""What an extraction has to find, computed from the dense matrix of all latents on all tokens, latent by latent."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from saewidgets.config import ExtractionConfig
from saewidgets.features.store.layout import BINS, INTERVALS, WINDOW

Firing = tuple[float, int]  # value, stream position


def documents_of(
    ids: npt.NDArray[Any], numbers: npt.NDArray[Any], separator: int | None, prepend_bos: bool
) -> npt.NDArray[np.int64]:
    """The document of every position, one position after the other."""
    found = np.zeros(ids.shape, dtype=np.int64)
    current, previous, gap = -1, None, False
    for row, (context, number) in enumerate(zip(ids.tolist(), numbers.tolist(), strict=True)):
        for offset, token in enumerate(context):
            if offset == 0:
                gap = previous is None or number != previous + 1
            is_bos = prepend_bos and offset == 0
            separated = separator is not None and token == separator and not is_bos
            begun_by_bos = gap and prepend_bos and offset == 1
            if (offset == 0 and gap) or (separated and not begun_by_bos):
                current += 1
            found[row, offset] = current
        previous = number
    return found


def neighbourhood(ids: npt.NDArray[Any], row: int, offset: int) -> tuple[Any, ...]:
    start = max(0, offset - 5)
    return (offset - start, *ids[row, start : offset + 6].tolist())


def top_of(
    firings: list[Firing], ids: npt.NDArray[Any], documents: npt.NDArray[Any], k: int, per_document: int
) -> list[Firing]:
    """The three rules, one after the other, on all firings of a latent."""
    length = ids.shape[1]
    ordered = sorted(firings, key=lambda f: (-f[0], f[1]))
    taken: dict[int, int] = {}
    survivors = []
    for value, position in ordered:
        document = int(documents.flat[position])
        taken[document] = taken.get(document, 0) + 1
        if taken[document] <= per_document:
            survivors.append((value, position))
    seen = set()
    different = []
    for value, position in survivors:
        near = neighbourhood(ids, *divmod(position, length))
        if near not in seen:
            seen.add(near)
            different.append((value, position))
    return different[:k]


def scale_of(largest: float) -> int:
    """The least s with largest <= 2 ** s, found by trying."""
    scale = -200
    while largest > math.ldexp(1, scale):
        scale += 1
    return scale


def bin_of(value: float, scale: int) -> int:
    """b with value in (b, b + 1] · 2 ** scale / BINS."""
    return max(0, math.ceil(math.ldexp(value, -scale) * BINS) - 1)


def window_of(f: npt.NDArray[Any], row: int, offset: int) -> npt.NDArray[np.float16]:
    """`f` [contexts, length] of one latent, excluded positions 0."""
    found = np.zeros(2 * WINDOW + 1, dtype=np.float16)
    for at in range(-WINDOW, WINDOW + 1):
        if 0 <= offset + at < f.shape[1]:
            found[WINDOW + at] = np.float16(min(f[row, offset + at], 65504))
    return found


def check(
    arrays: dict[str, npt.NDArray[Any]], f: npt.NDArray[Any], ids: npt.NDArray[Any], counted: npt.NDArray[Any],
    documents: npt.NDArray[Any], config: ExtractionConfig,
) -> None:
    """Compare every array with the dense latents `f` [contexts, length, d_sae] (float32)."""
    f = np.where(counted[..., None], f, 0).astype(np.float32)
    f = np.where(f > 0, f, 0)
    _, length, d_sae = f.shape
    flat = f.reshape(-1, d_sae)
    fires = flat > 0
    assert arrays["firing_counts"].tolist() == fires.sum(0).tolist()
    assert arrays["context_counts"].tolist() == (f > 0).any(1).sum(0).tolist()
    assert arrays["max"].tolist() == flat.max(0).tolist()
    for latent in range(d_sae):
        where = np.flatnonzero(fires[:, latent])
        values = flat[where, latent]
        firings = [(float(v), int(p)) for v, p in zip(values, where, strict=True)]
        assert arrays["document_counts"][latent] == len(set(documents.reshape(-1)[where].tolist()))
        total = 0.0
        for value in values:
            total += float(value)  # in reading order, so equal to the last bit
        assert arrays["sums"][latent] == total
        # top examples
        top = top_of(firings, ids, documents, config.examples, config.per_document)
        k = len(top)
        assert arrays["top_values"][latent, :k].tolist() == [v for v, _ in top]
        assert arrays["top_positions"][latent, :k].tolist() == [p for _, p in top]
        assert (arrays["top_values"][latent, k:] == 0).all()
        assert (arrays["top_positions"][latent, k:] == -1).all()
        for slot, (_, position) in enumerate(top):
            expected = window_of(f[..., latent], *divmod(position, length))
            assert arrays["top_windows"][latent, slot].tolist() == expected.tolist()
        assert (arrays["top_windows"][latent, k:] == 0).all()
        # histogram
        scale = scale_of(float(values.max())) if len(values) else 0
        assert arrays["scale"][latent] == scale
        bins = [bin_of(float(v), scale) for v in values]
        assert arrays["histogram"][latent].tolist() == np.bincount(bins, minlength=BINS).tolist()
        # samples from the intervals
        for interval in range(INTERVALS):
            members = {(v, p) for (v, p), b in zip(firings, bins, strict=True) if b // (BINS // INTERVALS) == interval}
            positions = arrays["interval_positions"][latent, interval]
            kept = positions >= 0
            pairs = list(zip(arrays["interval_values"][latent, interval][kept].tolist(), positions[kept].tolist(),
                             strict=True))
            assert len(set(pairs)) == len(pairs)
            assert set(pairs) <= members
            assert pairs == sorted(pairs, key=lambda f: (-f[0], f[1]))
            low = {pair for pair in members if pair[0] < config.min_activation * float(values.max())}
            assert not set(pairs) & low
            wanted = min(config.per_interval, len(members))
            assert wanted - len(low) <= len(pairs) <= wanted
            assert not kept[len(pairs):].any()
            assert (arrays["interval_values"][latent, interval][len(pairs):] == 0).all()
            assert (arrays["interval_windows"][latent, interval][len(pairs):] == 0).all()
            for slot, (_, position) in enumerate(pairs):
                expected = window_of(f[..., latent], *divmod(position, length))
                assert arrays["interval_windows"][latent, interval, slot].tolist() == expected.tolist()
    # the co-activation sample
    positions, offsets = arrays["sample_positions"], arrays["sample_offsets"]
    assert positions.tolist() == sorted(set(positions.tolist()) & set(np.flatnonzero(counted.reshape(-1)).tolist()))
    assert offsets[0] == 0
    assert offsets[-1] == len(arrays["sample_latents"])
    for at, position in enumerate(positions):
        found = arrays["sample_latents"][offsets[at] : offsets[at + 1]]
        assert found.tolist() == np.flatnonzero(fires[position]).tolist()
