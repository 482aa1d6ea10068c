"""`Pipeline`: from a model and a text to an SAE of every layer, in steps that can be left and taken up again.

What it leaves in a folder, for people and programs without a workspace:

    sae_layer_6_best/           the SAE of the best checkpoint, in SAELens' format
    sae_layer_6_final/          the SAE at the end
    sae_layer_6_history.json    the run's configuration and every metric: name → steps and values
    interpretations/            of `Pipeline.interpret`: layer_6_interpretations.json, what every latent fires on

Of another site than the residual stream after the layer the name says so: ``sae_layer_6_mlp_out_best``.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig
from saewidgets.config.base import Config
from saewidgets.config.capture import CaptureConfig
from saewidgets.config.corpus import ActivationCorpus
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.config.group import PipelineConfig, layers_text
from saewidgets.config.packing import FIELDS
from saewidgets.durable import storage_errors
from saewidgets.errors import ConfigError, NotFoundError, StorageError
from saewidgets.events import JobStatus
from saewidgets.features.labels import read_interpretations
from saewidgets.records import ActivationStoreRecord, TrainingRecord
from saewidgets.workspace.activations import Capture
from saewidgets.workspace.corpora import TEXT, is_reference, text_files, text_fingerprint, text_stamp
from saewidgets.workspace.extraction.extraction_job import checked, concrete
from saewidgets.workspace.extractions import Extraction
from saewidgets.workspace.folders import draft_folder
from saewidgets.workspace.subjects import find_subject
from saewidgets.workspace.training.advice import HISTORY, Check, LayerReport, report
from saewidgets.workspace.training.checkpoints import write_sae
from saewidgets.workspace.training.run import Run
from saewidgets.workspace.training.run_tables import config_data

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

MADE_BY = "saewidgets pipeline"
INTERPRETATIONS = "interpretations"
LEFT = (JobStatus.PAUSED, JobStatus.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class LayerFiles:
    """Where one layer's files are."""

    layer: int
    best: Path
    final: Path
    history: Path


