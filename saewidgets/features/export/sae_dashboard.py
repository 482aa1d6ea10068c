"""Files of SAEDashboard and Neuronpedia.

`export_dashboard` writes the JSON that `SaeVisData.load_json` of sae-dashboard 0.8.0 opens. A file of
`export_neuronpedia_batches` has the names of its `NeuronpediaDashboardBatch`, `…Feature` and `…Activation`, which
``convert-saedashboard-to-neuronpedia-export.py`` reads. `export_neuronpedia` writes for Neuronpedia's importer: the
columns of its tables (``prisma/schema.prisma``) that its converter fills. The importer takes the columns from the first
line of a file, so all lines of a file have the same keys, and knows no others than its tables have.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from saewidgets.config.hook_names import head_of
from saewidgets.durable import whole_file, whole_folder
from saewidgets.errors import ConfigError
from saewidgets.features.export.selection import (
    Effects,
    EffectsOf,
    centres,
    clean,
    noted_of,
    rounded,
    selected,
    whole_characters,
)
from saewidgets.features.export.table_and_vectors import alignment, check_sae, decoder_rows
from saewidgets.features.store.feature_data import FeatureData, Group, StoredExample, feature_data
from saewidgets.features.store.query import Noted
from saewidgets.features.store.read import Store
from saewidgets.sae import SAE

Row = dict[str, Any]
_JSON = TypeAdapter(Any)

DEFAULT_CREATOR = "clkht01d40000jv08hvalcvly"
"""The user that Neuronpedia's own tools name when nobody else is given; a local Neuronpedia has it."""

