"""What the training panel does with templates: each command is one call of `ws.templates`."""

from __future__ import annotations

from typing import Any

from saewidgets.errors import StateError
from saewidgets.records import TemplateRecord
from saewidgets.render.labels import architecture_label
from saewidgets.widgets.base import Handler
from saewidgets.widgets.messages import Command
from saewidgets.widgets.messages_runs import (
    ExportTemplates,
    ImportTemplates,
    ListTemplates,
    SaveTemplate,
    TemplateAction,
    TemplateRow,
    TemplatesData,
)
from saewidgets.widgets.panel_state import PanelModel


class TemplateCommands:
    """Handlers of one panel. They run on worker threads and write no trait."""

    def __init__(self, model: PanelModel) -> None:
        self._workspace = model.workspace

    @property
    def _templates(self) -> Any:
        return self._workspace.templates

    def table(self) -> dict[type[Command], Handler]:
        """Message class → handler."""
        return {
            ListTemplates: self.list,
            SaveTemplate: self.save,
            TemplateAction: self.act,
            ImportTemplates: self.take_in,
            ExportTemplates: self.export,
        }

    def list(self, command: ListTemplates) -> TemplatesData:
        everything = self._templates.list()
        shown = self._templates.list(search=command.search) if command.search.strip() else everything
        return TemplatesData(templates=tuple(template_row(record) for record in shown), total=len(everything))

    def save(self, command: SaveTemplate) -> dict[str, str]:
        config: Any = command.config
        if command.training_id is not None:
            config = self._workspace.trainings.get(command.training_id).config
        try:
            record = self._templates.save(command.name, config, replace=command.replace)
        except StateError as error:
            if error.where != "name":
                raise
            # The page has a button for it, and no `replace=`.
            raise StateError(error.what, where="name", hint="Choose another name, or replace it.") from error
        return {"template_id": record.id}

    def act(self, command: TemplateAction) -> dict[str, str]:
        wanted = command.template_id
        if command.action == "rename":
            self._templates.rename(wanted, command.name or "")
        elif command.action == "delete":
            self._templates.delete(wanted)
        else:
            self._templates.favorite(wanted, command.action == "favorite")
        return {"template_id": wanted}

    def take_in(self, command: ImportTemplates, buffers: Any) -> dict[str, Any]:
        found = self._templates.import_text(bytes(buffers[0]), command.file)
        return {"names": [record.name for record in found]}

    def export(self, command: ExportTemplates) -> dict[str, str]:
        return {"text": self._templates.to_json(list(command.template_ids) or None)}


def template_row(record: TemplateRecord) -> TemplateRow:
    """One template as the list shows it."""
    sae = record.config.get("sae", {})
    return TemplateRow(
        id=record.id,
        name=record.name,
        description=record.description,
        favorite=record.favorite,
        model=record.model,
        hook_name=record.hook_name,
        corpus=record.corpus,
        architecture=architecture_label(sae if isinstance(sae, dict) else {}, record.architecture),
        d_sae=record.d_sae,
        updated_at=record.updated_at,
    )
