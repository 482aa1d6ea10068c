"""What the training panel does when a button is pressed: each command is one call of the workspace."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from saewidgets.config import TrainingConfig, validate
from saewidgets.render.labels import choice_label
from saewidgets.widgets.base import FieldsError, Handler, Table
from saewidgets.widgets.messages.training import (
    Chart,
    Check,
    CheckResult,
    Create,
    Details,
    DetailsData,
    FormData,
    FormSchema,
    MetricTable,
    PanelState,
    Picture,
    Pictures,
    PicturesData,
    Rename,
    RunAction,
    TableData,
)
from saewidgets.widgets.messages.wire import Command, Refresh, TrainDemo
from saewidgets.widgets.training_panel.cards import BEST, HELD_OUT, advice_row, checkpoint_rows
from saewidgets.widgets.training_panel.compare import settings_of_run
from saewidgets.widgets.training_panel.form import form_data
from saewidgets.widgets.training_panel.state import PanelModel

LOG_LINES = 200


class PanelCommands:
    """Handlers of one panel. They run on worker threads and write no trait.

    Args:
        model: the panel's state.
        wake: asks the publisher thread to show what changed.
        reset_zoom: asks the charts to follow the data again.
        pictures: the figures as they stand, "charts" or "pareto".
    """

    def __init__(
        self,
        model: PanelModel,
        wake: Callable[[], None],
        reset_zoom: Callable[[], None],
        pictures: Callable[[str], Sequence[Picture]],
    ) -> None:
        self._model = model
        self._trainings = model.workspace.trainings
        self._wake = wake
        self._reset_zoom = reset_zoom
        self._pictures = pictures

    def table(self, view: Callable[[PanelState], PanelState]) -> dict[type[Command], Handler]:
        """Message class → handler; `view` cuts the state down to what the part that asks draws."""
        return {
            Refresh: lambda command: self.refresh(command, view),
            FormSchema: self.form_schema,
            Check: self.check,
            Create: self.create,
            TrainDemo: self.train_demo,
            RunAction: self.run_action,
            Rename: self.rename,
            Details: self.details,
            Chart: self.chart,
            MetricTable: self.metric_table,
            Pictures: self.pictures,
        }

    def _changed(self, training_id: str | None = None) -> None:
        self._model.mark_changed(training_id)
        self._wake()

    def refresh(self, command: Refresh, view: Callable[[PanelState], PanelState]) -> PanelState | None:
        """The page pulls: runs of other processes and pages that miss updates are covered by this."""
        self._model.mark_changed(None)
        self._model.read()
        state = self._model.state()
        self._wake()
        return view(state) if state.revision > command.revision else None

    def form_schema(self, command: FormSchema) -> FormData:
        workspace = self._model.workspace
        config = None
        if command.training_id:
            config = dict(self._trainings.get(command.training_id).record.config)
            if config.get("name"):
                config["name"] = self._trainings.retry_name(command.training_id)
        elif command.template_id:
            config = workspace.templates.load(command.template_id).to_data()
        stores = {record.id: record.name for record in workspace.activations.list()}
        return form_data(self._model.devices, workspace.suggestions(), config, stores)

    def check(self, command: Check) -> CheckResult:
        return CheckResult.model_validate(dict(self._trainings.validate(command.config, command.over)))

    def create(self, command: Create) -> dict[str, str]:
        config, fields = validate(command.config)
        if config is not None:
            fields = self._settled(command)
        if config is None or fields:
            count = len(fields)
            raise FieldsError(f"{count} field{'s need' if count != 1 else ' needs'} attention.", fields)
        if command.retry_of is not None and not command.over:
            return self._started(self._trainings.retry(command.retry_of, config))
        if not command.over:
            return self._start(config)
        group = self._trainings.create_many(config, command.over)
        self._changed()
        return {"training_id": group.runs[0].id, "group_id": group.id}

    def _settled(self, command: Create) -> dict[str, str]:
        """What is wrong with a form, once everything was looked up (for a minute at most: the run itself looks too)."""
        end = time.monotonic() + 60
        question = Check(id="", config=command.config, over=command.over)
        while (found := self.check(question)).pending and time.monotonic() < end:
            time.sleep(0.1)
        return found.fields

    def train_demo(self, command: TrainDemo) -> dict[str, str]:
        return self._start(self._trainings.demo_config())

    def _start(self, config: TrainingConfig) -> dict[str, str]:
        return self._started(self._trainings.create(config))

    def _started(self, run: Any) -> dict[str, str]:
        self._changed()
        return {"training_id": run.id}

    def run_action(self, command: RunAction) -> dict[str, str]:
        training_id = command.training_id
        if command.action == "delete":
            self._trainings.delete(training_id)
            self._changed()
            return {"training_id": training_id}
        run = self._trainings.get(training_id)
        actions: Mapping[str, Callable[[], Any]] = {
            "pause": run.pause,
            "resume": run.resume,
            "stop": lambda: run.stop(save=True),
            "stop_without_saving": lambda: run.stop(save=False),
            "import": run.import_to_saes,
            "checkpoint": run.checkpoint_now,
        }
        if command.action == "retry":
            training_id = run.retry().id
        else:
            actions[command.action]()
        self._changed(training_id)
        return {"training_id": training_id}

    def rename(self, command: Rename) -> dict[str, str]:
        self._trainings.get(command.training_id).rename(command.name)
        self._changed(command.training_id)
        return {"training_id": command.training_id}

    def details(self, command: Details) -> DetailsData:
        run = self._trainings.get(command.training_id)
        record = run.record
        best = record.config.get("checkpoints", {}).get("best_metric", "fvu")
        held_out = self._trainings.metric_columns(command.training_id, tuple(HELD_OUT.values()), None, None, 0)
        return DetailsData(
            checkpoints=checkpoint_rows(run.checkpoints(), best, held_out),
            best_by="" if best == "fvu" else choice_label(BEST, best),
            log=tuple(str(line) for line in run.log(LOG_LINES)),
            settings=settings_of_run(record),
            advice=tuple(advice_row(advice) for advice in run.advice()),
            folder=record.folder,
            traceback=record.error.traceback if record.error else None,
        )

    def chart(self, command: Chart) -> None:
        self._model.set_chart(command)
        if command.reset_zoom:
            self._reset_zoom()
        self._wake()

    def pictures(self, command: Pictures) -> PicturesData:
        return PicturesData(pictures=tuple(self._pictures(command.figure)))

    def metric_table(self, command: MetricTable) -> Table:
        columns = self._trainings.metric_columns(command.training_id, command.names, None, None, 0)
        names = tuple(columns)
        page = slice(command.offset, command.offset + command.limit)
        cut = [np.ascontiguousarray(np.asarray(columns[name], dtype="<f8")[page]) for name in names]
        value = TableData(rows=len(cut[0]), total=len(columns["step"]))
        return Table(value, names, tuple(column.tobytes() for column in cut))
