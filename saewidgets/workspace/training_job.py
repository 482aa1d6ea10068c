"""A training as a job: from its row to a runner, in whichever process resumes it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig
from saewidgets.errors import StateError
from saewidgets.events import Emit, Event, Facts
from saewidgets.jobs import JobContext
from saewidgets.records import JobRecord

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

KIND = "training"
TOKENS = "tokens"  # subfolder of the workspace with packed corpora, shared by all runs


@dataclass(frozen=True, slots=True)
class Held:
    """A model that the user loaded: used as it is, by this process only."""

    model: Any
    tokenizer: Any


class TrainingRunners:
    """Makes the runners of training jobs and keeps the models that users handed in."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()

    def hold(self, training_id: str, held: Held) -> None:
        """Keep a user's model for this training, until it is deleted."""
        with self._lock:
            self._held[training_id] = held

    def held(self, training_id: str) -> Held | None:
        """The user's model of this training, if it was handed in here."""
        with self._lock:
            return self._held.get(training_id)

    def forget(self, training_id: str) -> None:
        """Let go of the user's model."""
        with self._lock:
            self._held.pop(training_id, None)

    def make(self, job: JobRecord) -> Callable[[JobContext], Any]:
        """The runner of a training's job, from its row alone.

        Raises:
            StateError: the training used a model that only the process that started it has.
        """
        training_id = str(job.payload["training_id"])
        held = self.held(training_id)
        if held is None and job.payload.get("model_given"):
            raise StateError(
                "This training uses a model that was handed to it as an object, which this process does not have.",
                where=training_id,
                hint="Call create(..., model=..., tokenizer=...) again, or resume it where it was started.",
            )

        def run(context: JobContext) -> Any:
            from saewidgets.training import run_training  # torch: seconds to import

            trainings = self._workspace.catalog.trainings
            record = trainings.get(training_id)
            if context.resumed:
                self._take_back(training_id, Path(record.folder))
            result = run_training(
                TrainingConfig.from_data(record.config),
                Path(record.folder),
                emit=_with_note(context.emitter(training_id)),
                control=context.control,
                model=held.model if held else None,
                tokenizer=held.tokenizer if held else None,
                tokens_folder=self._workspace.folder / TOKENS,
                resume=context.resumed,
            )
            if result.sae_path is not None:
                # Before the status changes: whoever sees "completed" finds the SAE.
                trainings.update(training_id, sae_path=result.sae_path)
            return result

        return run

    def _take_back(self, training_id: str, folder: Path) -> None:
        """Forget what was measured after the checkpoint that a resumed run starts from: it is measured again."""
        from saewidgets.training import list_checkpoints  # torch: seconds to import

        kept = list_checkpoints(folder / "checkpoints")
        self._workspace.catalog.checkpoints.keep_only(training_id, [str(checkpoint.path) for checkpoint in kept])
        self._workspace.catalog.metrics.truncate(training_id, kept[0].step if kept else -1)


def _with_note(emit: Emit) -> Emit:
    """Why a continuation will not be bit-identical is shown on the run's card."""

    def passed(event: Event) -> None:
        if isinstance(event, Facts) and event.values.get("resume_note"):
            event = Facts({**event.values, "note": event.values["resume_note"]})
        emit(event)

    return passed
