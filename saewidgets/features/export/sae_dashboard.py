"""Exports features to the files of SAEDashboard and Neuronpedia.

`export_dashboard` writes the JSON that `SaeVisData.load_json` of sae-dashboard 0.8.0 opens. A file of
`export_neuronpedia_batches` has the names of its `NeuronpediaDashboardBatch`, `…Feature` and `…Activation`, which
``convert-saedashboard-to-neuronpedia-export.py`` reads. `export_neuronpedia` writes for Neuronpedia's importer: the
columns of its tables (``prisma/schema.prisma``) that its converter fills. The importer takes the columns from the first
line of a file, so all lines of a file have the same keys, and knows no others than its tables have.
"""

import gzip
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
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
from saewidgets.features.export.table_and_vectors import (
    NOBODY,
    Notes,
    centres,
    clean,
    decoder_rows,
    rounded,
    selected,
    whole_characters,
)
from saewidgets.features.logit_effects import Effects, EffectsOf, TokenEffect
from saewidgets.features.store.feature_data import FeatureData, Group, StoredExample, feature_data
from saewidgets.features.store.read import FeatureStore
from saewidgets.sae import SAE

Row = dict[str, Any]
_JSON = TypeAdapter(Any)

DEFAULT_CREATOR = "clkht01d40000jv08hvalcvly"
"""The user that Neuronpedia's own tools name when nobody else is given; a local Neuronpedia has it."""

_FILE = re.compile(r"batch-[0-9]+\.json")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")
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


# --- what an extraction knows of a feature --------------------------------------------------------------


def _known(
    store: FeatureStore, index: int, logits: EffectsOf | None, sae: SAE | None
) -> tuple[FeatureData, Effects, npt.NDArray[np.float32] | None]:
    row = decoder_rows(sae, [index])[0] if sae is not None else None
    return feature_data(store, index), logits(index) if logits is not None else Effects([], []), row


def aligned(row: npt.NDArray[np.float32] | None, n: int = 3) -> Row:
    """The coordinates in which a decoder row is largest, their values, and each value's share of the L1 norm."""
    row = np.zeros(0, np.float32) if row is None else row
    order = np.argsort(-row, kind="stable")[:n]
    total, values = float(np.abs(row).sum(dtype=np.float64)) or 1.0, row[order].astype(np.float64)
    return {
        "neuron_alignment_indices": order.tolist(), "neuron_alignment_values": rounded(values),
        "neuron_alignment_l1": rounded(np.abs(values) / total),
    }


def _uncorrelated(kinds: Sequence[str], last: str) -> Row:
    """Correlations are not in an extraction."""
    return {f"correlated_{kind}_{part}": [] for kind in kinds for part in ("indices", "pearson", last)}


def _values(effects: Sequence[TokenEffect]) -> list[float]:
    return rounded(effect.value for effect in effects)


def _feature(store: FeatureStore, index: int, dataset: str, logits: EffectsOf | None, sae: SAE | None) -> Row:
    """A feature of a batch file."""
    data, effects, row = _known(store, index, logits, sae)
    return {
        **aligned(row), **_uncorrelated(("neurons", "features"), "l1"),
        "neg_str": [clean(e.text) for e in effects.lowers], "neg_values": _values(effects.lowers),
        "pos_str": [clean(e.text) for e in effects.raises], "pos_values": _values(effects.raises),
        "frac_nonzero": rounded([data.density])[0],
        "freq_hist_data_bar_heights": [float(count) for count in data.counts],
        "freq_hist_data_bar_values": centres(data.edges),
        "logits_hist_data_bar_heights": [float(count) for count in effects.counts],
        "logits_hist_data_bar_values": centres(effects.edges),
        "decoder_weights_dist": [], "feature_index": index, "n_prompts_total": store.manifest.n_contexts,
        "n_tokens_in_prompt": store.manifest.context_size, "dataset": clean(dataset),
        "activations": [_activation(group, example) for group in data.groups for example in group.examples],
        "vector": rounded(row, 7) if row is not None else [],
    }  # fmt: skip


