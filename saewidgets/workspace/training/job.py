"""A training as a job: from its row to a runner, in whichever process resumes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.errors import NotFoundError
from saewidgets.events import Emit, Event, Facts, JobStatus
from saewidgets.jobs import JobContext
from saewidgets.records import JobRecord
from saewidgets.workspace.corpora import from_row
from saewidgets.workspace.held import Held, HeldModels, missing
from saewidgets.workspace.sinks import Sinks
from saewidgets.workspace.training.checkpoints import reconcile

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

KIND = "training"
TOKENS = "tokens"  # subfolder of the workspace with packed corpora, shared by all runs

_ENDED = frozenset({JobStatus.COMPLETED, JobStatus.STOPPED, JobStatus.CANCELLED})
"""A run in one of these does not need its user's model, unless it is resumed."""


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
            self._models.let_go(str(job.payload["training_id"]))

    def make(self, job: JobRecord) -> Callable[[JobContext], Any]:
        """The runner of a training's job, from its row alone.

        Raises:
            StateError: the training used a model that only the process that started it has.
        """
        training_id = str(job.payload["training_id"])
        hint = "Call create(..., model=..., tokenizer=...) again, or resume it where it was started."
        given = bool(job.payload.get("model_given"))
        if (held := self.held(training_id)) is not None:
            self._models.keep(training_id, held)
        elif given:
            raise missing(training_id, hint)
        del held  # kept above, and only there: this function lives as long as the job is known here

        def run(context: JobContext) -> Any:
            from saewidgets.training import run_training  # torch: seconds to import

            held = self.held(training_id)
            if held is None and given:
                raise missing(training_id, hint)
            trainings = self._workspace.catalog.trainings
            record = trainings.get(training_id)
            if context.resumed:
                self._take_back(training_id, Path(record.folder))
            with self.sinks.fed(record, _with_note(context.emitter(training_id))) as feeds:
                result = run_training(
                    from_row(record.config, record.folder),
                    Path(record.folder),
                    emit=feeds.emit,
                    control=context.control,
                    model=held.model if held else None,
                    tokenizer=held.tokenizer if held else None,
                    tokens_folder=self._workspace.folder / TOKENS,
                    # A run that goes on from another's checkpoint finds a copy of it in its folder.
                    resume=context.resumed or bool(job.payload.get("continues")),
                )
                feeds.status = result.status.value
            if result.sae_path is not None:
                # Before the status changes: whoever sees "completed" finds the SAE.
                trainings.update(training_id, sae_path=result.sae_path)
            return result

        return run

    def _take_back(self, training_id: str, folder: Path) -> None:
        """Forget what was measured after the checkpoint that a resumed run starts from: it is measured again."""
        step = reconcile(self._workspace.catalog, training_id, folder)
        if step is not None:
            self._workspace.catalog.metrics.truncate(training_id, step)


def _with_note(emit: Emit) -> Emit:
    """Why a continuation will not be bit-identical is shown on the run's card."""

    def passed(event: Event) -> None:
        if isinstance(event, Facts) and event.values.get("resume_note"):
            event = Facts({**event.values, "note": event.values["resume_note"]})
        emit(event)

    return passed