class Pipeline:
    """Activations of several layers, and an SAE for each.

    It holds no state of its own: a store of activations that was captured with the same settings is used again, a run
    of the same configuration is not trained twice, and what was paused goes on.
    """

    def __init__(self, workspace: Workspace, config: PipelineConfig) -> None:
        self._workspace = workspace
        self.config = config
        self._texts: dict[tuple[object, ...], str | None] = {}  # names, sizes and times of the files → hash

    # ------------------------------------------------------------------------------------------------ what there is

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers. Reads the model's configuration. Raises `NotFoundError` if there is no such model,
        and `ConfigError` if it lacks a layer."""
        from saewidgets.lm import model_facts  # torch: seconds to import

        training = self.config.training
        count = model_facts(training.model, revision=training.model_revision).n_layers
        if self.config.layers == "all":
            return tuple(range(count))
        if (largest := max(self.config.layers)) >= count:
            raise ConfigError(
                f"Layer {largest} does not exist: {training.model} has layers 0 to {count - 1}.", where="layers",
                hint="Choose smaller layers, or all.",
            )
        return self.config.layers

    @property
    def hook_names(self) -> dict[int, str]:
        return {layer: self.config.hook_name(layer) for layer in self.layers}

    def stores(self, *, imported: bool = True) -> dict[int, Capture]:
        """Layer → the store that holds its activations, or will; layers without one are missing. Imported states count
        (but for `imported` False) where not all layers were captured, and only if they are of all layers."""
        records = cover(self.hook_names, self._sources(imported=imported))
        return {layer: Capture(self._workspace, record.id) for layer, record in records.items()}

    def outdated(self) -> list[ActivationStoreRecord]:
        """Stores of the same settings whose text was changed since: they are not read."""
        return [record for record in self._captured() if not self._is_of_the_text(record)]

    def as_captured(self) -> Pipeline:
        """This pipeline with as many tokens as were captured, where nobody has said how many: those of the stores that
        fit in everything else and hold most of the layers, the usual length first. Raises `ConfigError` where these are
        of several lengths."""
        count = len(self.layers)
        if "num_tokens" in self.config.model_fields_set or len(self.stores(imported=False)) == count:
            return self
        lengths = sorted({int(record.config["tokens"]) for record in self._captured(any_length=True)})
        others = [Pipeline(self._workspace, self.config.replace(num_tokens=length)) for length in lengths]
        held = [len(other.stores(imported=False)) for other in others]
        most = max(held, default=0)
        found = [other for other, layers in zip(others, held, strict=True) if layers == most]
        lengths = [other.config.num_tokens for other in found]
        if not most or self.config.num_tokens in lengths or (most < count and len(self.stores()) == count):
            return self
        if len(found) > 1:
            raise ConfigError(
                f"Captures of {', '.join(f'{n:,}' for n in lengths)} tokens share these settings.", where="num_tokens",
                hint=f"Choose one: num_tokens={lengths[-1]} (--num-tokens {lengths[-1]}).",
            )
        return found[0]

    def runs(self) -> dict[int, Run]:
        """Layer → its newest run of this configuration, but for those that failed and cannot go on."""
        stores = [record for record in self._sources() if record.is_whole]
        records = self._workspace.trainings.list() if stores else []
        found = {}
        for layer, hook_name in self.hook_names.items():
            wanted = [
                self._workspace.trainings.concrete(self._training(store.id, hook_name))
                for store in stores if store.holds(hook_name)
            ]  # fmt: skip
            mine = (r for r in records if r.hook_name == hook_name and counts(r) and is_run_of(r, wanted))
            if (newest := next(mine, None)) is not None:
                found[layer] = Run(self._workspace, newest.id)
        return found

    # ------------------------------------------------------------------------------------------------ what to do

    def extract(self) -> Capture:
        """Capture the activations of all layers that no store has yet from one forward, and return at once. If
        there are none, the store of the first layer is returned; a paused capture goes on. Raises `ConfigError`,
        `NotFoundError` and `StorageError` as `ws.activations.capture` does."""
        stores = self.stores(imported=False)
        missing = [name for layer, name in self.hook_names.items() if layer not in stores]
        if not missing:
            found = next((store for store in stores.values() if not store.record.is_whole), None)
            if found is not None and found.status in LEFT:
                found.resume()
            return found or next(iter(stores.values()))
        training, asked = self.config.training, self._asked()
        for store in stores.values():
            if (commit := store.record.config["corpus"].get("revision")) is not None:
                from saewidgets.activations.corpus import exact_again  # the hub's client: a second to import

                asked["corpus"] = exact_again(asked["corpus"], commit)  # all layers are of one commit of the dataset
        return self._workspace.activations.capture(
            **asked, hook_names=missing, model_batch_size=self.config.batch_size_extract,
            device=training.model_device or training.device, model_compile=training.model_compile,
        )

    def import_states(self, folder: str | Path) -> Capture | None:
        """Take over ``hidden_states/layer_…_states.pt`` below `folder`; None if it holds none of these layers.
        Raises `NotFoundError` if some are missing, else `FormatError`, `ConfigError` and `StorageError` as
        `ws.activations.import_states` does."""
        files = [Path(folder) / f"hidden_states/layer_{layer}_states.pt" for layer in self.layers]
        missing = [path.name for path in files if not path.is_file()]
        if len(missing) == len(files):
            return None
        if missing:
            raise NotFoundError(
                f"States of some layers are missing: {', '.join(missing)}.", where=str(files[0].parent),
                hint="Name only the layers that are there.",
            )
        return self._workspace.activations.import_states(files, model=self.config.training.model)

    def train(self) -> dict[int, Run]:
        """Queue the trainings that are missing, one job for each store, and return at once; what was paused goes on.
        Raises `NotFoundError` if a layer has no store yet, else `ConfigError` and `StorageError` as
        `ws.trainings.create_many` does."""
        stores = self.stores()
        if nothing := [layer for layer in self.layers if layer not in stores]:
            raise NotFoundError(
                f"There are no activations of {layers_text(nothing)} yet.", where="layers", hint="Extract them first."
            )
        runs = self.runs()
        for run in runs.values():
            if run.status in (*LEFT, JobStatus.FAILED):  # of a group this resumes all
                run.resume()
        missing: dict[str, list[str]] = {}
        for layer, hook_name in self.hook_names.items():
            if layer not in runs:
                missing.setdefault(stores[layer].id, []).append(hook_name)
        for store_id, names in missing.items():
            base = self._training(store_id, names[0])
            if len(names) == 1:
                self._workspace.trainings.create(base)
            else:
                self._workspace.trainings.create_many(base, over={"hook_name": names})
        return self.runs()

    def save(self, folder: str | Path) -> list[LayerFiles]:
        """Write best and final SAE and the history of every layer that has ended into `folder`. Raises `StorageError`
        where something else is there under one of the names; what can be written is."""
        folder = Path(folder).expanduser().absolute()
        written, refused = [], {}
        for layer, run in self.runs().items():
            if run.record.sae_path is None:
                continue
            try:
                written.append(write_layer(self._workspace, run, layer, folder))
            except StorageError as error:
                refused[layer] = error
        if refused:
            first = next(iter(refused.values()))
            if len(refused) == 1:
                raise first
            what = f"The files of {layers_text(list(refused))} are not written. {first.what}"
            raise StorageError(what, where=first.where, hint=first.hint) from first
        return written

    def read(self, corpus: Any = None, **settings: Any) -> dict[int, Extraction]:
        """Queue an extraction of every layer's SAE that has none with these settings (of `ExtractionConfig`), and
        return at once; what was paused goes on. `corpus` None: the text that the SAEs were trained on, as many tokens
        as were captured, at most a million. Raises what `ws.extractions.create` raises."""
        given = {"corpus": corpus, "device": self.config.training.device, "batch_size": self.config.batch_size_extract}
        if corpus is None:
            given["tokens"] = min(self.config.num_tokens, ExtractionConfig().tokens)
        config, runs = checked({**given, **settings}), self.runs()
        return {layer: self._extraction(run, config) for layer, run in runs.items() if run.record.sae_path is not None}

    def interpret(self, folder: str | Path, corpus: Any = None, **settings: Any) -> dict[int, Path]:
        """Read every layer's SAE, as `read` does, wait, and write what its latents fire on to
        ``interpretations/layer_6_interpretations.json`` in `folder`, as `analyze_sae` does. Returns the file of each
        layer whose extraction came to a good end. Raises as `read`, and `FormatError` where another file has its name.
        """
        return self.write_interpretations(folder, self.read(corpus, **settings))

    def write_interpretations(self, folder: str | Path, extractions: Mapping[int, Extraction]) -> dict[int, Path]:
        """The second half of `interpret`: wait for what `read` returned, and write the files."""
        written, target = {}, Path(folder).expanduser().absolute() / INTERPRETATIONS
        for layer, extraction in extractions.items():
            extraction.wait()
            if extraction.record.has_data:
                place = target / f"{_stem(extraction.record.hook_name, layer)}_interpretations.json"
                if place.exists():
                    read_interpretations(place)  # that and nothing else is replaced
                self._workspace.features.interpretations(extraction.id, place)
                written[layer] = place
        return written

    def validate(self, interpretations: Mapping[int, Path] | None = None) -> list[LayerReport]:
        """The results, layer by layer: reconstruction, active latents, dead share, convergence; with what `interpret`
        returned, also whether a layer has its file; with advice."""
        found = [
            report(layer, run.record, self._workspace.trainings.metric_columns(run.id, HISTORY))
            for layer, run in self.runs().items()
        ]
        if interpretations is None:
            return found
        return [_with_interpretations(each, each.layer in interpretations) for each in found]

    # ------------------------------------------------------------------------------------------------ inside

    def _extraction(self, run: Run, config: ExtractionConfig) -> Extraction:
        """The newest of a run with these settings, whose text was not changed since; a new one if there is none."""
        workspace = self._workspace
        wanted = concrete(workspace, find_subject(workspace, run.id), config, None)
        asked, files = wanted.to_data(), text_files(wanted.corpus)
        changed = max((file.stat().st_mtime for file in files), default=0.0)
        for record in workspace.extractions.list(training_id=run.id):
            known = _completed(ExtractionConfig, record.config)
            anywhere = {name: known[name] for name in ("device", "batch_size")}  # however it was read
            same = {**asked, **anywhere, "corpus": _as_in_row(asked["corpus"], known["corpus"])} == known
            failed = record.status in (JobStatus.FAILED, JobStatus.CANCELLED) or record.other_weights
            if same and not failed and changed < record.created_at:
                found = workspace.extractions.get(record.id)
                if record.status in LEFT:
                    found.resume()
                return found
        return workspace.extractions.create(training_id=run.id, config=config)

    def _training(self, store_id: str, hook_name: str) -> TrainingConfig:
        return self.config.training.replace(corpus=ActivationCorpus(store_id).to_data(), hook_name=hook_name)

    def _asked(self) -> dict[str, Any]:
        """What decides on the activations: arguments of `ws.activations.capture`."""
        training = self._workspace.trainings.concrete(self.config.training)
        asked = {name: getattr(training, name) for name in ("model", "model_revision", "model_dtype", "corpus")}
        packing = {name: getattr(training.activations, name) for name in FIELDS}
        length = {"tokens": self.config.num_tokens, "context_size": training.context_size}
        return {**asked, **length, **packing, "dtype": self.config.dtype}

    def _captured(self, *, any_length: bool = False) -> Iterator[ActivationStoreRecord]:
        """The stores that hold some of the layers and were captured by the same settings, newest first."""
        asked, names = self._asked(), self.hook_names.values()
        text = asked.pop("corpus").to_data()
        if any_length:
            del asked["tokens"]
        for record in self._usable("captured"):
            known = _completed(CaptureConfig, record.config)
            same = {**known, **asked, "corpus": _as_in_row(text, known["corpus"])} == known
            if same and any(map(record.holds, names)):
                yield record

    def _usable(self, source: str) -> Iterator[ActivationStoreRecord]:
        for record in self._workspace.activations.list():
            failed = record.status in (JobStatus.FAILED, JobStatus.CANCELLED)
            if record.source == source and not failed and record.state in ("ok", "incomplete"):
                yield record

    def _sources(self, *, imported: bool = True) -> Sequence[ActivationStoreRecord]:
        """The stores, newest first, that the layers can come from; see `stores`."""
        names, model = self.hook_names, self.config.training.model
        captured = of_one_text(names, list(filter(self._is_of_the_text, self._captured())))
        if not imported or len(cover(names, captured)) == len(names):
            return captured
        states = [r for r in self._usable("imported") if r.model == model and all(map(r.holds, names.values()))]
        return states or captured

    def _is_of_the_text(self, record: ActivationStoreRecord) -> bool:
        """Whether the text was not changed since, as far as that is known: files that are gone say nothing."""
        then, stamp = record.facts.get(TEXT), text_stamp(self.config.training.corpus)
        if then is None or stamp is None:
            return True
        if stamp not in self._texts:
            self._texts = {stamp: text_fingerprint(self.config.training.corpus)}
        return self._texts[stamp] in (None, then)


def of_one_text(
    hook_names: Mapping[int, str], records: Sequence[ActivationStoreRecord]
) -> Sequence[ActivationStoreRecord]:
    """The largest set of these stores, newest first, that were captured from one text by one model."""
    sets: dict[Any, list[ActivationStoreRecord]] = {}
    for record in records:
        if record.is_whole:
            known = record.facts.get("model_fingerprint"), record.facts.get("corpus_fingerprint")
            sets.setdefault(known, []).append(record)
    most = {record.id for record in max(sets.values(), key=lambda found: len(cover(hook_names, found)), default=[])}
    return [record for record in records if record.id in most or not record.is_whole]


def cover(
    hook_names: Mapping[int, str], records: Sequence[ActivationStoreRecord]
) -> dict[int, ActivationStoreRecord]:
    """Layer → which of these its activations come from: the whole stores first, of these the one with most layers; one
    that is not whole counts where it holds all layers that no whole one does."""
    held = {record.id: {n for n, name in hook_names.items() if record.holds(name)} for record in records}
    found: dict[int, ActivationStoreRecord] = {}
    for record in sorted(records, key=lambda record: (not record.is_whole, -len(held[record.id]))):
        missing = hook_names.keys() - found.keys()
        if record.is_whole or held[record.id] >= missing:
            found |= dict.fromkeys(held[record.id] & missing, record)
    return {layer: found[layer] for layer in hook_names if layer in found}


def is_run_of(record: TrainingRecord, configs: Sequence[TrainingConfig]) -> bool:
    """Whether it learns what one of these does, wherever it runs and whatever it is called."""
    anywhere = {"name": None, "device": None}
    known = {**_completed(TrainingConfig, record.config), **anywhere}
    return any({**config.to_data(), **anywhere} == known for config in configs)


def counts(record: TrainingRecord) -> bool:
    """Whether it is one to go on with: it works, waits, was left, failed behind a good checkpoint, or has an SAE."""
    if record.status is JobStatus.FAILED and record.error is not None and record.error.resumes:
        return record.checkpoint_count > 0
    return not record.status.is_final or record.status in LEFT or record.sae_path is not None


def _as_in_row(corpus: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    """A corpus as a row has it: long text by its hash, a dataset at its commit, where `known` has it so."""
    changes: dict[str, Any] = {}
    if is_reference({"corpus": known}):
        from saewidgets.training.environment import text_digest  # torch: seconds to import

        changes["strings"] = text_digest(corpus.get("strings") or ())
    if "revision" in known and corpus.get("revision") is None:
        changes["revision"] = known["revision"]
    return {**corpus, **changes}


def _completed(kind: type[Config], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recorded configuration with the settings that came later, at their defaults: what was done without them."""
    try:
        return kind.from_data(config).to_data()
    except ConfigError:  # recorded by a version whose settings mean something else
        return config