_FILE = re.compile(r"batch-[0-9]+\.json")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")
_CORRELATIONS = tuple(
    f"correlated_{kind}_{part}" for kind in ("neurons", "features") for part in ("indices", "pearson", "l1")
)
_PARTS = (
    "release.jsonl", "model.jsonl", "sourceset.jsonl", "source.jsonl", "features", "activations", "explanations",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class NeuronpediaTarget:
    """Under which names an export appears on Neuronpedia.

    Attributes:
        model_id: the model's id there, e.g. ``gpt2-small``.
        sae_set: name of the set of SAEs, without the layer, e.g. ``res-16k``.
        layer: None takes it from the hook name.
        suffix: tells SAEs of one set and layer apart.
        set_description: e.g. "Residual Stream - 16k".
        release, release_title, url: what the set belongs to; "" for the first two takes the set's name.
        creator: name of the author.
        creator_id: the user of the receiving Neuronpedia who owns all rows.
        dataset: where the text is from.
        hf_repo, hf_path: where the weights are on Hugging Face.
    """

    model_id: str
    sae_set: str
    layer: int | None = None
    suffix: str = ""
    set_description: str = ""
    release: str = ""
    release_title: str = ""
    url: str = ""
    creator: str = ""
    creator_id: str = DEFAULT_CREATOR
    dataset: str = ""
    hf_repo: str | None = None
    hf_path: str | None = None


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
        path: the folder; new, empty, or one that holds such files, which are replaced.
        model_id, sae_set, layer, dataset: as of `NeuronpediaTarget`; `sae_id_suffix` is its `suffix`.
        sae: for decoder rows (``vector``) and the neurons they are aligned with; None leaves both empty.

    Other arguments and errors: as of `export_neuronpedia`.
    """
    target = Path(path)
    chosen = selected(store, indices)
    check_sae(store, sae)
    about = {
        "model_id": _model_id(model_id), "layer": _layer(store, layer), "sae_set": _part(sae_set, "sae_set"),
        "sae_id_suffix": _part(sae_id_suffix, "sae_id_suffix") if sae_id_suffix else None,
    }
    old = [entry.name for entry in target.iterdir() if _FILE.fullmatch(entry.name)] if target.is_dir() else []
    with whole_folder(target, old) as draft:
        for number, features in enumerate(_batches(store, chosen, dataset, logits, sae, per_batch)):
            (draft / f"batch-{number}.json").write_bytes(_JSON.dump_json({**about, "features": features}) + b"\n")
    return target


def export_neuronpedia(
    store: Store,
    indices: Iterable[int] | None,
    notes: Mapping[int, Noted] | None,
    path: str | PathLike[str],
    target: NeuronpediaTarget,
    *,
    logits: EffectsOf | None = None,
    sae: SAE | None = None,
    per_batch: int = 1024,
) -> Path:
    """Write ``<path>/<model>/<source>/`` as Neuronpedia keeps its own exports; the folder is whole or not there.

    Args:
        store: the extraction.
        indices: the features; None takes all.
        notes: labels become explanations.
        path: the folder of exports; what it holds of other sources stays.
        target: the names there.
        logits: see `EffectsOf`; None leaves the tables empty.
        sae: for vectors; None leaves them out.
        per_batch: features per file.

    Returns:
        The folder of the source.

    Raises:
        ConfigError: no feature or an unknown one, a name that Neuronpedia refuses, a hook name without a layer.
        StorageError: the folder holds something else, or the disk refuses.
    """
    source = _Source(store, target)
    chosen = selected(store, indices)
    check_sae(store, sae)
    folder = Path(path) / target.model_id / source.id
    with whole_folder(folder, _PARTS) as draft:
        for name, row in source.metadata().items():
            _write(draft / f"{name}.jsonl", [row])
        for number, features in enumerate(_batches(store, chosen, target.dataset, logits, sae, per_batch)):
            labels = [(f["feature_index"], noted_of(notes, f["feature_index"]).label) for f in features]
            for name, rows in {
                "features": [source.neuron(feature) for feature in features],
                "activations": [row for feature in features for row in source.activations(feature)],
                "explanations": [source.explanation(i, text) for i, text in labels if text.strip()],
            }.items():
                _write(draft / name / f"batch-{number}.jsonl.gz", rows)
    return folder


def _write(path: Path, rows: Sequence[Row]) -> None:
    """Rows as lines, gzipped where the name says so; no rows, no file: the importer reads the first line of each."""
    if not rows:
        return
    path.parent.mkdir(exist_ok=True)
    data = b"".join(_JSON.dump_json(row) + b"\n" for row in rows)
    with path.open("wb") as file:
        file.write(gzip.compress(data, 5, mtime=0) if path.suffix == ".gz" else data)
        file.flush()
        os.fsync(file.fileno())


def _model_id(model_id: str) -> str:
    if not _NAME.fullmatch(model_id):
        raise ConfigError(
            f"{model_id[:80]!r} is not the name of a model on Neuronpedia.", where="model_id",
            hint="Use its id there: lower case letters, digits, dots, dashes and underscores, as in gpt2-small.",
        )
    return model_id


def _part(name: str, where: str) -> str:
    if not _NAME.fullmatch(name) or "__" in name:
        raise ConfigError(
            f"{name[:80]!r} cannot be part of a source's id on Neuronpedia.", where=where,
            hint="Use lower case letters, digits and dashes, without the layer, as in res-16k.",
        )
    return name


def _layer(store: Store, layer: int | None) -> int:
    found = re.match(r"blocks\.([0-9]+)\.", store.manifest.hook_name)
    layer = int(found[1]) if layer is None and found else layer
    if layer is None or layer < 0:
        raise ConfigError(
            f"The layer of {store.manifest.hook_name} is not known.", where="layer", hint="Give it as a number."
        )
    return layer


def _batches(
    store: Store, chosen: list[int], dataset: str, logits: EffectsOf | None, sae: SAE | None, per_batch: int
) -> Iterator[list[Row]]:
    if per_batch < 1:
        raise ConfigError(f"per_batch is {per_batch}.", where="per_batch", hint="Use 128.")
    for start in range(0, len(chosen), per_batch):
        yield [_feature(store, index, dataset, logits, sae) for index in chosen[start : start + per_batch]]


def _feature(store: Store, index: int, dataset: str, logits: EffectsOf | None, sae: SAE | None) -> Row:
    """A feature of a batch file; correlations are not in an extraction."""
    data = feature_data(store, index)
    row = decoder_rows(sae, [index])[0] if sae is not None else None
    effects = (logits(index) if logits else None) or Effects([], [])
    return {
        **_aligned(row), **{name: [] for name in _CORRELATIONS},
        "neg_str": [clean(e.text) for e in effects.lowers], "neg_values": rounded(e.value for e in effects.lowers),
        "pos_str": [clean(e.text) for e in effects.raises], "pos_values": rounded(e.value for e in effects.raises),
        "frac_nonzero": rounded([data.density])[0],
        "freq_hist_data_bar_heights": [float(count) for count in data.counts],
        "freq_hist_data_bar_values": centres(data.edges) if len(data.counts) else [],
        "logits_hist_data_bar_heights": [float(count) for count in effects.counts],
        "logits_hist_data_bar_values": centres(effects.edges) if len(effects.counts) else [],
        "decoder_weights_dist": [], "feature_index": index, "n_prompts_total": store.manifest.n_contexts,
        "n_tokens_in_prompt": store.manifest.context_size, "dataset": clean(dataset),
        "activations": [_activation(group, example) for group in data.groups for example in group.examples],
        "vector": rounded(row, 7) if row is not None else [],
    }  # fmt: skip


def _aligned(row: npt.NDArray[np.float32] | None) -> Row:
    indices, values, shares = alignment(row) if row is not None else ([], [], [])
    return {
        "neuron_alignment_indices": indices, "neuron_alignment_values": rounded(values),
        "neuron_alignment_l1": rounded(shares),
    }


def _activation(group: Group, example: StoredExample) -> Row:
    """An example of a batch file; a `bin_min` of −1 marks the top examples, whose `bin_contains` is −1 too."""
    pieces, peak = whole_characters(example)
    top = group.kind == "top"
    return {
        "bin_min": -1.0 if top else rounded([group.low])[0], "bin_max": rounded([group.high])[0],
        "bin_contains": -1.0 if top else rounded([group.token_share])[0], "tokens": [clean(text) for text, _ in pieces],
        "values": rounded(value for _, value in pieces), "qualifying_token_index": peak,
    }


class _Source:
    """Rows of one source of an export."""

    def __init__(self, store: Store, target: NeuronpediaTarget) -> None:
        texts: Row = {
            f.name: clean(value) for f in fields(target) if isinstance(value := getattr(target, f.name), str)
        }
        self.target, self.manifest = replace(target, **texts), store.manifest
        layer = _layer(store, target.layer)
        _model_id(self.target.model_id)
        _part(self.target.sae_set, "sae_set")
        if self.target.suffix:
            _part(self.target.suffix, "suffix")
        if not self.target.creator_id:
            raise ConfigError("There is no creator.", where="creator_id", hint="Give a user's id of that Neuronpedia.")
        self.id = f"{layer}-{self.target.sae_set}" + (f"__{self.target.suffix}" if self.target.suffix else "")
        self._hook = clean(store.manifest.hook_name)
        self._now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def metadata(self) -> dict[str, Row]:
        t, release, now = self.target, self.target.release or self.target.sae_set, {"createdAt": self._now}
        title = t.release_title or release
        urls = [t.url] if t.url else []
        folder = "/".join(t.hf_path.split("/")[:-1]) if t.hf_path else None
        return {
            "release": {
                "name": release, "description": title, "descriptionShort": title, "urls": urls,
                "creatorName": t.creator, "creatorNameShort": t.creator, "creatorId": t.creator_id,
                "visibility": "PUBLIC", **now,
            },
            "model": {  # used only where the receiving Neuronpedia does not have the model
                "id": t.model_id, "instruct": t.model_id.endswith("-it"), "displayNameShort": t.model_id,
                "displayName": t.model_id, "creatorId": t.creator_id, "visibility": "PUBLIC",
                "inferenceEnabled": False, "layers": 0, "neuronsPerLayer": 0, "owner": "", **now,
                "updatedAt": self._now,
            },
            "sourceset": {
                "modelId": t.model_id, "name": t.sae_set, "description": t.set_description, "type": "",
                "creatorName": t.creator, "creatorId": t.creator_id, "urls": urls, "releaseName": release,
                "hasDashboards": True, "visibility": "PUBLIC", **now,
            },
            "source": {
                "id": self.id, "modelId": t.model_id, "setName": t.sae_set, "creatorId": t.creator_id,
                "hasDashboards": True, "inferenceEnabled": False, "visibility": "PUBLIC",
                "num_prompts": self.manifest.n_contexts, "num_tokens_in_prompt": self.manifest.context_size,
                "dataset": t.dataset, "hfRepoId": t.hf_repo, "hfFolderId": folder, **now,
            },
        }  # fmt: skip

    def neuron(self, feature: Row) -> Row:
        """The feature's own row: its statistics, which end with the decoder weights, and where it belongs."""
        names = list(feature)
        statistics = {name: feature[name] for name in names[: names.index("feature_index")]}
        largest = max((max(a["values"]) for a in feature["activations"]), default=0.0)
        # Neuronpedia adds vectors to whole activations: one of a single head has no place there.
        vector = feature["vector"] if head_of(self._hook) is None else []
        return statistics | {
            "modelId": self.target.model_id, "layer": self.id, "index": str(feature["feature_index"]),
            "sourceSetName": self.target.sae_set, "creatorId": self.target.creator_id, "createdAt": self._now,
            "maxActApprox": largest, "hasVector": bool(vector), "vector": vector,
            "vectorDefaultSteerStrength": largest or 10.0, "hookName": self._hook if vector else None,
            "topkCosSimIndices": [], "topkCosSimValues": [],
        }  # fmt: skip

    def activations(self, feature: Row) -> Iterator[Row]:
        index = feature["feature_index"]
        for place, a in enumerate(feature["activations"]):
            values = a["values"]
            yield {
                "id": self._row_id("activation", index, place), "tokens": a["tokens"], "modelId": self.target.model_id,
                "layer": self.id, "index": str(index), "maxValue": max(values),
                "maxValueTokenIndex": values.index(max(values)), "minValue": min(values), "values": values,
                "dfaValues": [], "lossValues": [], "creatorId": self.target.creator_id, "createdAt": self._now,
                "binMin": a["bin_min"], "binMax": a["bin_max"], "binContains": a["bin_contains"],
                "qualifyingTokenIndex": a["qualifying_token_index"],
            }  # fmt: skip

    def explanation(self, index: int, text: str) -> Row:
        return {
            "id": self._row_id("explanation", index, text), "modelId": self.target.model_id, "layer": self.id,
            "index": str(index), "description": clean(text), "authorId": self.target.creator_id,
            "createdAt": self._now,
        }  # fmt: skip

    def _row_id(self, *parts: object) -> str:
        """The same for the same row of the same export, so that importing twice does not double it."""
        key = "\0".join(map(str, (self.manifest.tokens, self.target.model_id, self.id, *parts)))
        return "c" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:24]


