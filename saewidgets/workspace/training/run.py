"""`Run`: the handle of one training; `TrainingGroup`: that of trainings that run as one job."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig, arguments
from saewidgets.config.names import shown_model
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.jobs.states import JobCommand, plan
from saewidgets.records import CheckpointRecord, ErrorInfo, JobRecord, Records, SAERecord, TrainingRecord
from saewidgets.render.static_views import group_card
from saewidgets.settings import resolve_device
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.corpora import from_row
from saewidgets.workspace.handle import JobHandle, or_deleted
from saewidgets.workspace.training.advice import HISTORY, Advice, advise
from saewidgets.workspace.training.checkpoints import (
    delete_checkpoint,
    export_newest,
    no_checkpoint,
    no_sae,
    sae_of_checkpoint,
)
from saewidgets.workspace.training.run_tables import differs, known_names, settings

if TYPE_CHECKING:
    import pandas as pd

    from saewidgets.workspace.reading.evaluation_report import EvaluationReport
    from saewidgets.workspace.workspace import Workspace

Time = float | datetime | None
_LEVELS = {"info": "", "warning": "Warning: ", "error": "Error: "}
_NOT_COMPARED = ("corpus.strings", "name")  # text, and what is shown anyway


def _unix(when: Time, name: str) -> float | None:
    if isinstance(when, datetime):
        return when.timestamp()
    if when is not None and (isinstance(when, bool) or not isinstance(when, int | float)):
        raise ConfigError(f"{name} is {when!r}.", where=name, hint="Give a datetime or Unix seconds.")
    return when


@checks_arguments
class Run(JobHandle[TrainingRecord]):
    """One training. It holds no state of its own: every property reads the catalog.

    Of a group (see `TrainingGroup`) `pause` and `resume` concern all runs of its job; `stop` and `cancel` end this one
    alone.
    """

    _what = "training"

    def __init__(self, workspace: Workspace, training_id: str) -> None:
        super().__init__(workspace, workspace.catalog.trainings, training_id)

    # ------------------------------------------------------------------------------------------------ looking

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def config(self) -> TrainingConfig:
        """Its configuration, with the text that it was given in memory. Raises `NotFoundError` if that is on another
        machine, or was deleted."""
        record = self.record
        return from_row(record.config, record.folder)

    def template_config(self) -> TrainingConfig:
        """Its configuration as a template keeps it: the device is "auto" where that means the same device here.

        Nothing records whether that device was chosen by the user, and a template goes to machines without it.
        """
        config, wanted = self.config, self._workspace.settings.device
        try:
            automatic = resolve_device(wanted) == config.device
        except ConfigError:  # the setting names a device that is gone: "auto" would not run at all
            automatic = False
        return config.replace(device="auto") if automatic else config

    def metrics(
        self,
        names: str | Sequence[str] | None = None,
        *,
        since: Time = None,
        until: Time = None,
        min_step: int | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> pd.DataFrame:
        """Recorded metrics in long form: columns ``step tokens time name value``, oldest first.

        Args:
            names: which metrics (``["loss", "l0", "fvu"]``, or one name); None for all.
            since, until: time range, Unix seconds or datetimes.

        Raises:
            NotFoundError: the run has no such metric, or was deleted. One that it may still measure is only absent.
        """
        first, last = _unix(since, "since"), _unix(until, "until")
        import pandas as pd  # costs half a second

        wanted = known_names(self._rows.get(self.id), names)
        frame = self._workspace.catalog.metrics.query(
            self.id, wanted, since=first, until=last, min_step=min_step, limit=limit, offset=offset
        ).to_df()
        frame["time"] = pd.to_datetime(frame["time"], unit="s", utc=True)
        return frame

    def history(self, names: str | Sequence[str] | None = None) -> pd.DataFrame:
        """Recorded metrics in wide form: columns ``step tokens time`` and one for each of `names` (None: all), one row
        per step; NaN where a metric was not recorded then. `metrics` has the long form, with ranges and pages, and the
        same errors."""
        import pandas as pd  # costs half a second

        wanted = known_names(self._rows.get(self.id), names)
        frame = pd.DataFrame(self._workspace.trainings.metric_columns(self.id, wanted))
        frame["time"] = pd.to_datetime(frame["time"], unit="s", utc=True)
        return frame.astype({"step": "int64", "tokens": "int64"})

    def advice(self) -> Records[Advice]:
        """What to change, the gravest first; empty when nothing stands out. See `saewidgets.workspace.training.advice`.

        ``run.config.replace(**advice.changes)`` is the configuration with a piece of advice taken.
        """
        return Records(advise(self.record, self._workspace.trainings.metric_columns(self.id, HISTORY)), Advice)

    def checkpoints(self) -> Records[CheckpointRecord]:
        """Checkpoints on disk, oldest first. Raises `NotFoundError` if the run was deleted."""
        self._rows.get(self.id)  # raises: the table of checkpoints alone would be silent
        return self._workspace.catalog.checkpoints.list(self.id)

    def log(self, limit: int = 200) -> list[str]:
        """The last `limit` lines of its log, oldest first."""
        lines = self._workspace.catalog.jobs.log(self._job_id, training_id=self.id, limit=limit)
        return [f"{datetime.fromtimestamp(line.time):%H:%M:%S} {_LEVELS[line.level]}{line.message}" for line in lines]

    # ------------------------------------------------------------------------------------------------ steering

    def stop(self, save: bool = True) -> None:
        """End early and keep what was learned (`save=False`: keep nothing new).

        A run that is paused or interrupted is not loaded again: the SAE is that of its last checkpoint.
        """
        asleep = self.status in (JobStatus.PAUSED, JobStatus.INTERRUPTED)
        if not self._end_alone(save):
            super().stop(save)
        if asleep and save:
            export_newest(self._workspace, self)

    def cancel(self) -> None:
        """End early and keep nothing new."""
        if not self._end_alone(save=False):
            super().cancel()

    def _end_alone(self, save: bool) -> bool:
        """End one run of a group; False where it is the last one (or has no group), so that its job is what to end."""
        record, manager = self._rows.get(self.id), self._manager
        if record.group_id is None or record.job_id is None:
            return False
        command: JobCommand = "stop" if save else "cancel"
        if plan(command, record.status) is None:  # raises where it makes no sense
            return True
        if all(each.id == self.id or each.ended_alone for each in self._rows.by_job(record.job_id)):
            return False
        if manager.get(record.job_id).status.is_active:
            self._rows.update(self.id, own_command=command)
            return True
        ended = JobStatus.STOPPED if save else JobStatus.CANCELLED
        # The command stays: a job that starts at this moment finds it.
        ended_at = self._workspace.catalog.now()
        self._rows.update(self.id, own_status=ended.value, own_command=command, ended_at=ended_at)
        return True

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Wait until it has ended or is paused, at most `timeout` seconds; returns the status then."""
        if self._rows.get(self.id).group_id is None:
            return super().wait(timeout)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            record, left = self.record, deadline - time.monotonic()
            if record.status.is_final or record.status is JobStatus.PAUSED or left <= 0:
                if record.ended_alone and left > 0:
                    let_close(self._workspace, record, left)
                return record.status
            self._manager.wait(self._job_id, min(left, self._manager.settings.poll))

    def result(self, timeout: float | None = None) -> Any:
        """What its training returned (a `training.TrainingResult`); raises what made it fail."""
        if self._rows.get(self.id).group_id is None:
            return super().result(timeout)
        self.wait(timeout)
        record = self.record
        if record.status is JobStatus.FAILED:
            error = record.error or ErrorInfo("The training failed.")
            raise SAEWidgetsError(error.what, where=error.where, hint=error.hint)
        if record.status not in (JobStatus.COMPLETED, JobStatus.STOPPED):
            raise StateError(f"{record.name} is {record.status} and has no result.", hint="Wait for it, or resume it.")
        from saewidgets.training.member import TrainingResult  # torch: seconds to import

        return TrainingResult(record.status, record.step, record.tokens_done, record.sae_path, dict(record.latest))

    def export_checkpoint(self) -> None:
        """Make the SAE of its newest checkpoint, without loading the language model. Raises `NotFoundError` if it has
        none, and `FormatError` if all are damaged."""
        if not export_newest(self._workspace, self):
            raise no_checkpoint(self.record)

    @property
    def group(self) -> TrainingGroup | None:
        """The runs it shares a job with; None where it runs by itself."""
        group_id = self._rows.get(self.id).group_id
        return None if group_id is None else self._workspace.trainings.group(group_id)

    def retry(self, *, model: Any = None, tokenizer: Any = None) -> Run:
        """Start over as a new run of the same configuration, with `retry_of` set to this one. Raises `StateError` if
        its model was an object that is no longer in memory: give `model` and `tokenizer` again."""
        return self._workspace.trainings.retry(self.id, model=model, tokenizer=tokenizer)

    def train_longer(self, tokens: int | None = None) -> Run:
        """A new run that goes on from this one's newest checkpoint until `tokens` in all (None: twice as many), with
        the schedules of a run of that length. This run stays as it is. Raises as `continue_from`, and `StateError`
        while it works."""
        record = self.record
        if record.status.is_active:
            raise StateError(f"{record.name} is {record.status}.", where=self.id, hint="Wait until it has ended.")
        return self.continue_from(tokens=2 * record.tokens_total if tokens is None else tokens)

    def continue_from(self, checkpoint_id: str | None = None, *, tokens: int | None = None) -> Run:
        """See `Trainings.continue_from`."""
        return self._workspace.trainings.continue_from(self.id, checkpoint_id, tokens=tokens)

    def delete_checkpoint(self, checkpoint_id: str) -> int:
        """Delete one checkpoint with its files; returns the bytes freed. Raises `NotFoundError`, and `StateError` while
        the run works and would go on from that one."""
        return delete_checkpoint(self._workspace, self.record, checkpoint_id)

    def checkpoint_now(self) -> None:
        """Write a checkpoint after the current step. Raises `StateError` if it does not run in this process."""
        self._workspace.manager.ask_checkpoint(self._job_id)

    def rename(self, name: str) -> None:
        """Give it another name."""
        self._workspace.trainings.rename(self.id, name)

    def delete(self) -> None:
        """Remove it with its checkpoints, metrics and files. An SAE imported from it stays."""
        self._workspace.trainings.delete(self.id)

    # ------------------------------------------------------------------------------------------------ what it learned

    def sae(self) -> Any:
        """The trained SAE as a torch module. Raises `StateError` if it has not written one yet."""
        from saewidgets.formats import load_sae  # torch: seconds to import

        return load_sae(self.sae_path)

    @property
    def sae_path(self) -> Path:
        """Folder of the SAE in SAELens' format. Raises `StateError` while there is none."""
        record = self.record
        if record.sae_path is None:
            raise no_sae(record)
        path = self._workspace.storage.fetch(record.sae_path)
        if not path.is_dir():
            hint = f"They are or were on {record.host}."
            raise NotFoundError("The files of the SAE are not here.", where=str(path), hint=hint)
        return path

    def import_to_saes(self) -> SAERecord:
        """Put its SAE into the library; a second call returns the same record, renewed if it has learned more."""
        return self._workspace.saes.import_training(self.id)

    def import_checkpoint(self, checkpoint_id: str | None = None) -> SAERecord:
        """Put the SAE of one checkpoint (None: the newest) into the library, as an SAE of its own. Raises
        `NotFoundError`, and `FormatError` if it is damaged."""
        return sae_of_checkpoint(self._workspace, self, checkpoint_id)

    def export(self, folder: str | Path) -> Path:
        """See `Trainings.export`."""
        return self._workspace.trainings.export(self.id, folder)

    def evaluate(
        self, corpus: Any = None, *, tokens: int = 65_536, model: Any = None, tokenizer: Any = None, **settings: Any
    ) -> EvaluationReport:
        """See `Workspace.evaluate`."""
        return self._workspace.evaluate(self, corpus, tokens=tokens, model=model, tokenizer=tokenizer, **settings)

    def _facts(self, record: TrainingRecord) -> dict[str, str]:
        known = "dead" if "dead" in record.latest else "val_dead"  # the run may be shorter than its dead window
        return {
            "Model and hook": f"{shown_model(record.model)} · {record.hook_name}",
            "Autoencoder": f"{record.architecture} · d_sae {record.d_sae:,}",
            "Tokens": f"{record.tokens_done:,} of {record.tokens_total:,}, step {record.step:,}",
            **{name: f"{record.latest[name]:.4g}" for name in ("loss", "l0", "fvu", known) if name in record.latest},
        }


