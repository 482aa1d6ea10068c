"""Batch files as SAEDashboard's Neuronpedia runner writes them, for its converter and whatever else reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from saewidgets.errors import ConfigError
from saewidgets.features.export.effects import Effects, EffectsOf
from saewidgets.features.export.neuronpedia_schema import Batch, BatchActivation, BatchFeature
from saewidgets.features.export.selection import centres, clean, rounded, selected, whole_characters
from saewidgets.features.export.vectors import alignment, decoder_rows
from saewidgets.features.store.page import Group, StoredExample, feature_data
from saewidgets.features.store.read import Store
from saewidgets.formats.whole import whole_folder
from saewidgets.sae import SAE

_FILE = re.compile(r"batch-[0-9]+\.json")
_TABLES = ("neurons", "features")  # of correlations, which an extraction does not keep


def export_neuronpedia_batches(
    store: Store,
    indices: Iterable[int] | None,
    path: str | PathLike[str],
    *,
    model_id: str,
    sae_set: str,
    layer: int | None = None,
    sae_id_suffix: str | None = None,
    dataset: str = "",
    logits: EffectsOf | None = None,
    sae: SAE | None = None,
    per_batch: int = 128,
) -> Path:
    """Write ``batch-0.json``, ``batch-1.json``, … into a folder, whole or not at all.

    Args:
        store: the extraction.
        indices: the features; None takes all.
        path: the folder; new, empty, or one that holds such files, which are replaced.
        model_id: as Neuronpedia calls the model, e.g. ``gpt2-small``.
        sae_set: as Neuronpedia calls the set of SAEs, without the layer, e.g. ``res-16k``.
        layer: None takes it from the hook name.
        sae_id_suffix: tells SAEs of one set and layer apart.
        dataset: where the text is from, in words or as a Hugging Face id.
        logits: see `effects`; None leaves the tables empty.
        sae: for decoder rows (``vector``) and the neurons they are aligned with; None leaves both empty.
        per_batch: features per file.

    Raises:
        ConfigError: no feature or an unknown one, a name that Neuronpedia refuses, a hook name without a layer.
        StorageError: the folder holds something else, or the disk refuses.
    """
    target = Path(path)
    batches = neuronpedia_batches(
        store, indices, model_id=model_id, sae_set=sae_set, layer=layer, sae_id_suffix=sae_id_suffix, dataset=dataset,
        logits=logits, sae=sae, per_batch=per_batch,
    )
    old = [entry.name for entry in target.iterdir() if _FILE.fullmatch(entry.name)] if target.is_dir() else []
    with whole_folder(target, old) as draft:
        for number, batch in enumerate(batches):
            (draft / f"batch-{number}.json").write_text(batch.model_dump_json() + "\n", encoding="utf-8")
    return target


def neuronpedia_batches(
    store: Store,
    indices: Iterable[int] | None,
    *,
    model_id: str,
    sae_set: str,
    layer: int | None,
    sae_id_suffix: str | None,
    dataset: str,
    logits: EffectsOf | None,
    sae: SAE | None,
    per_batch: int,
) -> Iterator[Batch]:
    """The batches one after another; see `export_neuronpedia_batches`."""
    chosen = selected(store, indices)
    if per_batch < 1:
        raise ConfigError(f"per_batch is {per_batch}.", where="per_batch", hint="Use 128.")
    checked_sae(store, sae)
    common: dict[str, Any] = {
        "model_id": checked_model_id(model_id), "layer": layer_of(store, layer), "sae_set": checked_set(sae_set),
        "sae_id_suffix": checked_set(sae_id_suffix, "sae_id_suffix") if sae_id_suffix else None,
    }
    return (
        Batch(**common, features=[_feature(store, i, dataset, logits, sae) for i in chosen[start : start + per_batch]])
        for start in range(0, len(chosen), per_batch)
    )


def checked_model_id(model_id: str) -> str:
    """Raises ConfigError where Neuronpedia would refuse it."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,127}", model_id):
        raise ConfigError(
            f"{model_id[:80]!r} is no name of a model on Neuronpedia.", where="model_id",
            hint="Use its id there: lower case letters, digits, dots, dashes and underscores, as in gpt2-small.",
        )
    return model_id


