"""The commands of the training panel: `ChartCommands` of all its parts, `PanelCommands` of the main one."""

import time
from collections.abc import Callable, Sequence
from operator import methodcaller
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from saewidgets.config import validate
from saewidgets.config.templates import preset as preset_config
from saewidgets.config.templates import presets
from saewidgets.config.training import with_former_defaults
from saewidgets.errors import StateError
from saewidgets.events import JobStatus
from saewidgets.render.labels import choice_label
from saewidgets.widgets.commands import Commands, FieldsError, Table, UndoCommands, command
from saewidgets.widgets.messages import training as messages
from saewidgets.widgets.messages.wire import BulkResult, Index
from saewidgets.widgets.training_panel.code import code_of
from saewidgets.widgets.training_panel.compare import setting_rows, settings_of_run
from saewidgets.widgets.training_panel.form import form_data, transcoders
from saewidgets.widgets.training_panel.state import BEST, HELD_OUT, PanelModel, checkpoint_rows, store_row, template_row
from saewidgets.workspace.training.run_tables import table

LOG_LINES = 200
VERBS: dict[str, Callable[[Any], Any]] = {  # of a run, and most of a group
    "pause": methodcaller("pause"),
    "resume": methodcaller("resume"),
    "stop": methodcaller("stop", save=True),
    "stop_without_saving": methodcaller("stop", save=False),
    "import": methodcaller("import_to_saes"),
    "checkpoint": methodcaller("checkpoint_now"),
    "retry": methodcaller("retry"),
}


class ChartCommands(Commands):
    """The commands of the bar above the charts and the footer; `cut`: the part of the state that it draws."""

    _model: PanelModel

    def __init__(
        self, panel: Any, cut: Callable[[messages.PanelState], messages.PanelState] = lambda state: state
    ) -> None:
        super().__init__(panel)
        self._trainings = self._workspace.trainings
        self._cut = cut

    def state(self) -> messages.PanelState:
        return self._cut(self._model.state())

    @command
    def chart(self, *, reset_zoom: bool = False, **change: Annotated[Any, messages.ChartLook]) -> None:
        """Change what the charts show. What is left out stays, so that two views cannot undo each other's changes."""
        self._model.set_chart(**change)
        if reset_zoom:
            self._widget.reset_charts.set()
        self._wake()

    @command
    def pictures(self, figure: messages.Figure = "charts") -> tuple[messages.Picture, ...]:
        """The figures as they are, for files; the page makes PNG of them."""
        found: tuple[messages.Picture, ...] = self._widget.pictures(figure)
        return found

    @command
    def metric_table(
        self,
        training_id: str,
        names: tuple[str, ...] | None = None,
        limit: Annotated[int, Field(ge=1, le=20_000)] = 5000,
        offset: Index = 0,
    ) -> Table[dict[Literal["rows", "total"], int]]:
        """Numbers behind the charts, all that the run recorded without `names`; one float64 buffer per column."""
        columns = self._trainings.metric_columns(training_id, names, None, None, 0)
        page = slice(offset, offset + limit)
        cut = [np.ascontiguousarray(np.asarray(column, dtype="<f8")[page]) for column in columns.values()]
        count: dict[Literal["rows", "total"], int] = {"rows": len(cut[0]), "total": len(columns["step"])}
        return Table(count, tuple(columns), tuple(column.tobytes() for column in cut))


