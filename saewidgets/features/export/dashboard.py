"""Features as the JSON that SAEDashboard saves: `SaeVisData.load_json` of sae-dashboard 0.8.0 opens it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from saewidgets.durable import whole_file
from saewidgets.features.export.effects import Effects, EffectsOf
from saewidgets.features.export.selection import centres, rounded, selected
from saewidgets.features.export.vectors import alignment, check_sae, decoder_rows
from saewidgets.features.store.feature_data import FeatureData, Group, StoredExample, feature_data
from saewidgets.features.store.read import Store
from saewidgets.sae import SAE

_CORRELATIONS = ("correlated_neurons", "correlated_features", "correlated_b_features")


def export_dashboard(
    store: Store,
    indices: Iterable[int] | None,
    path: str | PathLike[str],
    *,
    logits: EffectsOf | None = None,
    sae: SAE | None = None,
) -> Path:
    """Write the file that `SaeVisData.save_json` would: per feature its tables, histograms and examples by token id.

    Not in an extraction, and left empty: correlations of activations, effects on the loss, quantiles over all tokens.
    Examples have up to 16 tokens on either side, not whole contexts. SAEDashboard opens the file in any case, and can
    draw its pages of it where `logits` were computed, since these show the effect on every token.

    Args:
        store: the extraction.
        indices: the features; None takes all.
        path: the file.
        logits: see `effects`; None leaves the tables empty.
        sae: for the neurons that decoder rows are aligned with; None leaves them out.

    Raises:
        ConfigError: no feature, an unknown one, or another SAE.
        StorageError: the file cannot be written.
    """
    chosen = selected(store, indices)
    check_sae(store, sae)
    with whole_file(Path(path)) as file:
        file.write('{"feature_data_dict": {')
        for place, index in enumerate(chosen):
            data = _feature(store, index, logits, sae)
            file.write(f'{", " if place else ""}"{index}": {json.dumps(data, allow_nan=False)}')
        statistics = {
            "max": rounded(store.max[chosen], 7), "frac_nonzero": rounded(store.density[chosen], 7), "skew": [],
            "kurtosis": [], "quantile_data": [[] for _ in chosen], "quantiles": [], "ranges_and_precisions": [],
        }  # fmt: skip
        file.write(f'}}, "feature_stats": {json.dumps(statistics, allow_nan=False)}}}\n')
    return Path(path)


def _feature(store: Store, index: int, logits: EffectsOf | None, sae: SAE | None) -> dict[str, Any]:
    data = feature_data(store, index)
    effects = logits(index) if logits else None
    effects = effects or Effects([], [])
    near = alignment(decoder_rows(sae, [index])[0]) if sae is not None else ([], [], [])
    tables: dict[str, Any] = {
        "neuron_alignment_indices": near[0], "neuron_alignment_values": rounded(near[1]),
        "neuron_alignment_l1": rounded(near[2]),
    }
    tables |= {f"{kind}_{part}": [] for kind in _CORRELATIONS for part in ("indices", "pearson", "cossim")}
    title = f"ACTIVATIONS<br>DENSITY = {data.density:.3%}" if data.fired else None
    return {
        "feature_tables_data": tables,
        "acts_histogram_data": _bars(data.counts.tolist(), centres(data.edges) if data.fired else [], title),
        "logits_table_data": {
            "bottom_token_ids": [e.token for e in effects.lowers],
            "bottom_logits": rounded(e.value for e in effects.lowers),
            "top_token_ids": [e.token for e in effects.raises],
            "top_logits": rounded(e.value for e in effects.raises),
        },
        "logits_histogram_data": _bars(
            list(effects.counts), centres(effects.edges) if len(effects.counts) else [], None
        ),
        "sequence_data": {"seq_group_data": [_group(data, group, effects) for group in data.groups]},
        "prompt_data": _sequence(None, effects),
        "dfa_data": {},
        "decoder_weights_data": None,
    }


def _bars(heights: list[int], values: list[float], title: str | None) -> dict[str, Any]:
    """A histogram with ticks at the ends and in the middle, as many as SAEDashboard's pages draw without crowding."""
    ticks = [values[0], values[len(values) // 2], values[-1]] if values else []
    return {"bar_heights": heights, "bar_values": values, "tick_vals": [round(t, 2) for t in ticks], "title": title}


def _group(data: FeatureData, group: Group, effects: Effects) -> dict[str, Any]:
    if group.kind == "top":
        title = f"TOP ACTIVATIONS<br>MAX = {data.max:.3f}"
    else:
        title = f"INTERVAL {group.low:.3f} - {group.high:.3f}<br>CONTAINS {group.token_share:.3%}"
    return {"title": title, "seq_data": [_sequence(example, effects) for example in group.examples]}


def _sequence(example: StoredExample | None, effects: Effects) -> dict[str, Any]:
    nothing: list[Any] = []
    tokens = example.tokens.tolist() if example else nothing
    return {
        "original_index": example.row if example else 0, "qualifying_token_index": example.offset if example else 0,
        "token_ids": tokens,
        "feat_acts": rounded(example.activations) if example else nothing, "loss_contribution": nothing,
        "token_logits": rounded(effects.on(tokens)) if effects.on else nothing,
        "top_token_ids": nothing, "top_logits": nothing, "bottom_token_ids": nothing, "bottom_logits": nothing,
    }  # fmt: skip
