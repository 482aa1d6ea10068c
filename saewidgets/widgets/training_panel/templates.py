"""What the page of the training panel can ask about templates: each command is one call of `ws.templates`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from saewidgets.config.templates import MAX_BYTES
from saewidgets.errors import ConfigError, StateError
from saewidgets.records import TemplateRecord
from saewidgets.render.labels import architecture_label
from saewidgets.widgets.commands import command
from saewidgets.widgets.messages.runs import Ids, TemplateAct, TemplateRow, TemplatesData
from saewidgets.widgets.messages.saes import UploadFile
from saewidgets.widgets.messages.training import ConfigData
from saewidgets.widgets.training_panel.runs import RunsCommands
from saewidgets.widgets.uploads import UploadCommands, Uploads

TemplateId = dict[Literal["template_id"], str]


class PanelCommands(RunsCommands, UploadCommands):
    """All commands of the panel's main part: those about runs, and templates."""

    def __init__(self, *parts: Any, **others: Any) -> None:
        super().__init__(*parts, **others)
        self._templates = self._workspace.templates
        self.uploads = Uploads(Path(self._workspace.folder), max_bytes=MAX_BYTES)

    @command
    def list_templates(self, search: Annotated[str, Field(max_length=1000)] = "") -> TemplatesData:
        """Favourites first, then by name."""
        everything = self._templates.list()
        shown = self._templates.list(search=search) if search.strip() else everything
        return TemplatesData(templates=tuple(template_row(record) for record in shown), total=len(everything))

    @command
    def save_template(
        self, name: str, config: ConfigData | None = None, training_id: str | None = None, replace: bool = False
    ) -> TemplateId:
        """Keep what the form holds, or (`training_id`) the settings of a run.

        Without `replace`, a name that is taken is a `Failure` with `where` = "name".
        """
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
    def template_action(self, action: TemplateAct, template_id: str, name: str | None = None) -> None:
        """Do something to a template; `name` is for "rename"."""
        if action == "rename":
            self._templates.rename(template_id, name or "")
        elif action == "delete":
            self._templates.delete(template_id)
        else:
            self._templates.favorite(template_id, action == "favorite")

    @command
    def begin_upload(self, files: tuple[UploadFile, ...]) -> dict[Literal["upload_id"], str]:
        """Make room for a file of templates."""
        for file in files:
            if file.size > MAX_BYTES:
                raise ConfigError(
                    f"{file.name} has {file.size:,} bytes; a file of templates has at most {MAX_BYTES:,}.",
                    where=file.name, hint="Export the templates in parts.",
                )  # fmt: skip
        return super().begin_upload(files)

    @command
    def import_templates(self, upload_id: str) -> dict[Literal["names"], list[str]]:
        """Take over the templates of a file that was uploaded."""
        try:
            ((name, path),) = self.uploads.finish(upload_id).items()
            found = self._templates.import_text(path.read_bytes(), name)
        finally:
            self.uploads.discard(upload_id)
        return {"names": [record.name for record in found]}

    @command
    def export_templates(self, template_ids: Ids = ()) -> dict[Literal["text"], str]:
        """The content of a file of templates; no ids: of all."""
        return {"text": self._templates.to_json(list(template_ids) or None)}


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