class PanelCommands(ChartCommands, UndoCommands):
    """The form, runs, comparisons and templates."""

    def __init__(self, panel: Any) -> None:
        super().__init__(panel)
        self._templates = self._workspace.templates

    # --------------------------------------------------------------------------------------------- form

    @command
    def form_schema(
        self, training_id: str | None = None, template_id: str | None = None, preset: str | None = None
    ) -> messages.FormData:
        """The New training form, with the settings of a run (Edit and retry), of a template or of a preset."""
        workspace = self._workspace
        config = None
        if training_id:
            config = dict(with_former_defaults(self._trainings.get(training_id).record.config))
            if config.get("name"):
                config["name"] = self._trainings.retry_name(training_id)
        elif template_id:
            config = workspace.templates.load(template_id).to_data()
        elif preset:
            config = preset_config(preset).to_data()
        if config is not None and workspace.settings.places:
            config = {**config, "device": "auto"}
        stores = {record.id: record.name for record in workspace.activations.list()}
        return form_data(self._model.devices.found, workspace.suggestions(), config, stores)

    @command
    def check(self, config: messages.ConfigData, over: messages.Over | None = None) -> messages.CheckResult:
        """Validate the form, which may be incomplete, and estimate; `over` as in `ws.trainings.create_many`."""
        return messages.CheckResult.model_validate(dict(self._trainings.validate(config, over)))

    @command
    def create(
        self, config: messages.ConfigData, over: messages.Over | None = None, retry_of: str | None = None,
        spread: bool = False,
    ) -> messages.StartedRun:
        """Start a training, or with `over` several in one job (`spread`: in one for each place). `retry_of`: the run
        whose settings were edited."""
        checked, fields = validate(config)
        if checked is not None:
            fields = self._settled(config, over)
        if checked is None or fields:
            raise FieldsError(fields)
        if not over:
            if retry_of is not None:
                return self._started(self._trainings.retry(retry_of, checked))
            return self._started(self._trainings.create(checked))
        group = self._trainings.create_many(checked, over, spread=spread)
        self._changed()
        return messages.StartedRun(training_id=group.runs[0].id, group_id=group.id)

    def _settled(self, config: messages.ConfigData, over: messages.Over | None) -> dict[str, str]:
        """What is wrong with a form, once everything was looked up (for a minute at most: the run itself looks too)."""
        end = time.monotonic() + 60
        while (found := self.check(config, over)).pending and time.monotonic() < end:
            time.sleep(0.1)
        return found.fields

    @command
    def train_demo(self) -> messages.StartedRun:
        return self._started(self._trainings.create(self._trainings.demo_config()))

    def _started(self, run: Any) -> messages.StartedRun:
        self._changed()
        return messages.StartedRun(training_id=run.id)

    @command
    def run_action(self, action: messages.Action, training_id: str) -> messages.StartedRun:
        do: Callable[[Any], Any] = self._delete if action == "delete" else VERBS[action]
        done = do(self._trainings.get(training_id))
        self._changed()
        return messages.StartedRun(training_id=done.id if action == "retry" else training_id)

    @command
    def run_code(self, training_id: str) -> dict[Literal["text"], str]:
        """Code that starts this run again."""
        return {"text": code_of(self._trainings.get(training_id).record, self._workspace)}

    @command
    def rename(self, training_id: str, name: str) -> None:
        self._trainings.get(training_id).rename(name)
        self._changed()

    @command
    def details(self, training_id: str) -> messages.DetailsData:
        run = self._trainings.get(training_id)
        record = run.record
        best = record.config.get("checkpoints", {}).get("best_metric", "fvu")
        held_out = self._trainings.metric_columns(training_id, tuple(HELD_OUT.values()), None, None, 0)
        return messages.DetailsData(
            checkpoints=checkpoint_rows(run.checkpoints(), best, held_out),
            best_by="" if best == "fvu" else choice_label(BEST, best),
            log=tuple(str(line) for line in run.log(LOG_LINES)),
            settings=settings_of_run(record),
            advice=tuple(run.advice()),
            folder=record.folder,
            traceback=record.error.traceback if record.error else None,
        )

    @command
    def list_stores(self, architecture: str = "") -> tuple[messages.StoreRow, ...]:
        """The captured stores, and whether an SAE of this architecture can train from each."""
        activations, two = self._workspace.activations, architecture in transcoders()
        return tuple(
            store_row(record, activations.training_settings(record.id), two_hooks=two)
            for record in activations.list()
        )

    # --------------------------------------------------------------------------------------------- several runs

    @command
    def run_actions(self, action: messages.BulkAction, training_ids: messages.Ids) -> BulkResult:
        """Do something to several runs; failures are reported, and the others are done all the same."""
        ids = training_ids
        if action == "pause":  # what waits first: it would start where another was paused
            waiting = {record.id for record in self._model.records(ids) if record.status is JobStatus.QUEUED}
            ids = tuple(sorted(ids, key=lambda training_id: training_id not in waiting))
        elif action == "resume":  # as they were begun; the list has the newest first
            ids = tuple(sorted(ids))
        do = self._delete if action == "delete" else VERBS[action]
        try:
            if action == "retry":
                return self._retry(ids)
            return self._each(ids, lambda training_id: do(self._trainings.get(training_id)))
        finally:
            self._changed()

    def _retry(self, ids: Sequence[str]) -> BulkResult:
        """All runs of a group as one group, so that one forward feeds them again; others one by one."""
        groups = {record.id: record.group_id for record in self._model.records(ids) if record.group_id}
        done: set[str] = set()

        def retry(training_id: str) -> None:
            group = self._trainings.group(groups[training_id]) if training_id in groups else None
            if group is None or not {run.id for run in group.runs} <= {*ids}:
                self._trainings.get(training_id).retry()
            elif group.id not in done:
                group.retry()
                done.add(group.id)

        return self._each(sorted(ids), retry)

    @command
    def group_action(self, action: messages.GroupActionName, group_id: str) -> dict[Literal["group_id"], str]:
        """Do something to all runs of a job at once; the group that it concerns (`retry`: the new one)."""
        try:
            group = self._trainings.group(group_id)
            if action == "delete":
                for run in group.runs:
                    self._delete(run)
            done = group if action == "delete" else VERBS[action](group)
        finally:
            self._changed()
        return {"group_id": done.id if action == "retry" else group_id}

    def _delete(self, run: Any) -> None:
        """Delete a run so that it can be undone; what has not begun has nothing to lose, and must not begin."""
        if run.record.status is JobStatus.QUEUED:
            run.delete()
        else:
            self._workspace.deletions.add(run.id)

    @command
    def rename_group(self, group_id: str, name: str) -> None:
        self._trainings.group(group_id).rename(name)
        self._changed()

    @command
    def export_runs(self, training_ids: messages.Ids, folder: str) -> BulkResult:
        """Write runs into a folder on the kernel's machine; several get a folder each in it."""
        return self._export(training_ids, folder, self._trainings.export)

    def _name(self, each: str) -> str:
        return self._trainings.get(each).record.name

    # --------------------------------------------------------------------------------------------- going on

    @command
    def checkpoint_action(
        self, action: messages.CheckpointAction, training_id: str, checkpoint_id: str
    ) -> messages.StartedRun | messages.ImportedSae:
        run = self._trainings.get(training_id)
        if action == "import":
            sae = run.import_checkpoint(checkpoint_id)
            return messages.ImportedSae(sae_id=sae.id, name=sae.name)
        if action == "continue":
            training_id = run.continue_from(checkpoint_id).id
        else:
            run.delete_checkpoint(checkpoint_id)
        self._changed()
        return messages.StartedRun(training_id=training_id)

    @command
    def train_longer(self, training_id: str, tokens: Annotated[int, Field(ge=1, le=2**53)]) -> messages.StartedRun:
        run = self._trainings.get(training_id).train_longer(tokens)
        self._changed()
        return messages.StartedRun(training_id=run.id)

    @command
    def open_sae(self, sae_id: str | None = None) -> None:
        """Show an SAE in the place of the runs (None: show the runs again)."""
        if sae_id is not None:
            self._workspace.saes.get(sae_id)  # it may have been deleted a moment ago
        self._widget.open_sae(sae_id)
        self._wake()

    # --------------------------------------------------------------------------------------------- comparison

    @command
    def compare(self, training_ids: messages.Ids = ()) -> None:
        """Show the comparison of these runs, or (none) close it: it is part of the state."""
        self._model.compare(self._in_order(training_ids))
        self._widget.reset_pareto.set()
        self._wake()

    def _in_order(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Those of one group as they were begun (by layer, say); the list has the newest first."""
        groups = {record.id: record.group_id for record in self._model.records(ids)}
        jobs = [groups.get(i) or i for i in ids]
        return tuple(i for _, i in sorted(zip(map(jobs.index, jobs), ids, strict=True)))

    @command
    def comparison(self, training_ids: messages.Ids) -> tuple[messages.SettingRow, ...]:
        return tuple(setting_rows(self._model.records(training_ids)))

    @command
    def comparison_table(self, training_ids: messages.Ids) -> messages.ComparisonTableData:
        columns, rows = table(self._model.records(training_ids))
        return messages.ComparisonTableData(columns=tuple(columns), rows=tuple(tuple(row) for row in rows))

    @command
    def pareto(self, y_axis: messages.YAxis | None = None, scope: str | None = None, reset_zoom: bool = False) -> None:
        self._model.set_pareto(y_axis, scope)
        if reset_zoom or y_axis is not None or scope is not None:
            self._widget.reset_pareto.set()
        self._wake()

    # --------------------------------------------------------------------------------------------- templates

    @command
    def list_templates(self, search: Annotated[str, Field(max_length=1000)] = "") -> messages.TemplatesData:
        everything = self._templates.list()
        shown = self._templates.list(search=search) if search.strip() else everything
        return messages.TemplatesData(
            templates=tuple(template_row(record) for record in shown),
            total=len(everything),
            presets=tuple(messages.PresetData.of(each) for each in presets()),
        )

    @command
    def save_template(
        self, name: str, config: messages.ConfigData | None = None, training_id: str | None = None,
        replace: bool = False,
    ) -> dict[Literal["template_id"], str]:
        """Keep what the form holds, or the settings of a run; a name that is taken is a failure at "name"."""
        kept: Any = config
        if training_id is not None:
            kept = self._trainings.get(training_id).template_config()
        try:
            record = self._templates.save(name, kept, replace=replace)
        except StateError as error:
            if error.where != "name":
                raise
            # The page has a button for it, and no `replace=`.
            raise StateError(error.what, where="name", hint="Choose another name, or replace it.") from error
        return {"template_id": record.id}

    @command
    def template_action(
        self, action: messages.TemplateAct, template_id: str, name: str | None = None, description: str = ""
    ) -> None:
        """Do something to a template; `name` is for "rename", `description` for "describe"."""
        if action == "rename":
            self._templates.rename(template_id, name or "")
        elif action == "describe":
            self._templates.describe(template_id, description)
        elif action == "delete":
            self._templates.delete(template_id)
        else:
            self._templates.favorite(template_id, action == "favorite")

    @command
    def import_templates(self, file: str, text: str) -> dict[Literal["names"], list[str]]:
        return {"names": [record.name for record in self._templates.import_text(text.encode(), file)]}

    @command
    def export_templates(self, template_ids: messages.Ids = ()) -> dict[Literal["text"], str]:
        """The content of a file of templates; no ids: of all."""
        return {"text": self._templates.to_json(list(template_ids) or None)}