# ------------------------------------------------------------------------------------------------ files


def write_layer(workspace: Workspace, run: Run, layer: int, folder: Path) -> LayerFiles:
    """Write the files of one run into `folder`; earlier ones of a pipeline are replaced."""
    sae, stem = run.sae_path, f"sae_{_stem(run.record.hook_name, layer)}"
    target = LayerFiles(layer, folder / f"{stem}_best", folder / f"{stem}_final", folder / f"{stem}_history.json")
    paths = (target.best, target.final, target.history)
    linked = any(path.is_symlink() for path in paths)
    if linked or (any(path.exists() for path in paths) and not _is_ours(target.history)):
        raise StorageError(
            f"Other files have the names of layer {layer}.", where=str(folder),
            hint="Choose another folder.",
        )
    what = f"The files of layer {layer} cannot be written"
    with storage_errors(what, folder, "Choose another folder, or free some space."), draft_folder(folder) as draft:
        shutil.copytree(sae, draft / "final")
        best_step = _write_best(run, draft)
        history = _history(workspace, run, layer, best_step)
        (draft / "history.json").write_text(json.dumps(history, indent=1, ensure_ascii=False) + "\n", "utf-8")
        target.history.unlink(missing_ok=True)  # it vouches for the folders: first away, last there
        for name, place in (("best", target.best), ("final", target.final)):
            if place.exists():
                shutil.rmtree(place)
            (draft / name).rename(place)
        os.replace(draft / "history.json", target.history)
    return target


