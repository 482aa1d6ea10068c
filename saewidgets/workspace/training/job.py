"""A training, or a group of them, as a job: from its row to a runner, in whichever process resumes it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.errors import CatalogError, NotFoundError, SAEWidgetsError
from saewidgets.events import SAVING, Emit, Event, Facts, JobStatus, Metrics, Progress, Request
from saewidgets.jobs import JobContext, error_info
from saewidgets.records import JobRecord, TrainingRecord
from saewidgets.workspace.capture.using import require_stores
from saewidgets.workspace.corpora import exact_configs
from saewidgets.workspace.held import Held, HeldModels, missing
from saewidgets.workspace.sinks import Sinks
from saewidgets.workspace.training.checkpoints import reconcile
from saewidgets.workspace.training.starting import find_pretrained

if TYPE_CHECKING:
    from saewidgets.catalog import Catalog
    from saewidgets.training import TrainingResult
    from saewidgets.workspace.workspace import Workspace

log = logging.getLogger(__name__)

KIND = "training"
TOKENS = "tokens"  # subfolder of the workspace with packed corpora, shared by all runs

_ENDED = frozenset({JobStatus.COMPLETED, JobStatus.STOPPED, JobStatus.CANCELLED})
"""A run in one of these does not need its user's model, unless it is resumed."""
_LOOK_EVERY = 0.5  # seconds
_REQUESTS = {"stop": Request.STOP, "cancel": Request.CANCEL}


class TrainingRunners:
    """Makes the runners of training jobs and keeps the models that users handed in."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._models = HeldModels()
        self.sinks = Sinks()

    def hold(self, training_id: str, held: Held) -> None:
        """Keep a user's model for this training while it may run."""
        self._models.keep(training_id, held)
        for other in self._models.kept():  # another process may have ended one
            try:
                if other != training_id and self._workspace.catalog.trainings.get(other).status in _ENDED:
                    self._models.let_go(other)
            except NotFoundError:
                self._models.forget(other)

    def held(self, training_id: str) -> Held | None:
        """The user's model of this training, if it was handed in here and is still in memory."""
        return self._models.get(training_id)

    def forget(self, training_id: str) -> None:
        """Let go of the user's model and sinks."""
        self._models.forget(training_id)
        self.sinks.forget(training_id)

    def ended(self, job: JobRecord) -> None:
        """The run has ended: from now on its user decides how long the model stays in memory."""
        if job.status in _ENDED:
            for training_id in training_ids(job):
                self._models.let_go(training_id)

    def make(self, job: JobRecord) -> Callable[[JobContext], Any]:
        """The runner of a job's training, or of its group of trainings, from its row alone.

        Raises:
            StateError: the training used a model that only the process that started it has.
        """
        ids = training_ids(job)
        hint = "Call create(..., model=..., tokenizer=...) again, or resume it where it was started."
        given = bool(job.payload.get("model_given"))
        if (held := self._held_for(ids)) is not None:
            for training_id in ids:
                self._models.keep(training_id, held)
        elif given:
            raise missing(ids[0], hint)
        del held  # kept above, and only there: this function lives as long as the job is known here

        def run(context: JobContext) -> Any:
            from saewidgets.training import Task, run_group  # torch: seconds to import

            held = self._held_for(ids)
            if held is None and given:
                raise missing(ids[0], hint)
            records = self._taking_part(ids)
            require_stores(self._workspace, records)
            if context.resumed:
                for record in records:
                    self._take_back(record.id, Path(record.folder))
            wishes = Wishes(self._workspace.catalog, context.job_id if len(ids) > 1 else None)
            flush = self._workspace.manager.flush
            with ExitStack() as stack:
                feeds = [
                    stack.enter_context(self.sinks.fed(record, _passed_on(context.emitter(record.id), flush)))
                    for record in records
                ]
                # A run that goes on from another's checkpoint finds a copy of it in its folder.
                resume = context.resumed or bool(job.payload.get("continues"))
                configs = exact_configs(self._workspace.catalog, records)
                tasks = [
                    Task(
                        config, Path(record.folder), feed.emit,
                        partial(wishes.of, record.id), resume, partial(find_pretrained, self._workspace),
                    )
                    for config, record, feed in zip(configs, records, feeds, strict=True)
                ]

                def ended(number: int, result: TrainingResult, error: SAEWidgetsError | None) -> None:
                    feeds[number].status = result.status.value
                    if len(ids) > 1:
                        self._ended_alone(records[number].id, result, error)
                        feeds[number].emit(Facts({}))  # whoever watches looks again

                result = run_group(
                    tasks, tokens_folder=self._workspace.folder / TOKENS, control=context.control,
                    model=held.model if held else None, tokenizer=held.tokenizer if held else None, ended=ended,
                )
                for record, feed, each in zip(records, feeds, result.results, strict=True):
                    feed.status = each.status.value
                    if each.sae_path is not None:
                        # Before the status changes: whoever sees "completed" finds the SAE.
                        self._workspace.catalog.trainings.update(record.id, sae_path=each.sae_path, own_command=None)
            return result if len(ids) > 1 else result.results[0]

        return run

    def _held_for(self, ids: Sequence[str]) -> Held | None:
        """All trainings of a group were given the same model."""
        return next((held for each in ids if (held := self.held(each)) is not None), None)

    def _taking_part(self, ids: Sequence[str]) -> list[TrainingRecord]:
        """The trainings that have not ended by themselves; all that did not complete where that are none."""
        trainings = self._workspace.catalog.trainings
        records = []
        for training_id in ids:
            try:
                records.append(trainings.get(training_id))
            except NotFoundError:  # one of a group was deleted
                if len(ids) == 1:
                    raise
        if going := [record for record in records if not record.ended_alone]:
            return going
        again = [record for record in records if record.status is not JobStatus.COMPLETED] or records
        for record in again:
            trainings.update(record.id, own_status=None, own_command=None, own_error=None, ended_at=None)
        return again

    def _ended_alone(self, training_id: str, result: TrainingResult, error: SAEWidgetsError | None) -> None:
        """Write how one of a group has ended, after all that it emitted."""
        self._workspace.manager.flush()
        changes: dict[str, Any] = {"sae_path": result.sae_path} if result.sae_path is not None else {}
        self._workspace.catalog.trainings.update(
            training_id, own_status=result.status.value, own_command=None,
            own_error=None if error is None else asdict(error_info(error)), ended_at=self._workspace.catalog.now(),
            **changes,
        )

    def _take_back(self, training_id: str, folder: Path) -> None:
        """Forget what was measured after the checkpoint that a resumed run starts from: it is measured again."""
        step = reconcile(self._workspace.catalog, training_id, folder)
        if step is not None:
            self._workspace.catalog.metrics.truncate(training_id, step)


