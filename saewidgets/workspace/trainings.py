"""`ws.trainings`: create, find and remove training runs."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import new_group_id, new_training_id
from saewidgets.config import TrainingConfig, arguments
from saewidgets.config.group import Over, base_of, expand, group_name, require_shared
from saewidgets.config.model_names import check_revision
from saewidgets.config.names import free_name
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StateError, StorageError
from saewidgets.events import JobStatus
from saewidgets.jobs import compute_lane
from saewidgets.records import Records, TrainingRecord
from saewidgets.settings import resolve_device
from saewidgets.workspace.capture.using import settings_of_store
from saewidgets.workspace.corpora import (
    dataset_facts,
    dataset_name,
    from_row,
    from_rows,
    is_reference,
    located,
    to_rows,
)
from saewidgets.workspace.files import remove_tree
from saewidgets.workspace.held import Held, canonical, device_of, missing, take
from saewidgets.workspace.sinks import OnEvent, as_sinks
from saewidgets.workspace.training import continuing, form, starting
from saewidgets.workspace.training.demo import demo_config
from saewidgets.workspace.training.exporting import export_run
from saewidgets.workspace.training.fitting import require_fit
from saewidgets.workspace.training.group import TrainingGroup
from saewidgets.workspace.training.job import KIND, TrainingRunners
from saewidgets.workspace.training.member import let_close
from saewidgets.workspace.training.metrics import wide
from saewidgets.workspace.training.naming import retry_name, unnumbered
from saewidgets.workspace.training.run import Run

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

FOLDER = "trainings"
MIN_FREE_BYTES = 64 * 1024**2  # below this not even a small run's first checkpoint fits
_BEGINNING = re.compile(r"train_.{4,}", re.DOTALL)  # of an id: shorter ones are typing errors, not intentions


@dataclass(frozen=True, slots=True)
class _New:
    """A run to be queued.

    `name` gets a number where another run has it; None takes the one of the configuration as it is, else its default.
    """

    config: TrainingConfig
    name: str | None = None
    retry_of: str | None = None


def _checked(
    config: TrainingConfig | Mapping[str, Any], held: Held | None, over: Over | None = None
) -> TrainingConfig:
    """The configuration that was given, with a model that is `held` or has to be loaded; of a group the base."""
    if not isinstance(config, TrainingConfig):
        _require_settings(config)
        if is_reference(config):
            raise ConfigError(
                "This names the text of a training instead of holding it.", where="corpus.strings",
                hint="Use run.config, which holds the text, or run.retry().",
            )
        config = base_of(config, over or {})
    if held is None:
        check_revision(config.model, config.model_revision)
    return config


def _require_settings(config: Any) -> None:
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"The configuration is a {type(config).__name__}.", where="config",
            hint="Give a TrainingConfig, or its settings as a dictionary.",
        )


def _elsewhere(name: str | None, device: str, where: str) -> str | None:
    """A second device by its full name; None where it is `device` itself. Raises `ConfigError` if it is not here."""
    found = None if name is None else resolve_device(name, where)
    return None if found == device else found


def _devices_of(config: TrainingConfig, place: str) -> tuple[str, str | None]:
    """Where an SAE trains whose model the user holds on `place`, and where the model is if that is elsewhere."""
    if config.model_device is not None:
        if canonical(config.model_device) != place:
            raise ConfigError(
                f"The model you gave is on {place}, but the model device is {config.model_device}.",
                where="model_device", hint="Move the model, or leave the model device empty.",
            )
        device = place if config.device == "auto" else resolve_device(config.device)
        return device, None if device == place else place
    if config.device != "auto" and canonical(config.device) != place:
        raise ConfigError(
            f"The model you gave is on {place}, but the device is {config.device}.", where="device",
            hint=f'Move the model, leave the device at "auto", or say model_device="{place}" to have both.',
        )
    return place, None


class Trainings:
    """The training runs of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._catalog = workspace.catalog
        self._runners = TrainingRunners(workspace)
        self._by_job: dict[str, list[str]] = {}
        workspace.manager.register(KIND, self._runners.make, self._runners.ended)

    # ------------------------------------------------------------------------------------------------ create

    def create(
        self,
        config: TrainingConfig | Mapping[str, Any],
        *,
        model: Any = None,
        tokenizer: Any = None,
        on_event: OnEvent = None,
    ) -> Run:
        """Queue a training and return at once.

        Args:
            config: the run; plain data works too.
            model, tokenizer: a transformers model you have loaded, used as it is (no second copy); `config.model` is
                then only its name.
            on_event: where its events go besides the catalog: a function of one event (see `saewidgets.events`), a
                `WandbSink`, a `TrackioSink`, or several. Each has a thread of its own, in this process; what it raises
                or how long it takes does not matter to the run.

        Raises:
            ConfigError: a setting cannot work, or the model has no such layer or reads no contexts of this length;
                `where` names the field. Of a model of the hub that was never loaded here the run itself finds out.
            NotFoundError: the model or the text is a path with nothing there.
            StorageError: the disk is full.
        """
        held = take(model, tokenizer)
        return self._start(_checked(config, held), held, on_event=on_event)

    def create_many(
        self,
        base_config: TrainingConfig | Mapping[str, Any],
        over: Over,
        *,
        model: Any = None,
        tokenizer: Any = None,
        on_event: OnEvent = None,
    ) -> TrainingGroup:
        """Queue one job that trains an SAE for every combination of settings, all fed by one language-model forward.

        ``over={"hook_name": ["blocks.2.hook_resid_post", "blocks.6.hook_resid_post"], "sae.k": [16, 32]}`` are four
        trainings. Each is a run of its own, with the result that it would have alone.

        Args:
            base_config: what is the same for all. As plain data it may lack what `over` gives (a transcoder's
                ``hook_name_out``).
            over: dotted name → values. What decides the stream of text cannot change (`config.group.SHARED`: model,
                corpus, context_size, tokens, batch_size, seed, device, activations); names that change together are
                one key, ``"hook_name, hook_name_out"``, whose values are pairs.
            model, tokenizer, on_event: as in `create`.

        Raises:
            ConfigError: a name cannot change within a group, or one of the combinations cannot work: none is started.
            NotFoundError: as in `create`.
            StorageError: the disk is full.
        """
        held = take(model, tokenizer)
        if isinstance(over, Mapping):  # it is read twice
            over = {name: list(v) if isinstance(v, Iterator) else v for name, v in over.items()}
        base = _checked(base_config, held, over)
        configs = expand(base, over)
        named = {str(config.name): config for config in configs}
        names = list(named) if len(named) == len(configs) else [None] * len(configs)
        tasks = [_New(config, name) for config, name in zip(configs, names, strict=True)]
        return self._start_group(tasks, base.name or group_name(configs), held, on_event)

    def retry_group(self, group_id: str, *, model: Any = None, tokenizer: Any = None) -> TrainingGroup:
        """A new group of the same configurations, each with `retry_of` set. Arguments and errors as in `retry`."""
        group = self.group(group_id)
        records = group.records
        held = take(model, tokenizer) or self._runners.held(records[0].id)
        if held is None and self.was_given_a_model(records[0]):
            raise missing(records[0].id, "Give it again: retry(model=model, tokenizer=tokenizer).")
        configs = from_rows((record.config, record.folder) for record in records)
        tasks = [_New(config, self.retry_name(r.id), r.id) for config, r in zip(configs, records, strict=True)]
        return self._start_group(tasks, unnumbered(group.name, group_name(configs)), held, None)

    def _start_group(self, tasks: Sequence[_New], wanted: str, held: Held | None, on_event: OnEvent) -> TrainingGroup:
        group_id = new_group_id()
        self._queue(tasks, held, group=(group_id, wanted), on_event=on_event)
        return TrainingGroup(self._workspace, group_id)

    def group(self, group_id: str) -> TrainingGroup:
        """The runs of one job. Raises `NotFoundError` if there are none."""
        group = TrainingGroup(self._workspace, group_id)
        group.records  # noqa: B018 - raises
        return group

    def retry(
        self,
        training_id: str,
        config: TrainingConfig | Mapping[str, Any] | None = None,
        *,
        model: Any = None,
        tokenizer: Any = None,
    ) -> Run:
        """A new run of the same configuration, with `retry_of` set, under the same name with a number.

        Args:
            training_id: the earlier run.
            config: what it should have been instead, as of `create`; its own name counts then.
            model, tokenizer: as in `create`; needed again if that run was given a model that is no longer in memory.

        Raises:
            ConfigError, NotFoundError, StorageError: as of `create`.
            StateError: the model that it was given is no longer in memory.
        """
        record = self._catalog.trainings.get(training_id)
        held = take(model, tokenizer)
        if config is not None:
            return self._start(_checked(config, held), held, retry_of=training_id)
        held = held or self._runners.held(training_id)
        if held is None and self.was_given_a_model(record):
            raise missing(training_id, "Give it again: retry(model=model, tokenizer=tokenizer).")
        name = self.retry_name(training_id)
        return self._start(from_row(record.config, record.folder), held, name=name, retry_of=training_id)

    def retry_name(self, training_id: str) -> str:
        """What a retry of this run is called."""
        return retry_name(self._catalog, self._catalog.trainings.get(training_id), self._free_name)

    def continue_from(
        self,
        training_id: str,
        checkpoint_id: str | None = None,
        *,
        tokens: int | None = None,
        model: Any = None,
        tokenizer: Any = None,
    ) -> Run:
        """A new run that goes on from a checkpoint of an earlier one, which stays as it is; `retry_of` names it.

        Args:
            training_id: the earlier run.
            checkpoint_id: which of its checkpoints; None takes the newest.
            tokens: where the new run ends, counted from the beginning of the earlier; None keeps its length.
            model, tokenizer: as in `retry`.

        Raises:
            NotFoundError: there is no such checkpoint.
            FormatError: it is damaged.
            ConfigError: the checkpoint is already at the end.
            StateError: it was given a model that is no longer in memory.
        """
        record = self._catalog.trainings.get(training_id)
        source = continuing.checkpoint_of(self._workspace, record, checkpoint_id)
        held = take(model, tokenizer) or self._runners.held(training_id)
        if held is None and self.was_given_a_model(record):
            raise missing(training_id, "Give it again: continue_from(..., model=model, tokenizer=tokenizer).")
        name = self._free_name(f"{record.name}-{'longer' if tokens is not None else f'from-{source.step}'}")
        config = continuing.longer(from_row(record.config, record.folder), tokens, source.tokens, name)
        return self._start(
            config, held, name=name, retry_of=training_id, prepare=continuing.taking(self._workspace, source),
        )

    def export(self, training_id: str, folder: str | Path) -> Path:
        """Write configuration, metrics (CSV), log and SAE of a run into a new or empty folder; returns its path.

        Raises:
            StorageError: the folder holds something, or cannot be written; nothing is left behind.
        """
        return export_run(self._workspace, self.get(training_id), Path(folder).expanduser())

    def was_given_a_model(self, record: TrainingRecord) -> bool:
        """Whether a model was handed to this training as an object, in whichever process."""
        if record.job_id is None:
            return False
        return bool(self._workspace.manager.get(record.job_id).payload.get("model_given"))

    def demo_config(self) -> TrainingConfig:
        """The run that *Train the demo* and ``saewidgets demo`` start."""
        return demo_config()

    def held(self, training_id: str) -> Held | None:
        """The model that was handed in for a training, if that was in this process."""
        return self._runners.held(training_id)

    def _start(
        self,
        config: TrainingConfig,
        held: Held | None,
        *,
        name: str | None = None,
        retry_of: str | None = None,
        prepare: continuing.Prepare | None = None,
        on_event: OnEvent = None,
    ) -> Run:
        task = _New(config, name, retry_of)
        return Run(self._workspace, self._queue([task], held, prepare=prepare, on_event=on_event)[0])

    def _queue(
        self,
        tasks: Sequence[_New],
        held: Held | None,
        *,
        group: tuple[str, str] | None = None,
        prepare: continuing.Prepare | None = None,
        on_event: OnEvent = None,
    ) -> Sequence[str]:
        """One job for all `tasks`; returns their ids. `group`: the id of what they belong to, the name it is to get."""
        on_event = as_sinks(on_event)
        configs = [self._concrete(task.config, held, begins=prepare is None) for task in tasks]
        require_shared(configs)
        require_fit(configs, held)
        ids = [new_training_id() for _ in tasks]
        lane = compute_lane(self._workspace.settings.host, configs[0].device)
        self._check_disk()
        made: dict[str, Path] = {}

        def insert(job_id: str) -> None:
            self._catalog.trainings.create_all([
                {
                    "id": training_id, "job_id": job_id, "config": rows[training_id], "model": config.model,
                    "name": task.name or config.name or config.default_name,
                    "name_given": task.name is None and bool(config.name),
                    "corpus": config.corpus.label, "hook_name": config.hook_name, "d_sae": config.sae.d_sae,
                    "architecture": config.sae.architecture, "device": config.device, "lane": lane,
                    "tokens_total": config.steps * config.batch_size, "folder": made[training_id],
                    "retry_of": task.retry_of, "group_id": group[0] if group else None,
                }
                for training_id, task, config in zip(ids, tasks, configs, strict=True)
            ], free_name)  # fmt: skip
            if prepare is not None:
                for training_id, folder in made.items():
                    prepare(training_id, folder)

        payload: dict[str, Any] = {"model_given": held is not None, "continues": prepare is not None}
        if group is None:
            payload["training_id"] = ids[0]
        else:
            payload |= {"training_ids": ids, "group_id": group[0], "group_name": group[1]}
        rows: dict[str, dict[str, Any]] = {}
        try:
            for training_id in ids:
                made[training_id] = self._new_folder(training_id)
                if held is not None:
                    self._runners.hold(training_id, held)
                self._runners.sinks.keep(training_id, on_event)
            rows.update(zip(ids, to_rows(configs, list(made.values())), strict=True))
            self._catalog.models.upsert(configs[0].model)
            self._catalog.datasets.upsert(dataset_name(configs[0].corpus), dataset_facts(configs[0].corpus))
            self._workspace.manager.submit(KIND, payload, lane, before_start=insert)
        except BaseException:
            for training_id, folder in made.items():
                self._undo(training_id, folder)
            raise
        return ids

    def _new_folder(self, training_id: str) -> Path:
        folder = self._workspace.folder / FOLDER / training_id
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise StorageError(
                f"The folder of the run cannot be made: {error.strerror or error}.", where=str(folder),
                hint="Check that the workspace can be written and that its disk has space.",
            ) from error
        return folder

    def concrete(self, config: TrainingConfig) -> TrainingConfig:
        """The configuration as a run of it would be recorded: a device for "auto", absolute paths, what a store of
        activations decides.

        Raises:
            ConfigError, NotFoundError: a setting cannot work here.
        """
        return self._concrete(config, None)

    def _undo(self, training_id: str, folder: Path) -> None:
        """Leave nothing of a run that could not be queued."""
        self._runners.forget(training_id)
        with contextlib.suppress(SAEWidgetsError):  # usually there is no row; the error that counts is the first one
            self._catalog.trainings.delete(training_id)
        shutil.rmtree(folder, ignore_errors=True)

    def _concrete(self, config: TrainingConfig, held: Held | None, *, begins: bool = True) -> TrainingConfig:
        """The configuration with what "auto" stands for and absolute paths: it must mean the same elsewhere. A run that
        does not begin, but goes on from a checkpoint, needs nothing to start from."""
        changes: dict[str, Any] = {}
        if held is not None:
            changes["device"], changes["model_device"] = _devices_of(config, device_of(held))
            if "model" not in config.model_fields_set:
                changes["model"] = str(getattr(held.model, "name_or_path", "") or type(held.model).__name__)
        else:
            wanted = self._workspace.settings.device if config.device == "auto" else config.device
            changes["device"] = resolve_device(wanted)
            changes["model_device"] = _elsewhere(config.model_device, changes["device"], "model_device")
            if config.model != "demo" and os.path.isdir(os.path.expanduser(config.model)):
                changes["model"] = str(Path(config.model).expanduser().absolute())
        changes["activations.buffer_device"] = _elsewhere(
            config.activations.buffer_device, changes["device"], "activations.buffer_device"
        )
        changes.update({f"corpus.{name}": value for name, value in located(config.corpus).items()})
        changes |= settings_of_store(self._workspace, config)
        config = config.replace(**changes)
        return starting.checked(self._workspace, config) if begins else config

    def _check_disk(self) -> None:
        try:
            free = shutil.disk_usage(self._workspace.folder).free
        except OSError as error:
            raise StorageError(
                f"The workspace cannot be read: {error.strerror or error}.", where=str(self._workspace.folder),
                hint="Was its folder moved or deleted? Open the workspace where it is now.",
            ) from error
        if free < MIN_FREE_BYTES:
            raise StorageError(
                f"Not enough disk space: {free / 1e6:.0f} MB free.",
                where=str(self._workspace.folder),
                hint="Delete trainings you no longer need, or open a workspace on another disk.",
            )

    def _free_name(self, wanted: str) -> str:
        return free_name(wanted, self._catalog.trainings.names_like(wanted))

    # ------------------------------------------------------------------------------------------------ find

    def list(
        self,
        *,
        status: JobStatus | str | Collection[JobStatus | str] | None = None,
        model: str | None = None,
        search: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Records[TrainingRecord]:
        """Runs, newest first. `search` looks in names, models and hook names; `model` is one of its names.

        Raises:
            ConfigError: there is no such status.
        """
        self._workspace.manager.sweep()
        return self._catalog.trainings.list(status=status, model=model, search=search, limit=limit, offset=offset)

    def get(self, training_id: str) -> Run:
        """The run with this id, with this name, or whose id begins so: ``train_`` and at least four characters more.

        Raises:
            NotFoundError: there is none, or several fit; the message lists them.
            ConfigError: the id is empty.
        """
        return Run(self._workspace, self._find(training_id, beginnings=True))

    def _find(self, wanted: str, *, beginnings: bool = False) -> str:
        """The id of the one run that `wanted` means. What destroys a run takes no beginnings of ids."""
        if not wanted.strip():
            raise ConfigError("The id of the training is empty.", where="training_id", hint="Give an id or a name.")
        try:
            return self._catalog.trainings.get(wanted).id
        except NotFoundError:
            records = self._catalog.trainings.list()
        begins = beginnings and _BEGINNING.fullmatch(wanted) is not None
        found = [r.id for r in records if r.name == wanted or (begins and r.id.startswith(wanted))]
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(found[:5])
            raise NotFoundError(f"{len(found)} trainings match {wanted!r}: {listed}.", hint="Give the whole id.")
        hint = "List them with ws.trainings.list() or `saewidgets list`."
        if any(r.id.startswith(wanted) for r in records):
            needs = "at least four characters after train_" if beginnings else "the whole id, or the name"
            hint = f"An id begins so, but this takes {needs}."
        raise NotFoundError(f"There is no training {wanted!r}.", hint=hint)

    def metric_columns(
        self,
        training_id: str,
        names: Sequence[str] | None = None,
        min_step: int | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> dict[str, Any]:
        """Metrics in wide form for charts and tables: numpy arrays ``step tokens time`` and one per name (None: all).

        Rows are the steps at which any of them was recorded; where one was not, it is NaN.
        """
        self._workspace.manager.flush()
        names = self._catalog.metrics.names(training_id) if names is None else names
        return wide(self._catalog.metrics.query(training_id, names, min_step=min_step), names, limit, offset)

    def subscribe(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        """See `Workspace.subscribe`."""

        def on_update(job_id: str, updates: Any) -> None:
            for training_id in self._of_job(job_id):
                callback(training_id)

        return self._workspace.manager.subscribe(on_update)

    def _of_job(self, job_id: str) -> Sequence[str | None]:
        """Ids of the trainings of a job; they never change, so each is looked up once. `[None]`: not known yet."""
        if job_id not in self._by_job:
            found = [record.id for record in self._catalog.trainings.by_job(job_id)]
            if not found:
                job = self._catalog.jobs.list(ids=[job_id])
                if not job or job[0].kind == KIND:
                    return [None]
            self._by_job[job_id] = found  # none: a job of another kind
        return self._by_job[job_id]

    def validate(self, config: TrainingConfig | Mapping[str, Any], over: Over | None = None) -> dict[str, Any]:
        """Check a form without starting anything: errors by field, hints, facts of the model, an estimate.

        With `over` (see `create_many`) the estimate is that of all trainings together, their names are in
        ``trainings``, and what is wrong with it is the error of the field ``over``.

        Args:
            config: what `create` takes: a configuration, or plain data, any of which may be wrong.
            over: what changes between the trainings of a group.

        Raises:
            ConfigError: it is neither.
        """
        if isinstance(config, TrainingConfig):
            config = config.to_data()
        _require_settings(config)
        return form.check(self._workspace, config, self._free_name, over)

    # ------------------------------------------------------------------------------------------------ change

    def close(self) -> None:
        """Give the sinks of runs that have ended a moment to take what is left."""
        self._runners.sinks.close()

    def _require_rest(self, record: TrainingRecord) -> None:
        """Raises `StateError` while the job of a group is queued or runs: its runs stay where they are."""
        let_close(self._workspace, record)
        status = JobStatus.INTERRUPTED if record.job_id is None else self._workspace.manager.get(record.job_id).status
        if status is JobStatus.QUEUED or status.is_active:
            raise StateError(
                f"The group of {record.name} is {status}.", where=record.id,
                hint="Wait until it has ended, or pause or stop it; then delete the run.",
            )

    def rename(self, training_id: str, name: str) -> None:
        """Give a run another name. Raises `ConfigError` if it is empty or too long."""
        self._catalog.trainings.rename(training_id, arguments.name(name, "what to call the run"))

    def delete(self, training_id: str) -> int:
        """Remove a run with its metrics, checkpoints and files. An SAE imported from it stays. Returns the bytes freed.

        Its extractions and labels go to that SAE; without one they are removed too.

        Args:
            training_id: its whole id, or its name.

        Raises:
            StateError: it is running; stop it first.
            NotFoundError: there is no such run, or several have this name.
            ConfigError: the id is empty.
        """
        record = Run(self._workspace, self._find(training_id)).record
        if record.status.is_active:
            raise StateError(f"{record.name} is {record.status}.", where=record.id, hint="Stop it, then delete it.")
        if record.group_id is not None:
            self._require_rest(record)
        elif record.status is JobStatus.QUEUED and record.job_id is not None:
            self._workspace.manager.request(record.job_id, "cancel")
        extractions = self._catalog.extractions.owned_by(training_id=record.id)
        folder = self._catalog.trainings.delete(record.id)
        self._runners.forget(record.id)
        self._by_job.pop(record.job_id or "", None)
        freed = self._workspace.extractions.remove_files(extractions)
        self._workspace.features.forget(record.id)
        return freed + remove_tree(self._workspace.folder, folder)
