"""What the training panel does with templates: each command is one call of `ws.templates`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from saewidgets.config.templates import MAX_BYTES
from saewidgets.errors import ConfigError, StateError
from saewidgets.records import TemplateRecord
from saewidgets.render.labels import architecture_label
from saewidgets.widgets.base import Handler
from saewidgets.widgets.messages.runs import (
    ExportTemplates,
    ImportTemplates,
    ListTemplates,
    SaveTemplate,
    TemplateAction,
    TemplateRow,
    TemplatesData,
)
from saewidgets.widgets.messages.saes import BeginUpload, CancelUpload, UploadChunk
from saewidgets.widgets.messages.wire import Command
from saewidgets.widgets.training_panel.state import PanelModel
from saewidgets.widgets.uploads import Announced, Uploads


class TemplateCommands:
    """Handlers of one panel. They run on worker threads and write no trait."""

    def __init__(self, model: PanelModel) -> None:
        self._workspace = model.workspace
        self._uploads = Uploads(Path(model.workspace.folder), max_bytes=MAX_BYTES)

    def close(self) -> None:
        """Throw away what was on its way."""
        self._uploads.close()

    @property
    def _templates(self) -> Any:
        return self._workspace.templates

    def table(self) -> dict[type[Command], Handler]:
        """Message class → handler."""
        return {
            ListTemplates: self.list,
            SaveTemplate: self.save,
            TemplateAction: self.act,
            BeginUpload: self.begin_upload,
            UploadChunk: self.upload_chunk,
            CancelUpload: self.cancel_upload,
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
            config = self._workspace.trainings.get(command.training_id).template_config()
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

    def begin_upload(self, command: BeginUpload) -> dict[str, str]:
        for file in command.files:
            if file.size > MAX_BYTES:
                raise ConfigError(
                    f"{file.name} has {file.size:,} bytes; a file of templates has at most {MAX_BYTES:,}.",
                    where=file.name, hint="Export the templates in parts.",
                )  # fmt: skip
        return {"upload_id": self._uploads.begin([Announced(file.name, file.size) for file in command.files])}

    def upload_chunk(self, command: UploadChunk, buffers: Sequence[memoryview]) -> dict[str, int]:
        return {"received": self._uploads.write(command.upload_id, command.file, command.offset, buffers[0])}

    def cancel_upload(self, command: CancelUpload) -> None:
        self._uploads.discard(command.upload_id)

    def take_in(self, command: ImportTemplates) -> dict[str, Any]:
        try:
            ((name, path),) = self._uploads.finish(command.upload_id).items()
            found = self._templates.import_text(path.read_bytes(), name)
        finally:
            self._uploads.discard(command.upload_id)
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
