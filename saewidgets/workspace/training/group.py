"""`TrainingGroup`: the handle of trainings that run as one job."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from saewidgets.config import arguments
from saewidgets.errors import NotFoundError
from saewidgets.events import JobStatus, Progress
from saewidgets.records import JobRecord, Records, TrainingRecord
from saewidgets.render.static_views import group_card
from saewidgets.workspace.handle import JobHandle
from saewidgets.workspace.training.checkpoints import export_newest
from saewidgets.workspace.training.comparing import differs, settings
from saewidgets.workspace.training.run import Run

if TYPE_CHECKING:
    import pandas as pd

    from saewidgets.workspace.workspace import Workspace

_NOT_COMPARED = ("corpus.strings", "name")  # text, and what is told anyway


class TrainingGroup(JobHandle):
    """Trainings that one language-model forward feeds. It holds no state of its own: every property reads the catalog.

    The verbs concern all of them, as do `pause` and `resume` of a single run; `stop` and `cancel` of a run end it
    alone. A run that diverged, or reached its targets, has ended by itself and stays as it is.
    """

    def __init__(self, workspace: Workspace, group_id: str) -> None:
        super().__init__(workspace, workspace.catalog.trainings, group_id)

    def _exists(self) -> bool:
        return bool(self._workspace.catalog.trainings.list(group_id=self.id))

    # ------------------------------------------------------------------------------------------------ looking

    @property
    def records(self) -> Records[TrainingRecord]:
        """What the catalog knows of each run now, in the order in which they were made.

        Raises:
            NotFoundError: there are none, or they were deleted.
        """
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
        """The row of the job that runs all of them. Why a single run failed is its own `error`."""
        return self._manager.get(self._job_id)

    @property
    def _job_id(self) -> str:
        job_id = next((record.job_id for record in self.records if record.job_id is not None), None)
        if job_id is None:
            raise NotFoundError(f"The job of {self.id!r} is gone.", hint="Start the trainings again.")
        return job_id

    @property
    def progress(self) -> Progress | None:
        """How far all of them are, as `Run.progress`."""
        job, tokens = self.record, self.records[0].tokens_total
        return job.progress or (None if job.status.is_final else Progress(0, tokens, phase=job.status.value))

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
        asleep = self.status in (JobStatus.PAUSED, JobStatus.INTERRUPTED)
        super().stop(save)
        if asleep and save:
            for run, record in zip(self.runs, self.records, strict=True):
                if not record.ended_alone:
                    export_newest(self._workspace, run)

    def checkpoint_now(self) -> None:
        """Write a checkpoint of each after the current step. Raises `StateError` if they do not run in this process."""
        self._manager.ask_checkpoint(self._job_id)

    def retry(self, *, model: Any = None, tokenizer: Any = None) -> TrainingGroup:
        """See `Trainings.retry_group`."""
        return self._workspace.trainings.retry_group(self.id, model=model, tokenizer=tokenizer)

    def rename(self, name: str) -> None:
        """Call it something else; its runs keep their names. Raises `ConfigError` if that is empty or too long."""
        self._workspace.catalog.trainings.rename_group(self.id, arguments.name(name, "what to call the group"))

    def delete(self) -> int:
        """Remove all runs with their files; returns the bytes freed. SAEs imported from them stay.

        Raises:
            StateError: they are queued or running.
        """
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

    def __repr__(self) -> str:
        records = self.records
        states = ", ".join(f"{r.name} {r.status.value}" for r in records)
        return f"<TrainingGroup {self.id} · {self.name} · {self.status.value} · {states}>"

    def _repr_html_(self) -> str:
        return str(group_card(self.name, self.status.value, self.records))
