"""`Pipeline`: from a model and a text to an SAE of every layer, in steps that can be left and taken up again.

It holds no state of its own. What has been done is read from the workspace: a store of activations that was captured
with the same settings is used again, a run of the same configuration is not trained twice, and what was paused goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.activation_records import ActivationStoreRecord
from saewidgets.config import TrainingConfig
from saewidgets.config.base import Config
from saewidgets.config.capture import CaptureConfig
from saewidgets.config.packing import FIELDS
from saewidgets.config.pipeline import PipelineConfig
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.events import JobStatus
from saewidgets.records import TrainingRecord
from saewidgets.workspace.capture.capture import Capture
from saewidgets.workspace.corpora import is_reference
from saewidgets.workspace.pipeline.checks import LayerReport, report
from saewidgets.workspace.pipeline.files import LayerFiles, places, write_layer
from saewidgets.workspace.training.advice import HISTORY
from saewidgets.workspace.training.run import Run

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

_LEFT = (JobStatus.PAUSED, JobStatus.INTERRUPTED)
_STATES = "hidden_states/layer_*_states.pt"
_NOT_COMPARED = ("name", "device")  # of a configuration: what does not say what is learned


class Pipeline:
    """Activations of several layers, and an SAE for each.

    Args:
        workspace: where they are kept.
        config: what to do.
    """

    def __init__(self, workspace: Workspace, config: PipelineConfig) -> None:
        self._workspace = workspace
        self.config = config

    # ------------------------------------------------------------------------------------------------ what there is

    @property
    def layers(self) -> tuple[int, ...]:
        """Numbers of the layers. Reads the model's configuration where all are wanted.

        Raises:
            NotFoundError: there is no such model.
            ConfigError: it has no such layer.
        """
        from saewidgets.demo import resolve_model  # torch, behind `lm`: seconds to import
        from saewidgets.lm import model_facts

        training = self.config.training
        count = model_facts(resolve_model(training.model), revision=training.model_revision).n_layers
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
        """Layer → its hook point."""
        return {layer: self.config.hook_name(layer) for layer in self.layers}

    def store(self) -> Capture | None:
        """The newest store that holds what this pipeline captures, or is on its way to; None while there is none."""
        found = sorted(self._stores(self._capture_settings()), key=lambda record: not record.is_whole)
        return Capture(self._workspace, found[0].id) if found else None

    def as_captured(self) -> Pipeline:
        """This pipeline with as many tokens as were captured, where nobody has said how many: those of the store that
        fits in everything else. One of the usual length comes first. Without any it is this pipeline.

        Raises:
            ConfigError: stores of several lengths fit.
        """
        if "num_tokens" in self.config.model_fields_set or self.store() is not None:
            return self
        wanted = {name: value for name, value in self._capture_settings().items() if name != "tokens"}
        found = sorted({int(record.config["tokens"]) for record in self._stores(wanted)})
        if len(found) > 1:
            raise ConfigError(
                f"Captures of {', '.join(f'{n:,}' for n in found)} tokens have these settings.", where="num_tokens",
                hint=f"Say which: --num-tokens {found[-1]}.",
            )
        return Pipeline(self._workspace, self.config.replace(num_tokens=found[0])) if found else self

    def _stores(self, wanted: Mapping[str, Any]) -> Iterator[ActivationStoreRecord]:
        """Those that hold the layers and were captured as wanted, newest first."""
        for record in self._workspace.activations.list():
            if record.status in (JobStatus.FAILED, JobStatus.CANCELLED) or record.state not in ("ok", "incomplete"):
                continue
            if all(map(record.holds, self.hook_names.values())) and self._fits(record, wanted):
                yield record

    def _fits(self, record: ActivationStoreRecord, wanted: Mapping[str, Any]) -> bool:
        """Whether it was captured as wanted. Of imported states nothing is known but the model."""
        if record.source == "imported":
            return record.model == self.config.training.model
        known = _completed(CaptureConfig, record.config)
        rest = all(known.get(name) == value for name, value in wanted.items() if name != "corpus")
        return rest and _same_text(wanted["corpus"], known.get("corpus"))

    def runs(self) -> dict[int, Run]:
        """Layer → its newest run of this configuration, but for those that failed and cannot go on; layers without one
        are missing."""
        store = self.store()
        if store is None:
            return {}
        records = self._workspace.trainings.list()
        found = {}
        for layer, hook_name in self.hook_names.items():
            wanted = _comparable(self._workspace.trainings.concrete(self._training(store, hook_name)).to_data())
            for record in records:
                if record.hook_name != hook_name or not _counts(record):
                    continue
                if _comparable(_completed(TrainingConfig, record.config)) == wanted:
                    found[layer] = Run(self._workspace, record.id)
                    break
        return found

    # ------------------------------------------------------------------------------------------------ what to do

    def extract(self) -> Capture:
        """Capture the activations of all layers from one forward, and return at once.

        A store that has them already is returned as it is; one that was paused goes on.

        Raises:
            ConfigError, NotFoundError, StorageError: as `ws.activations.capture`.
        """
        found = self.store()
        if found is not None:
            if found.status in _LEFT:
                found.resume()
            return found
        training, config = self.config.training, self.config
        return self._workspace.activations.capture(
            training.model, training.corpus, list(self.hook_names.values()), config.num_tokens, dtype=config.dtype,
            context_size=training.context_size, **self._packing(),
            model_batch_size=config.batch_size_extract, model_revision=training.model_revision,
            model_dtype=training.model_dtype, device=training.model_device or training.device,
            model_compile=training.model_compile,
        )

    def import_states(self, folder: str | Path) -> Capture | None:
        """Take over ``hidden_states/layer_…_states.pt`` below `folder`; None where there are none of these layers.

        Raises:
            FormatError, ConfigError, StorageError: as `ws.activations.import_states`.
        """
        names = [Path(folder) / _STATES.replace("*", str(layer)) for layer in self.layers]
        files = [path for path in names if path.is_file()]
        if not files:
            return None
        missing = [path.name for path in names if path not in files]
        if missing:
            raise NotFoundError(
                f"States of some layers are missing: {', '.join(missing)}.", where=str(names[0].parent),
                hint="Name only the layers that are there.",
            )
        return self._workspace.activations.import_states(files, model=self.config.training.model)

    def train(self) -> dict[int, Run]:
        """Queue the trainings that are missing, as one job, and return at once; what was paused goes on.

        Raises:
            NotFoundError: nothing has been captured yet.
            ConfigError, StorageError: as `ws.trainings.create_many`.
        """
        store = self.store()
        if store is None:
            raise NotFoundError(
                "There are no activations of these layers yet.", where="layers", hint="Extract them first."
            )
        runs = self.runs()
        for run in runs.values():
            if run.status in (*_LEFT, JobStatus.FAILED):  # of a group this resumes all
                run.resume()
        missing = [name for layer, name in self.hook_names.items() if layer not in runs]
        if missing:
            base = self._training(store, missing[0])
            if len(missing) == 1:
                self._workspace.trainings.create(base)
            else:
                self._workspace.trainings.create_many(base, over={"hook_name": missing})
        return self.runs()

    def save(self, folder: str | Path) -> list[LayerFiles]:
        """Write best and final SAE and the history of every layer that has ended into `folder`.

        Raises:
            StorageError: something else is there under one of the names, or the folder cannot be written.
        """
        folder = Path(folder).expanduser().absolute()
        site = self.config.training.hook_name.split(".", 2)[2]
        written = []
        for layer, run in self.runs().items():
            if run.record.sae_path is not None:
                target = places(folder, layer, site)
                write_layer(self._workspace, run, target)
                written.append(target)
        return written

    def validate(self) -> list[LayerReport]:
        """What was reached, layer by layer: reconstruction, active latents, dead share, convergence; with advice."""
        self._workspace.manager.flush()
        return [
            report(layer, run.record, self._workspace.trainings.metric_columns(run.id, HISTORY))
            for layer, run in self.runs().items()
        ]

    # ------------------------------------------------------------------------------------------------ inside

    def _capture_settings(self) -> dict[str, Any]:
        """What a store must have been captured with."""
        training = self._workspace.trainings.concrete(self.config.training)
        return {
            "model": training.model, "model_revision": training.model_revision, "model_dtype": training.model_dtype,
            "corpus": training.corpus.model_dump(mode="json"), "tokens": self.config.num_tokens,
            "context_size": training.context_size, **self._packing(),
            "dtype": self.config.dtype,
        }  # fmt: skip

    def _packing(self) -> dict[str, Any]:
        """How documents fill the contexts, by the names of a capture."""
        said = self.config.training.activations
        return {name: getattr(said, name) for name in FIELDS}

    def _training(self, store: Capture, hook_name: str) -> TrainingConfig:
        return self.config.training.replace(corpus=store.corpus.to_data(), hook_name=hook_name)


def _counts(record: TrainingRecord) -> bool:
    """Whether this run is one to go on with: it works, waits, was left by its process or failed behind a checkpoint
    that is good, or has left an SAE."""
    if record.status is JobStatus.FAILED and record.error is not None and record.error.resumes:
        return record.checkpoint_count > 0
    return not record.status.is_final or record.status in _LEFT or record.sae_path is not None


def _same_text(wanted: Mapping[str, Any], known: Any) -> bool:
    """Whether the corpus of a row is the one that is wanted. Rows know long text by its hash and datasets by their
    commit."""
    if not isinstance(known, Mapping):
        return False
    changes: dict[str, Any] = {}
    if is_reference({"corpus": known}):
        from saewidgets.training.environment import text_digest  # torch: seconds to import

        changes["strings"] = text_digest(wanted.get("strings") or ())
    if "revision" in known and wanted.get("revision") is None:
        changes["revision"] = known["revision"]
    return bool(_plain({**wanted, **changes}) == _plain(known))


def _completed(kind: type[Config], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recorded configuration with the settings that came later, at their defaults: what was done without them."""
    try:
        return kind.from_data(config).to_data()
    except ConfigError:  # recorded by a version whose settings mean something else
        return config


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without its name and the place it runs at."""
    return {name: _plain(value) for name, value in config.items() if name not in _NOT_COMPARED}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value