def _activation(group: Group, example: StoredExample) -> Row:
    """An example of a batch file; a `bin_min` of −1 marks the top examples, whose `bin_contains` is −1 too."""
    pieces, peak = whole_characters(example)
    low, contains = (-1.0, -1.0) if group.kind == "top" else rounded([group.low, group.token_share])
    return {
        "bin_min": low, "bin_max": rounded([group.high])[0], "bin_contains": contains,
        "tokens": [clean(text) for text, _ in pieces], "values": rounded(value for _, value in pieces),
        "qualifying_token_index": peak,
    }


def _batches(
    store: FeatureStore, chosen: list[int], dataset: str, logits: EffectsOf | None, sae: SAE | None, per_batch: int
) -> Iterator[list[Row]]:
    if per_batch < 1:
        raise ConfigError(f"per_batch is {per_batch}.", where="per_batch", hint="Use 128.")
    for start in range(0, len(chosen), per_batch):
        yield [_feature(store, index, dataset, logits, sae) for index in chosen[start : start + per_batch]]


def _layer(store: FeatureStore, target: NeuronpediaTarget) -> int:
    """The layer, once every name is one that Neuronpedia takes."""
    for where in ("model_id", "sae_set", "suffix"):
        name = getattr(target, where)
        if (name or where != "suffix") and (not _NAME.fullmatch(name) or (where != "model_id" and "__" in name)):
            raise ConfigError(
                f"{name[:80]!r} cannot be a {where} on Neuronpedia.", where=where,
                hint="Use lower case letters, digits, dots and dashes: gpt2-small, and without the layer res-16k.",
            )
    found = re.match(r"blocks\.([0-9]+)\.", store.manifest.hook_name)
    layer = int(found[1]) if target.layer is None and found else target.layer
    if layer is None or layer < 0:
        raise ConfigError(
            f"The layer of {store.manifest.hook_name} is not known.", where="layer", hint="Give it as a number."
        )
    return layer


# --- batches for Neuronpedia's converter ----------------------------------------------------------------