_CORRELATED = ("correlated_neurons", "correlated_features", "correlated_b_features")


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

    Arguments and errors: as of `export_neuronpedia`; `path` is the file.
    """
    chosen = selected(store, indices)
    check_sae(store, sae)
    with whole_file(Path(path)) as file:
        file.write('{"feature_data_dict": {')
        for place, index in enumerate(chosen):
            data = _visualised(store, index, logits, sae)
            file.write(f'{", " if place else ""}"{index}": {json.dumps(data, allow_nan=False)}')
        statistics = {
            "max": rounded(store.max[chosen], 7), "frac_nonzero": rounded(store.density[chosen], 7), "skew": [],
            "kurtosis": [], "quantile_data": [[] for _ in chosen], "quantiles": [], "ranges_and_precisions": [],
        }  # fmt: skip
        file.write(f'}}, "feature_stats": {json.dumps(statistics, allow_nan=False)}}}\n')
    return Path(path)


def _visualised(store: Store, index: int, logits: EffectsOf | None, sae: SAE | None) -> dict[str, Any]:
    data = feature_data(store, index)
    effects = (logits(index) if logits else None) or Effects([], [])
    tables = _aligned(decoder_rows(sae, [index])[0] if sae is not None else None)
    tables |= {f"{kind}_{part}": [] for kind in _CORRELATED for part in ("indices", "pearson", "cossim")}
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