def _stem(hook_name: str, layer: int) -> str:
    """``layer_6``; of another site than the residual stream after the layer ``layer_6_mlp_out``."""
    site = hook_name.split(".", 2)[2].removeprefix("hook_").replace(".", "_")
    return f"layer_{layer}" + ("" if site == "resid_post" else f"_{site}")


def _with_interpretations(found: LayerReport, is_there: bool) -> LayerReport:
    check = Check("interpretations saved", "yes" if is_there else "no", "a file of every layer", is_there)
    why = f'Its features were not read: ws.extractions.list(training_id="{found.training_id}") says why.'
    return replace(found, checks=(*found.checks, check), advice=(*found.advice, *([] if is_there else [why])))


def _is_ours(history: Path) -> bool:
    try:
        return bool(json.loads(history.read_text("utf-8"))["made_by"] == MADE_BY)
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _write_best(run: Run, draft: Path) -> int | None:
    """The best checkpoint's SAE as ``best``; the final one where that is the best, or nothing was judged."""
    kept = (c for c in reversed(run.checkpoints()) if "best" in c.kinds and Path(c.path).is_dir())
    checkpoint = next(kept, None)
    if checkpoint is None or "final" in checkpoint.kinds:
        shutil.copytree(draft / "final", draft / "best")
    else:
        write_sae(run, checkpoint, draft / "made").rename(draft / "best")
    return None if checkpoint is None else checkpoint.step


def _history(workspace: Workspace, run: Run, layer: int, best_step: int | None) -> Mapping[str, Any]:
    record, table = run.record, workspace.catalog.metrics.query(run.id)
    metrics: dict[str, dict[str, list[float]]] = {}
    for name, step, value in sorted(zip(table.name, table.step, table.value, strict=True)):
        found = metrics.setdefault(name, {"step": [], "value": []})
        if math.isfinite(value):
            found["step"].append(step)
            found["value"].append(value)
    return {
        "made_by": MADE_BY, "layer": layer, "hook_name": record.hook_name, "training_id": record.id,
        "status": record.status.value, "step": record.step, "tokens": record.tokens_done, "best_step": best_step,
        "final": dict(record.latest), "config": dict(config_data(run)), "metrics": metrics,
    }  # fmt: skip