@checks_arguments
class TrainingGroup(JobHandle[JobRecord]):
    """Trainings that one language-model forward feeds, or that were spread over several jobs with a forward each. It
    holds no state of its own: every property reads the catalog.

    The verbs concern all of them, as do `pause` and `resume` of a single run those of its job; `stop` and `cancel` of a
    run end it alone. A run that diverged, or reached its targets, has ended by itself and stays as it is.
    """

    def __init__(self, workspace: Workspace, group_id: str) -> None:
        super().__init__(workspace, workspace.catalog.trainings, group_id)

    def _exists(self) -> bool:
        return bool(self._workspace.catalog.trainings.list(group_id=self.id))

    # ------------------------------------------------------------------------------------------------ looking

    @property
    def records(self) -> Records[TrainingRecord]:
        """The current record of each run, in the order in which they were made. Raises `NotFoundError` if there are
        none, or they were deleted."""
        self._manager.sweep()
        found = self._workspace.catalog.trainings.list(group_id=self.id)
        if not found:
            raise NotFoundError(f"There is no group {self.id!r}.", hint="Its runs may have been deleted.")
        return Records(sorted(found, key=lambda record: record.id), TrainingRecord)

    @property
    def runs(self) -> list[Run]:
        """The handles of the runs."""
        return [Run(self._workspace, record.id) for record in self.records]

    @property
    def name(self) -> str:
        return self.records[0].group_name or self.id

    @property
    def record(self) -> JobRecord:
        """The row of the job that runs all of them; of several one that has not ended, or that failed, if there is one.
        Its `error` is why all of it failed; a single run's is `run.error`."""
        return min(self.jobs, key=lambda job: _STANDS.index(job.status))

    @property
    def jobs(self) -> list[JobRecord]:
        """The rows of the jobs that run them: one, unless they are spread."""
        ids = dict.fromkeys(record.job_id for record in self.records if record.job_id is not None)
        if not ids:
            raise NotFoundError(f"The job of {self.id!r} is gone.", hint="Start the trainings again.")
        return [self._manager.get(job_id) for job_id in ids]

    @property
    def _job_id(self) -> str:
        return self.record.id

    @property
    def progress(self) -> Progress | None:
        """How far all of them are, as `Run.progress`; of several jobs the one that is farthest behind."""
        jobs, tokens = self.jobs, self.records[0].tokens_total
        known = [job.progress or Progress(0, tokens, phase=job.status.value) for job in jobs if not job.status.is_final]
        ended = [job.progress for job in jobs if job.progress is not None]
        return min(known or ended, key=lambda progress: progress.done, default=None)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    def __getitem__(self, index: int) -> Run:
        return self.runs[index]

    # ------------------------------------------------------------------------------------------------ steering

    def stop(self, save: bool = True) -> None:
        """End early and keep what was learned (`save=False`: keep nothing new).

        Runs that are paused or interrupted are not loaded again: their SAEs are those of their last checkpoints.
        """
        asleep = {job.id for job in self.jobs if job.status in (JobStatus.PAUSED, JobStatus.INTERRUPTED)}
        super().stop(save)
        for run in self.runs if asleep and save else ():
            if run.record.job_id in asleep and not run.record.ended_alone:
                export_newest(self._workspace, run)

    def checkpoint_now(self) -> None:
        """Write a checkpoint of each after the current step. Raises `StateError` if they do not run in this process."""
        self._each(self._manager.ask_checkpoint)

    def _request(self, command: JobCommand) -> None:
        self._each(lambda job_id: self._manager.request(job_id, command))

    def _each(self, act: Callable[[str], object]) -> None:
        """Do it to every job that it makes sense for, those that wait first; raises `StateError` where that is none."""
        errors, jobs = [], sorted(self.jobs, key=lambda job: job.status is not JobStatus.QUEUED)
        for job in jobs:
            try:
                act(job.id)
            except StateError as error:
                errors.append(error)
        if len(errors) == len(jobs):
            raise errors[0]

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Wait until each has ended or is paused, at most `timeout` seconds; returns the status then."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        for job in self.jobs:
            self._manager.wait(job.id, None if timeout is None else max(0.0, deadline - time.monotonic()))
        return self.status

    def result(self, timeout: float | None = None) -> Any:
        """What its job returned, of several jobs a list of that; raises what made one fail."""
        self.wait(timeout)
        found = [self._manager.handle(job.id).result(0.0) for job in self.jobs]
        return found if len(found) > 1 else found[0]

    def retry(self, *, model: Any = None, tokenizer: Any = None) -> TrainingGroup:
        """See `Trainings.retry_group`."""
        return self._workspace.trainings.retry_group(self.id, model=model, tokenizer=tokenizer)

    def rename(self, name: str) -> None:
        """Call it something else; its runs keep their names. Raises `ConfigError` if that is empty or too long."""
        self._workspace.catalog.trainings.rename_group(self.id, arguments.name(name, "a name for the group"))

    def delete(self) -> int:
        """Remove all runs with their files; returns the bytes freed. SAEs imported from them stay. Raises `StateError`
        if they are queued or running."""
        return sum(self._workspace.trainings.delete(run.id) for run in self.runs)

    # ------------------------------------------------------------------------------------------------ comparing

    @property
    def differences(self) -> dict[str, list[Any]]:
        """The settings in which the runs differ, by dotted name: a value for each run, None where it has no such."""
        return {
            name: values for name, values in settings(self.records).items()
            if name not in _NOT_COMPARED and differs(values)
        }  # fmt: skip

    def to_df(self) -> pd.DataFrame:
        """One row per run: id, name, status, the settings in which they differ, tokens, and the newest metrics."""
        import pandas as pd  # costs half a second

        records = self.records
        columns: dict[str, Any] = {name: [getattr(r, name) for r in records] for name in ("id", "name")}
        columns["status"] = [record.status.value for record in records]
        columns |= self.differences
        columns["tokens"] = [record.tokens_done for record in records]
        metrics = dict.fromkeys(name for record in records for name in sorted(record.latest))
        columns |= {name: [record.latest.get(name) for record in records] for name in metrics}
        return pd.DataFrame(columns)

    @or_deleted
    def __repr__(self) -> str:
        records = self.records
        states = ", ".join(f"{r.name} {r.status.value}" for r in records)
        return f"<TrainingGroup {self.id} · {self.name} · {self.status.value} · {states}>"

    @or_deleted
    def _repr_html_(self) -> str:
        return str(group_card(self.name, self.status.value, self.records))


# Which status of several jobs stands for all: the first.
_STANDS = "running starting stopping pausing queued paused interrupted failed cancelled stopped completed".split()
_CLOSING = 10.0  # seconds that a job has to end when the last of its runs has: it closes files and writes one row


def let_close(workspace: Workspace, record: TrainingRecord, timeout: float = _CLOSING) -> None:
    """If every run of a job has ended, give the job a moment to end too: then they can be deleted or resumed."""
    if record.job_id is None or not all(r.ended_alone for r in workspace.catalog.trainings.by_job(record.job_id)):
        return
    if workspace.manager.get(record.job_id).status.is_active:
        workspace.manager.wait(record.job_id, min(timeout, _CLOSING))
