"""Messages about several trainings at once, their checkpoints, comparisons and templates; see `wire.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from saewidgets.widgets.messages.wire import Note, Wire

Ids = Annotated[tuple[str, ...], Field(max_length=1000)]
CheckpointAction = Literal["continue", "import", "delete"]
TemplateAct = Literal["rename", "favorite", "unfavorite", "delete"]
BulkAction = Literal["pause", "resume", "stop", "stop_without_saving", "import", "delete"]
GroupActionName = Literal["pause", "resume", "stop", "stop_without_saving", "retry", "delete"]


class Imported(Wire):
    """The SAE that a checkpoint became."""

    sae_id: str
    name: str


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
