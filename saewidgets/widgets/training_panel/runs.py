"""What the page of the training panel can ask about several runs at once, checkpoints and the comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from saewidgets.errors import SAEWidgetsError
from saewidgets.events import JobStatus
from saewidgets.widgets.commands import command
from saewidgets.widgets.messages.runs import (
    BulkAction,
    CheckpointAction,
    ComparisonData,
    ComparisonTableData,
    GroupActionName,
    Ids,
    Imported,
    RunsDone,
)
from saewidgets.widgets.messages.training import Started, YAxis
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.paths import folder_name, path_from
from saewidgets.widgets.training_panel.commands import RunCommands
from saewidgets.widgets.training_panel.compare import comparison
from saewidgets.workspace.training.comparing import table


class RunsCommands(RunCommands):
    """Several runs.

    Args:
        reset_pareto: asks the Pareto view to show all points again.
        open_sae: shows an SAE of the library, or (None) the runs again.
        others: as `ChartCommands`.
    """

    def __init__(
        self,
        *parts: Any,
        reset_pareto: Callable[[], None],
        open_sae: Callable[[str | None], None],
        **others: Any,
    ) -> None:
        super().__init__(*parts, **others)
        self._reset_pareto = reset_pareto
        self._show_sae = open_sae

    # --------------------------------------------------------------------------------------------- several runs

    @command
    def run_actions(self, action: BulkAction, training_ids: Ids) -> RunsDone:
        """Do something to several runs; what fails is told and the others are done all the same."""

        def do(training_id: str) -> None:
            if action == "delete":
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
            actions[action]()

        ids = training_ids
        if action == "pause":  # what waits first: it would start where another was paused
            waiting = {record.id for record in self._model.records(ids) if record.status is JobStatus.QUEUED}
            ids = tuple(sorted(ids, key=lambda training_id: training_id not in waiting))
        elif action == "resume":  # as they were begun; the list has the newest first
            ids = tuple(sorted(ids))
        try:
            return self._each(ids, do)
        finally:
            self._changed()

    @command
    def group_action(self, action: GroupActionName, group_id: str) -> dict[Literal["group_id"], str]:
        """Do something to all runs of a job at once; the group that it concerns (`retry`: the new one)."""
        group = self._trainings.group(group_id)
        actions: dict[str, Callable[[], Any]] = {
            "pause": group.pause,
            "resume": group.resume,
            "stop": lambda: group.stop(save=True),
            "stop_without_saving": lambda: group.stop(save=False),
            "retry": group.retry,
            "delete": group.delete,
        }
        try:
            done = actions[action]()
        finally:
            self._changed()
        return {"group_id": done.id if action == "retry" else group_id}

    @command
    def rename_group(self, group_id: str, name: str) -> None:
        """Call a group something else."""
        self._trainings.group(group_id).rename(name)
        self._changed()

    @command
    def export_runs(self, training_ids: Ids, folder: str) -> RunsDone:
        """Write runs into a folder on the kernel's machine; several get a folder each in it."""
        target = path_from(folder)
        if len(training_ids) == 1:
            path = self._trainings.export(training_ids[0], target)
            return RunsDone(done=training_ids, paths=(str(path),))
        taken: set[str] = set()
        paths: list[str] = []

        def do(training_id: str) -> None:
            name = folder_name(self._trainings.get(training_id).record.name, taken)
            paths.append(str(self._trainings.export(training_id, target / name)))

        return self._each(training_ids, do).model_copy(update={"paths": tuple(paths)})

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

    @command
    def checkpoint_action(
        self, action: CheckpointAction, training_id: str, checkpoint_id: str
    ) -> Started | Imported:
        """Do something with one checkpoint; the run that it concerns ("continue": the new one), or the SAE."""
        run = self._trainings.get(training_id)
        if action == "import":
            sae = run.import_checkpoint(checkpoint_id)
            return Imported(sae_id=sae.id, name=sae.name)
        if action == "continue":
            training_id = run.continue_from(checkpoint_id).id
        else:
            run.delete_checkpoint(checkpoint_id)
        self._changed(training_id)
        return Started(training_id=training_id)

    @command
    def train_longer(self, training_id: str, tokens: Annotated[int, Field(ge=1, le=2**53)]) -> Started:
        """Go on in a new run until `tokens` in all."""
        run = self._trainings.get(training_id).train_longer(tokens)
        self._changed(run.id)
        return Started(training_id=run.id)

    @command
    def open_sae(self, sae_id: str | None = None) -> None:
        """Show an SAE in the place of the runs (None: show the runs again)."""
        if sae_id is not None:
            self._workspace.saes.get(sae_id)  # it may have been deleted a moment ago
        self._show_sae(sae_id)
        self._wake()

    # --------------------------------------------------------------------------------------------- comparison

    @command
    def compare(self, training_ids: Ids = ()) -> None:
        """Show the comparison of these runs, or (none) close it: it is part of the state."""
        self._model.compare(self._in_order(training_ids))
        self._reset_pareto()
        self._wake()

    def _in_order(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Those of one group as they were begun (by layer, say); the list has the newest first."""
        groups = {record.id: record.group_id for record in self._model.records(ids)}
        jobs = [groups.get(i) or i for i in ids]
        return tuple(i for _, i in sorted(zip(map(jobs.index, jobs), ids, strict=True)))

    @command
    def comparison(self, training_ids: Ids) -> ComparisonData:
        """The settings of runs side by side."""
        return comparison(self._model.records(training_ids))

    @command
    def comparison_table(self, training_ids: Ids) -> ComparisonTableData:
        """The same for a program that reads it."""
        columns, rows = table(self._model.records(training_ids))
        return ComparisonTableData(columns=tuple(columns), rows=tuple(tuple(row) for row in rows))

    @command
    def pareto(self, y_axis: YAxis | None = None, scope: str | None = None, reset_zoom: bool = False) -> None:
        """Change the Pareto view; None leaves a setting as it is."""
        self._model.set_pareto(y_axis, scope)
        if reset_zoom or y_axis is not None or scope is not None:
            self._reset_pareto()
        self._wake()