def export_neuronpedia_batches(
    store: FeatureStore,
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
    target, chosen = Path(path), selected(store, indices, sae)
    number = _layer(store, NeuronpediaTarget(model_id, sae_set, layer, sae_id_suffix or ""))
    about = {"model_id": model_id, "layer": number, "sae_set": sae_set, "sae_id_suffix": sae_id_suffix or None}
    old = [entry.name for entry in target.iterdir() if _FILE.fullmatch(entry.name)] if target.is_dir() else []
    with whole_folder(target, old) as draft:
        for place, features in enumerate(_batches(store, chosen, dataset, logits, sae, per_batch)):
            (draft / f"batch-{place}.json").write_bytes(_JSON.dump_json({**about, "features": features}) + b"\n")
    return target


# --- rows for Neuronpedia's importer --------------------------------------------------------------------


def export_neuronpedia(
    store: FeatureStore,
    indices: Iterable[int] | None,
    notes: Notes | None,
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
    source, chosen = _Source(store, target), selected(store, indices, sae)
    folder = Path(path) / target.model_id / source.id
    with whole_folder(folder, _PARTS) as draft:
        for name, row in source.metadata().items():
            _write(draft / f"{name}.jsonl", [row])
        for number, features in enumerate(_batches(store, chosen, target.dataset, logits, sae, per_batch)):
            rows = {
                "features": map(source.neuron, features),
                "activations": (row for feature in features for row in source.activations(feature)),
                "explanations": source.explanations([feature["feature_index"] for feature in features], notes or {}),
            }
            for name, found in rows.items():
                _write(draft / name / f"batch-{number}.jsonl.gz", list(found))
    return folder


def _write(path: Path, rows: list[Row]) -> None:
    """Rows as lines, gzipped where the name says so; no rows, no file: the importer reads the first line of each."""
    if not rows:
        return
    path.parent.mkdir(exist_ok=True)
    data = b"".join(_JSON.dump_json(row) + b"\n" for row in rows)
    with path.open("wb") as file:
        file.write(gzip.compress(data, 5, mtime=0) if path.suffix == ".gz" else data)
        file.flush()
        os.fsync(file.fileno())


class _Source:
    """Rows of one source of an export."""

    def __init__(self, store: FeatureStore, target: NeuronpediaTarget) -> None:
        texts: Row = {f.name: clean(value) for f in fields(target) if isinstance(value := getattr(target, f.name), str)}
        self.target, self.manifest = replace(target, **texts), store.manifest
        layer = _layer(store, target)
        if not self.target.creator_id:
            raise ConfigError("There is no creator.", where="creator_id", hint="Give a user's id of that Neuronpedia.")
        self.id = f"{layer}-{self.target.sae_set}" + (f"__{self.target.suffix}" if self.target.suffix else "")
        self._hook = clean(store.manifest.hook_name)
        self._now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self._owned = {"creatorId": self.target.creator_id, "createdAt": self._now}

    def _of(self, index: int) -> Row:
        return {"modelId": self.target.model_id, "layer": self.id, "index": str(index)}

    def metadata(self) -> dict[str, Row]:
        t, release = self.target, self.target.release or self.target.sae_set
        title, public = t.release_title or release, {"visibility": "PUBLIC", **self._owned}
        urls = [t.url] if t.url else []
        return {
            "release": {
                "name": release, "description": title, "descriptionShort": title, "urls": urls,
                "creatorName": t.creator, "creatorNameShort": t.creator, **public,
            },
            "model": {  # used only where the receiving Neuronpedia does not have the model
                "id": t.model_id, "instruct": t.model_id.endswith("-it"), "displayNameShort": t.model_id,
                "displayName": t.model_id, "inferenceEnabled": False, "layers": 0, "neuronsPerLayer": 0, "owner": "",
                **public, "updatedAt": self._now,
            },
            "sourceset": {
                "modelId": t.model_id, "name": t.sae_set, "description": t.set_description, "type": "",
                "creatorName": t.creator, "urls": urls, "releaseName": release, "hasDashboards": True, **public,
            },
            "source": {
                "id": self.id, "modelId": t.model_id, "setName": t.sae_set, "hasDashboards": True,
                "inferenceEnabled": False, "num_prompts": self.manifest.n_contexts,
                "num_tokens_in_prompt": self.manifest.context_size, "dataset": t.dataset, "hfRepoId": t.hf_repo,
                "hfFolderId": "/".join(t.hf_path.split("/")[:-1]) if t.hf_path else None, **public,
            },
        }  # fmt: skip

    def neuron(self, feature: Row) -> Row:
        """The feature's own row: its statistics, which end with the decoder weights, and where it belongs."""
        names = list(feature)
        statistics = {name: feature[name] for name in names[: names.index("feature_index")]}
        largest = max((max(a["values"]) for a in feature["activations"]), default=0.0)
        # Neuronpedia adds vectors to whole activations: one of a single head has no place there.
        vector = feature["vector"] if head_of(self._hook) is None else []
        return statistics | self._of(feature["feature_index"]) | self._owned | {
            "sourceSetName": self.target.sae_set, "maxActApprox": largest, "hasVector": bool(vector), "vector": vector,
            "vectorDefaultSteerStrength": largest or 10.0, "hookName": self._hook if vector else None,
            "topkCosSimIndices": [], "topkCosSimValues": [],
        }  # fmt: skip

    def activations(self, feature: Row) -> Iterator[Row]:
        index = feature["feature_index"]
        for place, a in enumerate(feature["activations"]):
            values = a["values"]
            yield self._of(index) | self._owned | {
                "id": self._row_id("activation", index, place), "tokens": a["tokens"], "maxValue": max(values),
                "maxValueTokenIndex": values.index(max(values)), "minValue": min(values), "values": values,
                "dfaValues": [], "lossValues": [], "binMin": a["bin_min"], "binMax": a["bin_max"],
                "binContains": a["bin_contains"], "qualifyingTokenIndex": a["qualifying_token_index"],
            }  # fmt: skip

    def explanations(self, indices: Iterable[int], notes: Notes) -> Iterator[Row]:
        for index in indices:
            if (text := notes.get(index, NOBODY).label).strip():
                yield self._of(index) | {
                    "id": self._row_id("explanation", index, text), "description": clean(text),
                    "authorId": self.target.creator_id, "createdAt": self._now,
                }

    def _row_id(self, *parts: object) -> str:
        """The same for the same row of the same export, so that importing twice does not double it."""
        key = "\0".join(map(str, (self.manifest.tokens, self.target.model_id, self.id, *parts)))
        return "c" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:24]


# --- SAEDashboard ---------------------------------------------------------------------------------------


def export_dashboard(
    store: FeatureStore,
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
    chosen = selected(store, indices, sae)
    with whole_file(Path(path)) as file:
        file.write('{"feature_data_dict": {')
        for place, index in enumerate(chosen):
            data = _visualised(*_known(store, index, logits, sae))
            file.write(f'{", " if place else ""}"{index}": {json.dumps(data, allow_nan=False)}')
        statistics = {
            "max": rounded(store.max[chosen], 7), "frac_nonzero": rounded(store.density[chosen], 7), "skew": [],
            "kurtosis": [], "quantile_data": [[] for _ in chosen], "quantiles": [], "ranges_and_precisions": [],
        }  # fmt: skip
        file.write(f'}}, "feature_stats": {json.dumps(statistics, allow_nan=False)}}}\n')
    return Path(path)


def _visualised(data: FeatureData, effects: Effects, row: npt.NDArray[np.float32] | None) -> Row:
    title = f"ACTIVATIONS<br>DENSITY = {data.density:.3%}" if data.fired else None
    return {
        "feature_tables_data": aligned(row) | _uncorrelated(("neurons", "features", "b_features"), "cossim"),
        "acts_histogram_data": _bars(data.counts.tolist(), centres(data.edges), title),
        "logits_table_data": {
            "bottom_token_ids": [e.token for e in effects.lowers], "bottom_logits": _values(effects.lowers),
            "top_token_ids": [e.token for e in effects.raises], "top_logits": _values(effects.raises),
        },
        "logits_histogram_data": _bars(list(effects.counts), centres(effects.edges), None),
        "sequence_data": {
            "seq_group_data": [
                {"title": _title(data, group), "seq_data": [_sequence(example, effects) for example in group.examples]}
                for group in data.groups
            ]
        },
        "prompt_data": _sequence(None, effects),
        "dfa_data": {},
        "decoder_weights_data": None,
    }


def _bars(heights: list[int], values: list[float], title: str | None) -> Row:
    """A histogram with ticks at the ends and in the middle, as many as SAEDashboard's pages draw without crowding."""
    ticks = [values[0], values[len(values) // 2], values[-1]] if values else []
    return {"bar_heights": heights, "bar_values": values, "tick_vals": [round(t, 2) for t in ticks], "title": title}


def _title(data: FeatureData, group: Group) -> str:
    if group.kind == "top":
        return f"TOP ACTIVATIONS<br>MAX = {data.max:.3f}"
    return f"INTERVAL {group.low:.3f} - {group.high:.3f}<br>CONTAINS {group.token_share:.3%}"


def _sequence(example: StoredExample | None, effects: Effects) -> Row:
    tokens: list[int] = example.tokens.tolist() if example else []
    found: Row = {
        "original_index": example.row if example else 0, "qualifying_token_index": example.offset if example else 0,
        "token_ids": tokens, "feat_acts": rounded(example.activations) if example else [], "loss_contribution": [],
        "token_logits": rounded(effects.on(tokens)) if effects.on else [],
    }
    return found | {f"{side}_{part}": [] for side in ("top", "bottom") for part in ("token_ids", "logits")}
