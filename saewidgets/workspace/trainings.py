"""`ws.trainings`: create, find and remove training runs."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import new_group_id, new_training_id
from saewidgets.config import (
    ActivationCorpus,
    ActivationsConfig,
    DemoCorpus,
    OptimizerConfig,
    TopKConfig,
    TrainingConfig,
    arguments,
)
from saewidgets.config.group import Over, expand, group_name
from saewidgets.config.names import free_name
from saewidgets.durable import require_space
from saewidgets.errors import SAEWidgetsError, StateError
from saewidgets.events import JobStatus
from saewidgets.records import Records, TrainingRecord
from saewidgets.workspace.capture.stored_corpus import total_tokens
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.corpora import dataset_name, from_row, from_rows, to_rows
from saewidgets.workspace.folders import require_files
from saewidgets.workspace.lookup import Ref
from saewidgets.workspace.sinks import OnEvent, Sinks, as_sinks
from saewidgets.workspace.tasks import Tasks
from saewidgets.workspace.training import checkpoints, form
from saewidgets.workspace.training.estimates import devices
from saewidgets.workspace.training.run import Run, TrainingGroup, let_close
from saewidgets.workspace.training.run_tables import export_run, wide
from saewidgets.workspace.training.settle import concrete, from_caller, require_settings, settle, with_pretrained
from saewidgets.workspace.training.training_job import KIND, run_trainings
from saewidgets.workspace.user_models import UserModel, corpus_of, missing, take

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


def demo_config() -> TrainingConfig:
    """A TopK autoencoder on what the first block of the embedded model passes on."""
    return TrainingConfig(
        model="demo",
        corpus=DemoCorpus(),
        hook_name="blocks.0.hook_resid_post",
        context_size=256,
        sae=TopKConfig(d_sae=4096, k=32),
        tokens=2_600_000,
        batch_size=1024,
        optimizer=OptimizerConfig(lr=2.5e-3),
        activations=ActivationsConfig(model_batch_size=16, shuffle_tokens=65_536),
    )


_UNDOING = 20.0  # seconds that a job has to end whose group could not be started whole
MIN_FREE_BYTES = 64 * 1024**2  # below this not even a small run's first checkpoint fits


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be queued. `name` gets a number where another run has it; None takes the one of the configuration as it
    is, else its default."""

    config: TrainingConfig
    name: str | None = None
    retry_of: str | None = None


