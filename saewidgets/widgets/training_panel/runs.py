"""What the training panel does with several runs at once, with their checkpoints, and in a comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from saewidgets.errors import SAEWidgetsError
from saewidgets.events import JobStatus
from saewidgets.widgets.base import Handler
from saewidgets.widgets.messages.runs import (
    CheckpointAction,
    Compare,
    Comparison,
    ComparisonData,
    ComparisonTable,
    ComparisonTableData,
    ExportRuns,
    GroupAction,
    OpenSae,
    Pareto,
    RenameGroup,
    RunActions,
    RunsDone,
    TrainLonger,
)
from saewidgets.widgets.messages.wire import Command, Note
from saewidgets.widgets.paths import folder_name, path_from
from saewidgets.widgets.training_panel.compare import comparison
from saewidgets.widgets.training_panel.state import PanelModel
from saewidgets.workspace.training.comparing import table


class RunsCommands:
    """Handlers of one panel. They run on worker threads and write no trait.

    Args:
        model: the panel's state.
        wake: asks the publisher thread to show what changed.
        reset_zoom: asks the Pareto view to show all points again.
        open_sae: shows an SAE of the library, or (None) the runs again.
    """

    def __init__(
        self,
        model: PanelModel,
        wake: Callable[[], None],
        reset_zoom: Callable[[], None],
        open_sae: Callable[[str | None], None],
    ) -> None:
        self._model = model
        self._trainings = model.workspace.trainings
        self._wake = wake
        self._reset_zoom = reset_zoom
        self._open_sae = open_sae

    def table(self) -> dict[type[Command], Handler]:
        """Message class → handler."""
        return {
            RunActions: self.actions,
            GroupAction: self.group,
            RenameGroup: self.rename_group,
            ExportRuns: self.export,
            CheckpointAction: self.checkpoint,
            TrainLonger: self.train_longer,
            Compare: self.compare,
            Comparison: self.comparison,
            ComparisonTable: self.comparison_table,
            Pareto: self.pareto,
            OpenSae: self.open_sae,
        }

    def _changed(self, training_id: str | None = None) -> None:
        self._model.mark_changed(training_id)
        self._wake()

    # --------------------------------------------------------------------------------------------- several runs

    def actions(self, command: RunActions) -> RunsDone:
        def do(training_id: str) -> None:
            if command.action == "delete":
                self._trainings.delete(training_id)
                return
            run = self._trainings.get(training_id)
            actions: dict[str, Callable[[], Any]] = {
                "pause": run.pause,
                "resume": run.resume,
                "stop": lambda: run.stop(save=True),
                "stop_without_saving": lambda: run.stop(save=False),
                "import": run.import_to_saes,
            }
            actions[command.action]()

        ids = command.training_ids
        if command.action == "pause":  # what waits first: it would start where another was paused
            waiting = {record.id for record in self._model.records(ids) if record.status is JobStatus.QUEUED}
            ids = tuple(sorted(ids, key=lambda training_id: training_id not in waiting))
        elif command.action == "resume":  # as they were begun; the list has the newest first
            ids = tuple(sorted(ids))
        try:
            return self._each(ids, do)
        finally:
            self._changed()

    def group(self, command: GroupAction) -> dict[str, str]:
        group = self._trainings.group(command.group_id)
        actions: dict[str, Callable[[], Any]] = {
            "pause": group.pause,
            "resume": group.resume,
            "stop": lambda: group.stop(save=True),
            "stop_without_saving": lambda: group.stop(save=False),
            "retry": group.retry,
            "delete": group.delete,
        }
        try:
            done = actions[command.action]()
        finally:
            self._changed()
        return {"group_id": done.id if command.action == "retry" else command.group_id}

    def rename_group(self, command: RenameGroup) -> dict[str, str]:
        self._trainings.group(command.group_id).rename(command.name)
        self._changed()
        return {"group_id": command.group_id}

    def export(self, command: ExportRuns) -> RunsDone:
        folder = path_from(command.folder)
        if len(command.training_ids) == 1:
            path = self._trainings.export(command.training_ids[0], folder)
            return RunsDone(done=command.training_ids, paths=(str(path),))
        taken: set[str] = set()
        paths: list[str] = []

        def do(training_id: str) -> None:
            name = folder_name(self._trainings.get(training_id).record.name, taken)
            paths.append(str(self._trainings.export(training_id, folder / name)))

        return self._each(command.training_ids, do).model_copy(update={"paths": tuple(paths)})

    def _each(self, training_ids: Sequence[str], do: Callable[[str], Any]) -> RunsDone:
        """One after another; what fails is told and the others are done all the same."""
        done, problems = [], []
        for training_id in dict.fromkeys(training_ids):
            try:
                do(training_id)
                done.append(training_id)
            except SAEWidgetsError as error:
                problems.append(Note(what=error.what, where=self._name(training_id), hint=error.hint))
        return RunsDone(done=tuple(done), problems=tuple(problems))

    def _name(self, training_id: str) -> str:
        found = self._model.records([training_id])
        return found[0].name if found else training_id

    # --------------------------------------------------------------------------------------------- going on

    def checkpoint(self, command: CheckpointAction) -> dict[str, str]:
        run = self._trainings.get(command.training_id)
        if command.action == "import":
            sae = run.import_checkpoint(command.checkpoint_id)
            return {"sae_id": sae.id, "name": sae.name}
        training_id = command.training_id
        if command.action == "continue":
            training_id = run.continue_from(command.checkpoint_id).id
        else:
            run.delete_checkpoint(command.checkpoint_id)
        self._changed(training_id)
        return {"training_id": training_id}

    def train_longer(self, command: TrainLonger) -> dict[str, str]:
        run = self._trainings.get(command.training_id).train_longer(command.tokens)
        self._changed(run.id)
        return {"training_id": run.id}

    def open_sae(self, command: OpenSae) -> dict[str, str | None]:
        if command.sae_id is not None:
            self._model.workspace.saes.get(command.sae_id)  # it may have been deleted a moment ago
        self._open_sae(command.sae_id)
        self._wake()
        return {"sae_id": command.sae_id}

    # --------------------------------------------------------------------------------------------- comparison

    def compare(self, command: Compare) -> None:
        self._model.compare(self._in_order(command.training_ids))
        self._reset_zoom()
        self._wake()

    def _in_order(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Those of one group as they were begun (by layer, say); the list has the newest first."""
        groups = {record.id: record.group_id for record in self._model.records(ids)}
        jobs = [groups.get(i) or i for i in ids]
        return tuple(i for _, i in sorted(zip(map(jobs.index, jobs), ids, strict=True)))

    def comparison(self, command: Comparison) -> ComparisonData:
        return comparison(self._model.records(command.training_ids))

    def comparison_table(self, command: ComparisonTable) -> ComparisonTableData:
        columns, rows = table(self._model.records(command.training_ids))
        return ComparisonTableData(columns=tuple(columns), rows=tuple(tuple(row) for row in rows))

    def pareto(self, command: Pareto) -> None:
        self._model.set_pareto(command.y_axis, command.scope)
        if command.reset_zoom or command.y_axis is not None or command.scope is not None:
            self._reset_zoom()
        self._wake()