def training_ids(job: JobRecord) -> list[str]:
    """The trainings that a job runs, in their order."""
    ids = job.payload.get("training_ids")
    return [str(each) for each in ids] if ids else [str(job.payload["training_id"])]


class Wishes:
    """What was asked of single trainings of a job, by whichever process: looked up twice a second at most.

    Args:
        catalog: where it is written.
        job_id: the job; None for one that has a single training, of which the job itself is asked.
    """

    def __init__(self, catalog: Catalog, job_id: str | None) -> None:
        self._catalog, self._job_id = catalog, job_id
        self._looked = -_LOOK_EVERY
        self._found: dict[str, str] = {}

    def of(self, training_id: str) -> Request:
        """What was asked of this one."""
        now = time.monotonic()
        if self._job_id is not None and now - self._looked >= _LOOK_EVERY:
            self._looked = now
            try:
                self._found = self._catalog.trainings.commands(self._job_id)
            except CatalogError as error:  # somebody holds it for long: the next look will tell
                log.warning("What was asked of single trainings could not be read: %s", error)
        return _REQUESTS.get(self._found.get(training_id, ""), Request.RUN)


def _passed_on(emit: Emit, flush: Callable[[], object]) -> Emit:
    """Why a continuation will not be bit-identical is shown on the run's card; before a checkpoint is written, what was
    measured up to it is: a process that is killed right behind would have lost that, and nobody measures it again."""

    unwritten = False

    def passed(event: Event) -> None:
        nonlocal unwritten
        if isinstance(event, Facts) and event.values.get("resume_note"):
            event = Facts({**event.values, "note": event.values["resume_note"]})
        emit(event)
        unwritten = unwritten or isinstance(event, Metrics)
        if unwritten and isinstance(event, Progress) and event.phase == SAVING:  # every run of a group hears of each
            flush()
            unwritten = False

    return passed
