"""Messages about several trainings at once, their checkpoints, comparisons and templates; see `wire.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from saewidgets.widgets.messages.training import YAxis
from saewidgets.widgets.messages.wire import Command, Note, Wire

Ids = Annotated[tuple[str, ...], Field(max_length=1000)]
BulkAction = Literal["pause", "resume", "stop", "stop_without_saving", "import", "delete"]
GroupActionName = Literal["pause", "resume", "stop", "stop_without_saving", "retry", "delete"]


# ---------------------------------------------------------------------------------------------------- commands


class RunActions(Command):
    """Something done to several runs; what fails is told and the others are done all the same. `RunsDone`."""

    kind: Literal["run_actions"] = "run_actions"
    action: BulkAction
    training_ids: Ids


class GroupAction(Command):
    """Something done to all runs of a job at once; answered with `{"group_id"}` (`retry`: of the new group)."""

    kind: Literal["group_action"] = "group_action"
    action: GroupActionName
    group_id: str


class RenameGroup(Command):
    """Call a group something else; answered with `{"group_id"}`."""

    kind: Literal["rename_group"] = "rename_group"
    group_id: str
    name: str


class ExportRuns(Command):
    """Write runs into a folder on the kernel's machine; several get a folder each in it. `RunsDone` with `paths`."""

    kind: Literal["export_runs"] = "export_runs"
    training_ids: Ids
    folder: str


class CheckpointAction(Command):
    """Something done with one checkpoint; answered with `{"training_id"}` (of the new run for "continue"), for
    "import" with `{"sae_id", "name"}`."""

    kind: Literal["checkpoint_action"] = "checkpoint_action"
    action: Literal["continue", "import", "delete"]
    training_id: str
    checkpoint_id: str


class TrainLonger(Command):
    """Go on in a new run until `tokens` in all; answered with its `{"training_id"}`."""

    kind: Literal["train_longer"] = "train_longer"
    training_id: str
    tokens: int = Field(ge=1, le=2**53)


class Compare(Command):
    """Show the comparison of these runs, or (none) close it; answered with null: it is part of the state."""

    kind: Literal["compare"] = "compare"
    training_ids: Ids = ()


class Comparison(Command):
    """Answered with `ComparisonData`: the settings of runs side by side."""

    kind: Literal["comparison"] = "comparison"
    training_ids: Ids


class ComparisonTable(Command):
    """Answered with `ComparisonTableData`: the same for a program that reads it."""

    kind: Literal["comparison_table"] = "comparison_table"
    training_ids: Ids


class Pareto(Command):
    """Change the Pareto view; None leaves a setting as it is. Answered with null."""

    kind: Literal["pareto"] = "pareto"
    y_axis: YAxis | None = None
    scope: str | None = None
    reset_zoom: bool = False


class OpenSae(Command):
    """Show an SAE in the place of the runs (None: show the runs again); answered with `{"sae_id"}`."""

    kind: Literal["open_sae"] = "open_sae"
    sae_id: str | None = None


class ListTemplates(Command):
    """Answered with `TemplatesData`."""

    kind: Literal["list_templates"] = "list_templates"
    search: str = Field(default="", max_length=1000)


class ListStores(Command):
    """Answered with `StoresData`: what has been captured, and whether an SAE of this architecture can train from it."""

    kind: Literal["list_stores"] = "list_stores"
    architecture: str = ""


class SaveTemplate(Command):
    """Keep what the form holds, or (`training_id`) the settings of a run; answered with `{"template_id"}`.

    Without `replace`, a name that is taken is a `Failure` with `where` = "name".
    """

    kind: Literal["save_template"] = "save_template"
    name: str
    config: dict[str, Any] | None = None
    training_id: str | None = None
    replace: bool = False


class TemplateAction(Command):
    """Answered with `{"template_id"}`."""

    kind: Literal["template_action"] = "template_action"
    action: Literal["rename", "favorite", "unfavorite", "delete"]
    template_id: str
    name: str | None = None  # for "rename"


class ImportTemplates(Command):
    """Take over the templates of a file that was uploaded (`BeginUpload`, `UploadChunk`). Answered with `{"names"}`."""

    kind: Literal["import_templates"] = "import_templates"
    upload_id: str


class ExportTemplates(Command):
    """Answered with `{"text"}`, the file's content; no ids: all templates."""

    kind: Literal["export_templates"] = "export_templates"
    template_ids: Ids = ()


# ---------------------------------------------------------------------------------------------------- answers


class RunsDone(Wire):
    """What became of something that was asked of several runs."""

    done: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    problems: tuple[Note, ...] = ()  # `where` is the name of the run


class SettingRow(Wire):
    """One setting of all compared runs."""

    name: str  # dotted
    label: str
    values: tuple[str, ...]
    differs: bool


class ComparisonData(Wire):
    """Settings side by side, in the order of the form."""

    training_ids: tuple[str, ...]
    names: tuple[str, ...]
    rows: tuple[SettingRow, ...] = ()


class ComparisonTableData(Wire):
    """Raw values, one row per run: where it stands, its settings by their dotted names, its newest metrics."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | bool | int | float | None, ...], ...] = ()


class TemplateRow(Wire):
    """One template as the list shows it."""

    id: str
    name: str
    description: str = ""
    favorite: bool = False
    model: str = ""
    hook_name: str = ""
    corpus: str = ""
    architecture: str = ""  # "TopK k 32", ready to show
    d_sae: int | None = None
    updated_at: float = 0.0


class TemplatesData(Wire):
    """Favourites first, then by name."""

    templates: tuple[TemplateRow, ...] = ()
    total: int = 0


class StoreRow(Wire):
    """One store of activations as the form lists it."""

    id: str
    name: str
    model: str = ""
    corpus: str = ""
    hook_names: tuple[str, ...] = ()
    tokens: int = 0
    size_bytes: int | None = None
    problem: str = ""  # why a training cannot read it
    values: dict[str, Any] = Field(default_factory=dict)  # dotted field names → values that the form takes from it


class StoresData(Wire):
    """Newest first."""

    stores: tuple[StoreRow, ...] = ()
