"""What the page of the training panel can ask about charts, the form and one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Unpack

import numpy as np
from pydantic import Field

from saewidgets.config import validate
from saewidgets.render.labels import choice_label
from saewidgets.widgets.commands import Commands, FieldsError, Table, command
from saewidgets.widgets.messages.runs import StoresData
from saewidgets.widgets.messages.training import (
    Action,
    ChartChange,
    CheckResult,
    ConfigData,
    DetailsData,
    Figure,
    FormData,
    Over,
    PanelState,
    Picture,
    PicturesData,
    Started,
    TableData,
)
from saewidgets.widgets.messages.wire import Index
from saewidgets.widgets.training_panel.cards import BEST, HELD_OUT, advice_row, checkpoint_rows, store_row
from saewidgets.widgets.training_panel.compare import settings_of_run
from saewidgets.widgets.training_panel.form import form_data, transcoders
from saewidgets.widgets.training_panel.state import PanelModel

LOG_LINES = 200


class ChartCommands(Commands):
    """What the bar above the charts and the footer can ask for.

    Args:
        model: the panel's state.
        wake: asks the publisher thread to show what changed.
        cut: what this part of the panel draws of the state.
        reset_zoom: asks the charts to follow the data again.
        pictures: the figures as they stand.
    """

    _model: PanelModel

    def __init__(
        self,
        model: PanelModel,
        wake: Callable[[], None],
        *,
        cut: Callable[[PanelState], PanelState],
        reset_zoom: Callable[[], None],
        pictures: Callable[[Figure], Sequence[Picture]],
    ) -> None:
        super().__init__(model, wake)
        self._workspace = model.workspace
        self._trainings = model.workspace.trainings
        self._cut = cut
        self._reset_zoom = reset_zoom
        self._pictures = pictures

    def state(self) -> PanelState:
        """What this part draws."""
        return self._cut(self._model.state())

    @command
    def chart(self, *, reset_zoom: bool = False, **change: Unpack[ChartChange]) -> None:
        """Change what the charts show. What is left out stays, so that two views cannot undo each other's changes."""
        self._model.set_chart(**change)
        if reset_zoom:
            self._reset_zoom()
        self._wake()

    @command
    def pictures(self, figure: Figure = "charts") -> PicturesData:
        """The figures as they stand, for files; the page makes PNG of them."""
        return PicturesData(pictures=tuple(self._pictures(figure)))

    @command
    def metric_table(
        self,
        training_id: str,
        names: tuple[str, ...] | None = None,
        limit: Annotated[int, Field(ge=1, le=20_000)] = 5000,
        offset: Index = 0,
    ) -> Table[TableData]:
        """Numbers behind the charts, all that the run recorded without `names`; one float64 buffer per column."""
        columns = self._trainings.metric_columns(training_id, names, None, None, 0)
        page = slice(offset, offset + limit)
        cut = [np.ascontiguousarray(np.asarray(column, dtype="<f8")[page]) for column in columns.values()]
        value = TableData(rows=len(cut[0]), total=len(columns["step"]))
        return Table(value, tuple(columns), tuple(column.tobytes() for column in cut))


class RunCommands(ChartCommands):
    """The form, and what is done to one run."""

    def _changed(self, training_id: str | None = None) -> None:
        self._model.mark_changed(training_id)
        self._wake()

    @command
    def form_schema(self, training_id: str | None = None, template_id: str | None = None) -> FormData:
        """What the New training form needs before it opens.

        With `training_id` (Edit and retry) or `template_id` the defaults are the settings of that run or template.
        """
        workspace = self._workspace
        config = None
        if training_id:
            config = dict(self._trainings.get(training_id).record.config)
            if config.get("name"):
                config["name"] = self._trainings.retry_name(training_id)
        elif template_id:
            config = workspace.templates.load(template_id).to_data()
        stores = {record.id: record.name for record in workspace.activations.list()}
        return form_data(self._model.devices.found, workspace.suggestions(), config, stores)

    @command
    def check(self, config: ConfigData, over: Over | None = None) -> CheckResult:
        """Validate the form and estimate. `config`: TrainingConfig data, maybe incomplete.

        `over`: dotted names → the values that they take in several trainings of one job (`ws.trainings.create_many`).
        """
        return CheckResult.model_validate(dict(self._trainings.validate(config, over)))

    @command
    def create(self, config: ConfigData, over: Over | None = None, retry_of: str | None = None) -> Started:
        """Start a training, or with `over` several in one job. `retry_of`: the run whose settings were edited."""
        checked, fields = validate(config)
        if checked is not None:
            fields = self._settled(config, over)
        if checked is None or fields:
            count = len(fields)
            raise FieldsError(f"{count} field{'s need' if count != 1 else ' needs'} attention.", fields)
        if not over:
            if retry_of is not None:
                return self._started(self._trainings.retry(retry_of, checked))
            return self._started(self._trainings.create(checked))
        group = self._trainings.create_many(checked, over)
        self._changed()
        return Started(training_id=group.runs[0].id, group_id=group.id)

    def _settled(self, config: ConfigData, over: Over | None) -> dict[str, str]:
        """What is wrong with a form, once everything was looked up (for a minute at most: the run itself looks too)."""
        end = time.monotonic() + 60
        while (found := self.check(config, over)).pending and time.monotonic() < end:
            time.sleep(0.1)
        return found.fields

    @command
    def train_demo(self) -> Started:
        """Start the demo training."""
        return self._started(self._trainings.create(self._trainings.demo_config()))

    def _started(self, run: Any) -> Started:
        self._changed()
        return Started(training_id=run.id)

    @command
    def run_action(self, action: Action, training_id: str) -> Started:
        """Do something to one run; the answer names the run that it concerns (`retry`: the new one)."""
        if action == "delete":
            self._trainings.delete(training_id)
            self._changed()
            return Started(training_id=training_id)
        run = self._trainings.get(training_id)
        actions: Mapping[str, Callable[[], Any]] = {
            "pause": run.pause,
            "resume": run.resume,
            "stop": lambda: run.stop(save=True),
            "stop_without_saving": lambda: run.stop(save=False),
            "import": run.import_to_saes,
            "checkpoint": run.checkpoint_now,
            "retry": run.retry,
        }
        done = actions[action]()
        if action == "retry":
            training_id = done.id
        self._changed(training_id)
        return Started(training_id=training_id)

    @command
    def rename(self, training_id: str, name: str) -> None:
        """Call a run something else."""
        self._trainings.get(training_id).rename(name)
        self._changed(training_id)

    @command
    def details(self, training_id: str) -> DetailsData:
        """What a card shows when it is opened."""
        run = self._trainings.get(training_id)
        record = run.record
        best = record.config.get("checkpoints", {}).get("best_metric", "fvu")
        held_out = self._trainings.metric_columns(training_id, tuple(HELD_OUT.values()), None, None, 0)
        return DetailsData(
            checkpoints=checkpoint_rows(run.checkpoints(), best, held_out),
            best_by="" if best == "fvu" else choice_label(BEST, best),
            log=tuple(str(line) for line in run.log(LOG_LINES)),
            settings=settings_of_run(record),
            advice=tuple(advice_row(advice) for advice in run.advice()),
            folder=record.folder,
            traceback=record.error.traceback if record.error else None,
        )

    @command
    def list_stores(self, architecture: str = "") -> StoresData:
        """What has been captured, and whether an SAE of this architecture can train from it."""
        activations, two = self._workspace.activations, architecture in transcoders()
        return StoresData(
            stores=tuple(
                store_row(record, activations.training_settings(record.id), two_hooks=two)
                for record in activations.list()
            )
        )
