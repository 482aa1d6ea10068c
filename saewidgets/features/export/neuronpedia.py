"""An export that Neuronpedia's importer reads: release, model, set and source, features, activations and labels."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from saewidgets.config.hook_names import head_of
from saewidgets.errors import ConfigError
from saewidgets.features.export import neuronpedia_schema as schema
from saewidgets.features.export.effects import Effects, EffectsOf
from saewidgets.features.export.neuronpedia_schema import Batch, BatchActivation, BatchFeature
from saewidgets.features.export.selection import centres, clean, noted_of, rounded, selected, whole_characters
from saewidgets.features.export.vectors import alignment, decoder_rows
from saewidgets.features.store.page import Group, StoredExample, feature_data
from saewidgets.features.store.query import Noted
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


DEFAULT_CREATOR = "clkht01d40000jv08hvalcvly"
"""The user that Neuronpedia's own tools name when nobody else is given; a local Neuronpedia has it."""

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
        logits: see `effects`; None leaves the tables empty.
        sae: for vectors; None leaves them out.
        per_batch: features per file.

    Returns:
        The folder of the source.

    Raises:
        ConfigError: no feature or an unknown one, a name that Neuronpedia refuses, a hook name without a layer.
        StorageError: the folder holds something else, or the disk refuses.
    """
    writer = _Writer(store, target)
    folder = Path(path) / target.model_id / writer.source
    batches = neuronpedia_batches(
        store, indices, model_id=target.model_id, sae_set=target.sae_set, layer=target.layer,
        sae_id_suffix=target.suffix or None, dataset=target.dataset, logits=logits, sae=sae, per_batch=per_batch,
    )
    with whole_folder(folder, _PARTS) as draft:
        for name, row in writer.metadata():
            _write(draft / f"{name}.jsonl", [row])
        for number, batch in enumerate(batches):
            name = f"batch-{number}.jsonl.gz"
            _write(draft / "features" / name, [writer.neuron(feature) for feature in batch.features])
            _write(draft / "activations" / name, [row for f in batch.features for row in writer.activations(f)])
            labels = [(f.feature_index, noted_of(notes, f.feature_index).label) for f in batch.features]
            _write(draft / "explanations" / name, [writer.explanation(i, text) for i, text in labels if text.strip()])
    return folder


def _write(path: Path, rows: Sequence[BaseModel]) -> None:
    """Rows as lines, gzipped where the name says so; no rows, no file: the importer reads the first line of each."""
    if not rows:
        return
    path.parent.mkdir(exist_ok=True)
    data = "".join(row.model_dump_json() + "\n" for row in rows).encode()
    with path.open("wb") as file:
        file.write(gzip.compress(data, 5, mtime=0) if path.suffix == ".gz" else data)
        file.flush()
        os.fsync(file.fileno())


class _Writer:
    """Rows of one source."""

    def __init__(self, store: Store, target: NeuronpediaTarget) -> None:
        texts: dict[str, Any] = {
            f.name: clean(value) for f in fields(target) if isinstance(value := getattr(target, f.name), str)
        }
        target = replace(target, **texts)
        self.target, self.manifest = target, store.manifest
        layer = layer_of(store, target.layer)
        self.layer = layer
        checked_model_id(target.model_id)
        checked_set(target.sae_set)
        if target.suffix:
            checked_set(target.suffix, "suffix")
        if not target.creator_id:
            raise ConfigError("There is no creator.", where="creator_id", hint="Give a user's id of that Neuronpedia.")
        self.source = f"{layer}-{target.sae_set}" + (f"__{target.suffix}" if target.suffix else "")
        self.hook = clean(store.manifest.hook_name)
        self.now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def metadata(self) -> list[tuple[str, BaseModel]]:
        """(name of the file, its only row)."""
        t, release = self.target, self.target.release or self.target.sae_set
        title = t.release_title or release
        urls = [t.url] if t.url else []
        folder = "/".join(t.hf_path.split("/")[:-1]) if t.hf_path else None
        return [
            ("release", schema.Release(
                name=release, description=title, descriptionShort=title, urls=urls, creatorName=t.creator,
                creatorNameShort=t.creator, creatorId=t.creator_id, visibility="PUBLIC", createdAt=self.now,
            )),
            ("model", schema.Model(
                id=t.model_id, instruct=t.model_id.endswith("-it"), displayNameShort=t.model_id, displayName=t.model_id,
                creatorId=t.creator_id, visibility="PUBLIC", inferenceEnabled=False, layers=0, neuronsPerLayer=0,
                owner="", createdAt=self.now, updatedAt=self.now,
            )),
            ("sourceset", schema.SourceSet(
                modelId=t.model_id, name=t.sae_set, description=t.set_description, type="", creatorName=t.creator,
                creatorId=t.creator_id, urls=urls, releaseName=release, hasDashboards=True, visibility="PUBLIC",
                createdAt=self.now,
            )),
            ("source", schema.Source(
                id=self.source, modelId=t.model_id, setName=t.sae_set, creatorId=t.creator_id, hasDashboards=True,
                inferenceEnabled=False, visibility="PUBLIC", num_prompts=self.manifest.n_contexts,
                num_tokens_in_prompt=self.manifest.context_size, dataset=t.dataset, hfRepoId=t.hf_repo,
                hfFolderId=folder, createdAt=self.now,
            )),
        ]  # fmt: skip

    def neuron(self, feature: schema.BatchFeature) -> schema.Neuron:
        """The feature's own row."""
        own = {"feature_index", "n_prompts_total", "n_tokens_in_prompt", "dataset", "activations", "vector"}
        largest = max((max(a.values) for a in feature.activations), default=0.0)
        # Neuronpedia adds vectors to whole activations: one of a single head has no place there.
        vector = feature.vector if head_of(self.hook) is None else []
        return schema.Neuron(
            modelId=self.target.model_id, layer=self.source, index=str(feature.feature_index),
            sourceSetName=self.target.sae_set, creatorId=self.target.creator_id, createdAt=self.now,
            maxActApprox=largest, hasVector=bool(vector), vector=vector,
            vectorDefaultSteerStrength=largest or 10.0, hookName=self.hook if vector else None,
            topkCosSimIndices=[], topkCosSimValues=[], **feature.model_dump(exclude=own),
        )  # fmt: skip

    def activations(self, feature: schema.BatchFeature) -> list[schema.Activation]:
        """One row per example."""
        return [
            schema.Activation(
                id=self._id("activation", feature.feature_index, place), tokens=a.tokens, modelId=self.target.model_id,
                layer=self.source, index=str(feature.feature_index), maxValue=max(a.values),
                maxValueTokenIndex=a.values.index(max(a.values)), minValue=min(a.values), values=a.values, dfaValues=[],
                lossValues=[], creatorId=self.target.creator_id, createdAt=self.now, binMin=a.bin_min, binMax=a.bin_max,
                binContains=a.bin_contains, qualifyingTokenIndex=a.qualifying_token_index,
            )
            for place, a in enumerate(feature.activations)
        ]  # fmt: skip

    def explanation(self, index: int, text: str) -> schema.Explanation:
        """A label."""
        return schema.Explanation(
            id=self._id("explanation", index, text), modelId=self.target.model_id, layer=self.source, index=str(index),
            description=clean(text), authorId=self.target.creator_id, createdAt=self.now,
        )  # fmt: skip

    def _id(self, *parts: object) -> str:
        """The same for the same row of the same export, so that importing twice does not double it."""
        key = "\0".join(map(str, (self.manifest.tokens, self.target.model_id, self.source, *parts)))
        return "c" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:24]