@checks_arguments
class Trainings:
    """The training runs of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._catalog = workspace.catalog
        self._sinks = Sinks(workspace)
        self._tasks = Tasks(
            workspace, KIND, partial(run_trainings, workspace, self._sinks), rows=workspace.catalog.trainings,
            folder="trainings", key="training_id", forget=self._sinks.forget,
        )  # fmt: skip
        self.follow = self._tasks.follow

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
        held = take(model, tokenizer, corpus_of(config))
        return self._start([NewRun(from_caller(config, held))], held, on_event)

    def create_many(
        self,
        base_config: TrainingConfig | Mapping[str, Any],
        over: Over,
        *,
        model: Any = None,
        tokenizer: Any = None,
        on_event: OnEvent = None,
        spread: bool | int = False,
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
            spread: in how many jobs, each with a forward of its own, so that several GPUs work at once; True: as many
                as `Workspace.places`. Where jobs run here, they take its GPUs in turn, unless a device is named.

        Raises as `create`, and `ConfigError` if a name cannot change within a group, or one of the combinations cannot
        work: none is started.
        """
        held = take(model, tokenizer, corpus_of(base_config))
        if isinstance(over, Mapping):  # it is read twice
            over = {name: list(v) if isinstance(v, Iterator) else v for name, v in over.items()}
        base = from_caller(base_config, held, over)
        configs = expand(base, over)
        named = {str(config.name): config for config in configs}
        names = list(named) if len(named) == len(configs) else [None] * len(configs)
        new = [NewRun(config, name) for config, name in zip(configs, names, strict=True)]
        wanted, settings = self._workspace.places() if spread is True else spread or 1, self._workspace.settings
        jobs = min(arguments.count(wanted, "spread", "a number of jobs", least=1), len(new))
        parts = [new[len(new) * part // jobs : len(new) * (part + 1) // jobs] for part in range(jobs)]
        if jobs > 1 and held is None and not settings.places and base.device == settings.device == "auto":
            gpus = [each.id for each in devices() if each.id != "cpu"]
            for part, gpu in zip(parts, itertools.cycle(gpus)):
                part[:] = [replace(each, config=each.config.replace(device=gpu)) for each in part]
        return self._start_group(parts, base.name or group_name(configs), held, on_event)

    def retry_group(self, group_id: Ref, *, model: Any = None, tokenizer: Any = None) -> TrainingGroup:
        """A new group of the same configurations, each with `retry_of` set. Arguments and errors as in `retry`."""
        records = self.group(group_id).records
        held = self._model_of(records[0], model, tokenizer, "retry(")
        configs = from_rows((record.config, record.folder) for record in records)
        jobs: dict[str | None, list[NewRun]] = {}
        for config, r in zip(configs, records, strict=True):
            jobs.setdefault(r.job_id, []).append(NewRun(config, self.retry_name(r.id), r.id))
        taken = {record.group_name for record in self._catalog.trainings.list()}
        return self._start_group(list(jobs.values()), _unnumbered(records[0].group_name or group_id, taken), held)

    def _start_group(
        self, parts: Sequence[Sequence[NewRun]], name: str, held: UserModel | None, on_event: OnEvent = None
    ) -> TrainingGroup:
        """Queue one job for each of the `parts`, or none."""
        group = TrainingGroup(self._workspace, new_group_id())
        for part in parts if len(parts) > 1 else ():
            settle(self._workspace, [each.config for each in part], held)  # raises before one is started
        try:
            for part in parts:
                self._start(part, held, on_event, group=(group.id, name))
        except BaseException:
            with contextlib.suppress(SAEWidgetsError):  # the first error counts
                group.cancel()
                group.wait(_UNDOING)
                group.delete()
            raise
        return group

    def group(self, group_id: Ref) -> TrainingGroup:
        """The runs of one job. Raises `NotFoundError` if there are none."""
        group = TrainingGroup(self._workspace, group_id)
        group.records  # noqa: B018 - raises
        return group

    def retry(
        self,
        training_id: Ref,
        config: TrainingConfig | Mapping[str, Any] | None = None,
        *,
        model: Any = None,
        tokenizer: Any = None,
    ) -> Run:
        """A new run of the same configuration, with `retry_of` set, under the same name with a number.

        Args:
            training_id: the earlier run.
            config: replacement settings, as in `create`; the name is then taken from them.
            model, tokenizer: as in `create`; needed again if that run was given a model that is no longer in memory
                (else `StateError`).
        """
        record = self._catalog.trainings.get(training_id)
        if config is not None:
            held = take(model, tokenizer, corpus_of(config))
            return self._start([NewRun(from_caller(config, held), retry_of=training_id)], held)
        held = self._model_of(record, model, tokenizer, "retry(")
        name = self.retry_name(training_id)
        return self._start([NewRun(from_row(record.config, record.folder), name, training_id)], held)

    def retry_name(self, training_id: Ref) -> str:
        """The name of a retry of this run."""
        name = self._catalog.trainings.get(training_id).name
        return self._free_name(_unnumbered(name, self._catalog.trainings.names_like(name.rpartition("-")[0])))

    def continue_from(
        self,
        training_id: Ref,
        checkpoint_id: str | None = None,
        *,
        tokens: int | None = None,
        model: Any = None,
        tokenizer: Any = None,
    ) -> Run:
        """A new run that goes on from a checkpoint (None: the newest) of an earlier one, which stays as it is;
        `retry_of` names it. `tokens` is where the new run ends, counted from the beginning of the earlier; None keeps
        its length. `model` and `tokenizer` are those of `retry`.

        Raises:
            NotFoundError, FormatError: there is no such checkpoint, or it is damaged.
            ConfigError: the checkpoint is already at the end.
            StateError: it was given a model that is no longer in memory.
        """
        record = self._catalog.trainings.get(training_id)
        source = checkpoints.checkpoint_of(self._workspace, record, checkpoint_id)
        held = self._model_of(record, model, tokenizer, "continue_from(..., ")
        name = self._free_name(f"{record.name}-{'longer' if tokens is not None else f'from-{source.step}'}")
        config = checkpoints.longer(from_row(record.config, record.folder), tokens, source.tokens, name)
        prepare = checkpoints.checkpoint_copier(self._workspace, source)
        return self._start([NewRun(config, name, training_id)], held, prepare=prepare)

    def export(self, training_id: Ref, folder: str | Path) -> Path:
        """Write configuration, metrics (CSV), log and SAE of a run into a new or empty folder; returns its path.

        Warns where the run has no SAE (yet); the rest is written all the same. Raises `StorageError` where the folder
        holds something, or cannot be written; nothing is left behind.
        """
        return export_run(self._workspace, self.get(training_id), Path(folder).expanduser())

    def _model_of(self, record: TrainingRecord, model: Any, tokenizer: Any, call: str) -> UserModel | None:
        """The given model, else the one its run was given. Raises `StateError` if that is no longer in memory."""
        held = take(model, tokenizer, record.config.get("corpus")) or self._tasks.held(record.id)
        if held is None and self.was_given_a_model(record):
            raise missing(record.id, f"Give it again: {call}model=model, tokenizer=tokenizer).")
        return held

    def was_given_a_model(self, record: TrainingRecord) -> bool:
        """Whether this training was given a model as an object, in any process."""
        if record.job_id is None:
            return False
        return bool(self._workspace.manager.get(record.job_id).payload.get("model_given"))

    def demo_config(self) -> TrainingConfig:
        """The run that *Train the demo* and ``saewidgets demo`` start."""
        return demo_config()

    def held(self, training_id: Ref) -> UserModel | None:
        """The model object given to a training, if that was in this process."""
        return self._tasks.held(training_id)

    def _start(
        self,
        new: Sequence[NewRun],
        held: UserModel | None,
        on_event: OnEvent = None,
        *,
        group: tuple[str, str] | None = None,
        prepare: checkpoints.Prepare | None = None,
    ) -> Run:
        """Queue one job for all `new`, of the `group` with this id and name; returns the first. `prepare` puts the
        checkpoint that it goes on from into its folder."""
        workspace, sinks = self._workspace, [] if on_event is None else as_sinks(on_event)
        self._tasks.require_local("on_event", "What receives events", bool(sinks), "Read run.metrics() instead.")
        configs = settle(workspace, [each.config for each in new], held, begins=prepare is None)
        totals = [
            total_tokens(workspace, config) if isinstance(config.corpus, ActivationCorpus)
            else config.steps * config.batch_size
            for config in configs
        ]  # fmt: skip
        first = configs[0]
        hint = "Delete trainings you no longer need, or open a workspace on another disk."
        require_space(workspace.folder, MIN_FREE_BYTES, "a run", hint)

        def insert(job_id: str, folders: Mapping[str, Path]) -> None:
            data = to_rows(configs, list(folders.values()))
            self._catalog.trainings.create_all([
                {
                    "id": training_id, "job_id": job_id, "config": row, "model": config.model,
                    "name": each.name or config.name or config.default_name,
                    "name_given": each.name is None and bool(config.name),
                    "corpus": config.corpus.label, "dataset_id": dataset_name(config.corpus),
                    "hook_name": config.hook_name, "d_sae": config.sae.d_sae,
                    "architecture": config.sae.architecture, "device": config.device,
                    "lane": workspace.manager.lane(first.device), "tokens_total": total, "folder": folder,
                    "retry_of": each.retry_of, "group_id": group[0] if group else None,
                }
                for (training_id, folder), row, each, config, total in zip(
                    folders.items(), data, new, configs, totals, strict=True
                )
            ], free_name)  # fmt: skip
            for training_id, folder in folders.items():
                if sinks:
                    self._sinks.keep(training_id, sinks)
                if prepare is not None:
                    prepare(training_id, folder)

        payload: dict[str, Any] = {"continues": prepare is not None, "workers": first.parallel.workers}
        if group is not None:
            payload |= {"group_id": group[0], "group_name": group[1]}
        ids = self._tasks.submit(
            new_training_id, first.device, insert, count=None if group is None else len(new), payload=payload,
            held=held, model=first.model, corpus=first.corpus,
        )  # fmt: skip
        return Run(workspace, ids[0])

    def concrete(self, config: TrainingConfig) -> TrainingConfig:
        """The configuration as a run of it would be recorded: a device for "auto", absolute paths, what a store of
        activations decides. Raises `ConfigError` or `NotFoundError` where a setting cannot work here."""
        return with_pretrained(self._workspace, concrete(self._workspace, config, None))

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
        """Runs, newest first. `search` looks in names, models and hook names; `model` is one of its names. Raises
        `ConfigError` if there is no such status."""
        self._workspace.manager.sweep()
        return self._catalog.trainings.list(status=status, model=model, search=search, limit=limit, offset=offset)

    def not_imported(self) -> dict[str, str]:
        """Completed runs whose SAE is not in the library: id → name, newest first. `import_to_saes` brings one there.
        """
        return self._catalog.trainings.not_imported()

    def get(self, training_id: Ref) -> Run:
        """The run with this id, with this name, or whose id begins so: ``train_`` and at least four characters more.
        Raises `NotFoundError`, which lists those that fit where several do."""
        return Run(self._workspace, self._catalog.trainings.get(training_id).id)

    def metric_columns(
        self,
        training_id: Ref,
        names: Sequence[str] | None = None,
        min_step: int | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> dict[str, Any]:
        """Metrics in wide form for charts and tables: numpy arrays ``step tokens time`` and one per name (None: all).

        Rows are the steps at which any of them was recorded; where one was not, it is NaN.
        """
        names = self._catalog.metrics.names(training_id) if names is None else names
        return wide(self._catalog.metrics.query(training_id, names, min_step=min_step), names, limit, offset)

    def subscribe(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        """See `Workspace.subscribe`."""
        return self._tasks.subscribe(callback)

    def validate(self, config: TrainingConfig | Mapping[str, Any], over: Over | None = None) -> dict[str, Any]:
        """Check a form without starting anything: errors by field, hints, facts of the model, an estimate. Of plain
        data any may be wrong.

        With `over` (see `create_many`) the estimate is that of all trainings together, their names are in
        ``trainings``, and what is wrong with it is the error of the field ``over``.
        """
        if isinstance(config, TrainingConfig):
            config = config.to_data()
        require_settings(config)
        return form.check(self._workspace, config, self._free_name, over)

    # ------------------------------------------------------------------------------------------------ change

    def close(self) -> None:
        """Give the sinks of runs that have ended a moment to take what is left."""
        self._sinks.close()

    def rename(self, training_id: Ref, name: str) -> None:
        """Give a run another name. Raises `ConfigError` if it is empty or too long."""
        self._catalog.trainings.update(training_id, name=arguments.name(name, "a name for the run"))

    def delete(self, training_id: Ref) -> int:
        """Remove a run, by its whole id or its name, with its metrics, checkpoints and files. Returns the bytes freed.

        An SAE imported from it stays, and gets its extractions and labels; without one they are removed too.

        Raises:
            StateError: it is running; stop it first. Or files of it, or of its extractions, are on another machine.
            NotFoundError: there is no such run, or several have this name.
        """
        record = self.require_deletable(training_id)
        extractions = self._catalog.extractions.owned_by(training_id=record.id)
        freed = self._tasks.delete(record)
        self._workspace.features.forget(record.id)
        return freed + self._workspace.extractions.remove_files(extractions)

    def require_deletable(self, training_id: Ref) -> TrainingRecord:
        """The record of a run that `delete` would remove now. Raises what `delete` raises."""
        record = Run(self._workspace, training_id).record
        if record.group_id is not None and not record.status.is_active:
            let_close(self._workspace, record)
            manager = self._workspace.manager
            status = JobStatus.INTERRUPTED if record.job_id is None else manager.get(record.job_id).status
            if status is JobStatus.QUEUED or status.is_active:
                raise StateError(
                    f"The group of {record.name} is {status}.", where=record.id,
                    hint="Wait until it has ended, or pause or stop it; then delete the run.",
                )
        extractions = self._catalog.extractions.owned_by(training_id=record.id)
        if record.sae_id is None:  # to which they would go
            require_files(self._workspace, *map(self._catalog.extractions.get, extractions))
        self._tasks.require_deletable(record)
        return record


def _unnumbered(name: str, taken: Collection[str | None]) -> str:
    """The name "mine" of "mine-2", where there is a "mine": a number that a person chose stays."""
    stem, _, number = name.rpartition("-")
    return stem if number.isdigit() and stem in taken else name
