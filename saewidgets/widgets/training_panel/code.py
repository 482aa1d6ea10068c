"""`code_of`, the Python that starts a run again."""

from collections.abc import Mapping
from pprint import pformat
from typing import Any

from saewidgets.config import TrainingConfig
from saewidgets.config.training import with_former_defaults
from saewidgets.records import TrainingRecord
from saewidgets.workspace import Workspace

_ALWAYS = ("kind", "architecture")  # which of several models a part is


def code_of(record: TrainingRecord, workspace: Workspace) -> str:
    """Settings at their defaults are left out."""
    data = with_former_defaults(record.config)
    config = TrainingConfig.from_data(data)
    shown = _chosen(config.model_dump(mode="json"), config.model_dump(mode="json", exclude_defaults=True))
    shown = {"model": config.model, "hook_name": config.hook_name, **shown}
    settings = pformat(shown, width=100, sort_dicts=False)
    where = "" if workspace.is_default else repr(workspace.place)
    return f"import saewidgets as sw\n\nws = sw.Workspace({where})\nrun = ws.trainings.create({settings})\n"


def _chosen(data: Mapping[str, Any], differs: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, value in data.items():
        if isinstance(value, Mapping) and isinstance(differs.get(name, {}), Mapping):
            part = _chosen(value, differs.get(name, {}))
            if part and (name in differs or part.keys() - {*_ALWAYS}):
                found[name] = part
        elif name in differs or name in _ALWAYS:
            found[name] = value
    return found
