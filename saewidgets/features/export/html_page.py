"""Features as one HTML file that needs nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

from saewidgets.durable import whole_file
from saewidgets.errors import ConfigError
from saewidgets.features.export.selection import (
    Effects,
    EffectsOf,
    noted_of,
    peak_texts,
    selected,
    shown,
    whole_characters,
)
from saewidgets.features.labels.escaping import visible
from saewidgets.features.store.feature_data import FeatureData, Group, StoredExample, feature_data
from saewidgets.features.store.query import Noted
from saewidgets.features.store.read import Store
from saewidgets.render.features_page import (
    FeatureCard,
    LogitTable,
    Row,
    RowGroup,
    activation,
    card_html,
    features_page,
    percent,
)

MOST = 2_000
"""Features on one page: browsers become slow."""

ROOM = 24_000
"""Bytes that a feature may take: 200 of them stay below 5 MB."""

# How many top examples, how many per interval, and how many tokens on either side; the first that fits is taken.
_SIZES = ((20, 3, 16), (12, 2, 16), (10, 1, 12), (8, 1, 8), (5, 1, 5), (5, 0, 3))


def export_html(
    store: Store,
    indices: Iterable[int],
    notes: Mapping[int, Noted] | None,
    path: str | PathLike[str],
    logits: EffectsOf | None = None,
    *,
    title: str = "",
) -> Path:
    """Write one self-contained page about some features: no network, readable without its script, light and dark.

    The list has density and label of each, a feature's own part its histogram, examples by activation with shaded
    tokens, and logit effects where they are given. A feature gets fewer and shorter examples where it would take more
    than 24 kB (one that fires on every token). The file appears whole or not at all.

    Args:
        store: the extraction.
        indices: the features, in the order of the list; at most 2,000.
        notes: labels, scores and stars by feature.
        path: the file.
        logits: see `EffectsOf`; None leaves them out.
        title: of the page; "" takes the SAE's name.

    Raises:
        ConfigError: no feature, an unknown one, or too many.
        NotFoundError: the text that was read is gone.
        StorageError: the file cannot be written.
    """
    chosen = selected(store, indices)
    if len(chosen) > MOST:
        raise ConfigError(
            f"A page takes at most {MOST:,} features, not {len(chosen):,}.", where="indices",
            hint="Choose fewer, or write several pages.",
        )
    cards = [fitting_card(store, index, noted_of(notes, index), logits) for index in chosen]
    m = store.manifest
    name = visible(title or str(m.facts.get("name") or f"{m.model} {m.hook_name}"))
    taken = f"{len(cards):,} of {store.d_sae:,} features, written {time.strftime('%Y-%m-%d')}."
    with whole_file(Path(path)) as file:
        for part in features_page(name, _facts(store), cards, taken):
            file.write(part)
    return Path(path)


def _facts(store: Store) -> dict[str, str]:
    m = store.manifest
    return {
        "": visible(f"{m.model} · {m.hook_name} · {m.architecture}"), "d_sae": f"{m.d_sae:,} × d_in {m.d_in:,}",
        "read": f"{m.n_tokens:,} tokens in contexts of {m.context_size:,}",
    }


def fitting_card(store: Store, index: int, noted: Noted, logits: EffectsOf | None) -> FeatureCard:
    """A feature with as many examples as fit into `ROOM`."""
    data = feature_data(store, index)
    effects = logits(index) if logits else None
    card = None
    for size in _SIZES:
        card = _card(store, data, noted, effects, size)
        if len(card_html(card).encode()) <= ROOM:
            break
    assert card is not None  # there is at least one size
    return card


def _card(
    store: Store, data: FeatureData, noted: Noted, effects: Effects | None, size: tuple[int, int, int]
) -> FeatureCard:
    examples, per_interval, around = size
    groups = []
    for group in data.groups:
        rows = group.examples[: examples if group.kind == "top" else per_interval]
        if rows:
            groups.append(RowGroup(_title(group), [_row(example, around) for example in rows], _note(group)))
    return FeatureCard(
        index=data.index, label=visible(noted.label[:1000]),
        label_note="" if noted.score is None else f"Score {noted.score:.2f}", starred=noted.starred, fired=data.fired,
        density=data.density, max=data.max, mean=data.mean, counts=data.counts.tolist(), edges=data.edges.tolist(),
        top_tokens=[shown(text) for text in peak_texts(store, data.index)], groups=groups,
        logits=_table(effects) if effects else None,
    )


def _title(group: Group) -> str:
    if group.kind == "top":
        return "Top activations"
    return f"Interval {activation(group.low)} – {activation(group.high)}"


def _note(group: Group) -> str:
    if group.kind == "top":
        return ""
    return f"{group.count:,} of its firings, {percent(group.share)}"


def _row(example: StoredExample, around: int) -> Row:
    pieces, peak = whole_characters(example)
    begin, end = max(0, peak - around), min(len(pieces), peak + around + 1)
    return Row(
        example.value, [(shown(text), value) for text, value in pieces[begin:end]], peak - begin,
        example.before or begin > 0, example.after or end < len(pieces),
    )


def _table(effects: Effects) -> LogitTable:
    raises, lowers = (
        [(shown(effect.text), effect.value) for effect in side] for side in (effects.raises, effects.lowers)
    )
    return LogitTable(raises, lowers, list(effects.counts), list(effects.edges))