def checked_set(name: str, where: str = "sae_set") -> str:
    """Raises ConfigError where Neuronpedia could not find the set, or the suffix, again in the id of a source."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,127}", name) or "__" in name:
        raise ConfigError(
            f"{name[:80]!r} cannot be part of a source's id on Neuronpedia.", where=where,
            hint="Use lower case letters, digits and dashes, without the layer, as in res-16k.",
        )
    return name


def checked_sae(store: Store, sae: SAE | None) -> None:
    """Raises ConfigError where the SAE is another one than was read."""
    if sae is not None and (sae.d_sae, sae.d_in) != (store.d_sae, store.manifest.d_in):
        raise ConfigError(
            f"The SAE is {sae.d_sae:,} × {sae.d_in:,}, the extraction is of one with {store.d_sae:,} × "
            f"{store.manifest.d_in:,}.", where="sae", hint="Give the SAE that was extracted.",
        )


def layer_of(store: Store, layer: int | None) -> int:
    """The layer of the hook name, where none is given."""
    found = re.match(r"blocks\.([0-9]+)\.", store.manifest.hook_name)
    if layer is not None or found is None:
        if layer is None or layer < 0:
            raise ConfigError(
                f"The layer of {store.manifest.hook_name} is not known.", where="layer", hint="Give it as a number."
            )
        return layer
    return int(found[1])


def _feature(store: Store, index: int, dataset: str, logits: EffectsOf | None, sae: SAE | None) -> BatchFeature:
    data = feature_data(store, index)
    row = decoder_rows(sae, [index])[0] if sae is not None else None
    near = alignment(row) if row is not None else ([], [], [])
    nothing: dict[str, list[Any]] = {
        f"correlated_{kind}_{part}": [] for kind in _TABLES for part in ("indices", "pearson", "l1")
    }
    return BatchFeature(
        feature_index=index, neuron_alignment_indices=near[0], neuron_alignment_values=rounded(near[1]),
        neuron_alignment_l1=rounded(near[2]), **nothing, **_logits(logits(index) if logits else None),
        frac_nonzero=rounded([data.density])[0], freq_hist_data_bar_heights=data.counts.tolist(),
        freq_hist_data_bar_values=centres(data.edges) if len(data.counts) else [],
        n_prompts_total=store.manifest.n_contexts, n_tokens_in_prompt=store.manifest.context_size,
        dataset=clean(dataset), decoder_weights_dist=[],
        activations=[_activation(group, example) for group in data.groups for example in group.examples],
        vector=rounded(row, 7) if row is not None else [],
    )  # fmt: skip


def _logits(effects: Effects | None) -> dict[str, Any]:
    if effects is None:
        effects = Effects([], [])
    return {
        "neg_str": [clean(e.text) for e in effects.lowers], "neg_values": rounded(e.value for e in effects.lowers),
        "pos_str": [clean(e.text) for e in effects.raises], "pos_values": rounded(e.value for e in effects.raises),
        "logits_hist_data_bar_heights": list(effects.counts),
        "logits_hist_data_bar_values": centres(effects.edges) if len(effects.counts) else [],
    }


def _activation(group: Group, example: StoredExample) -> BatchActivation:
    pieces, peak = whole_characters(example)
    top = group.kind == "top"
    return BatchActivation(
        bin_min=-1.0 if top else rounded([group.low])[0], bin_max=rounded([group.high])[0],
        bin_contains=-1.0 if top else rounded([group.token_share])[0], tokens=[clean(text) for text, _ in pieces],
        values=rounded(value for _, value in pieces), qualifying_token_index=peak,
    )
