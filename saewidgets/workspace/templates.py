"""`ws.templates`: training configurations saved under a name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from saewidgets.config import TrainingConfig
from saewidgets.config import arguments as take
from saewidgets.config.names import MAX_NAME, one_line, search_words
from saewidgets.config.templates import MAX_BYTES, TrainingTemplate, read_templates, write_templates
from saewidgets.durable import storage_errors, whole_file
from saewidgets.errors import ConfigError, NotFoundError, StorageError
from saewidgets.jobs import Listeners
from saewidgets.records import Records, TemplateRecord
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.lookup import Ref
from saewidgets.workspace.training.run import Run
from saewidgets.workspace.training.settle import as_config

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

_NUMBER = re.compile(r" \(\d{1,6}\)$")
_LIST = "List them with ws.templates.list() or `saewidgets templates list`."


@checks_arguments
class Templates:
    """The training templates of a workspace.

    A method that takes a template takes its id or its name. `changes` tells listeners the id of what has changed here,
    None for several.
    """

    NAMED: ClassVar = {"wanted": ("template",)}

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._rows = workspace, workspace.catalog.templates
        self.changes = Listeners()

    def list(self, *, favorites_first: bool = True, search: str | None = None) -> Records[TemplateRecord]:
        """Templates by name. `search` are words that all have to be somewhere in name, description, model, dataset,
        hook name, architecture or id."""
        words = [word.casefold() for word in search_words(search)]
        found = [record for record in self._rows.list() if all(word in _searched(record) for word in words)]
        if favorites_first:
            found.sort(key=lambda record: not record.favorite)
        return Records(found, TemplateRecord)

    def get(self, wanted: Ref) -> TemplateRecord:
        """The template with this id or name. Raises `NotFoundError`."""
        found = self._rows.find(wanted)
        if found is None:
            raise NotFoundError(f"There is no template {wanted!r}.", where="template", hint=_LIST)
        return found

    def load(self, wanted: Ref) -> TrainingConfig:
        """The configuration of a template, ready for `ws.trainings.create`. Raises `NotFoundError`, and `ConfigError`
        if another version of this package kept something that this one does not know."""
        return _config_of(self.get(wanted))

    def save(
        self,
        name: str,
        config: TrainingConfig | Mapping[str, Any] | Run,
        *,
        description: str | None = None,
        favorite: bool = False,
        replace: bool = False,
    ) -> TemplateRecord:
        """Keep a configuration under a name, with every setting as it is now, also those at their defaults.

        Args:
            config: a `TrainingConfig`, its settings as plain data, or a run (then `run.template_config()` is kept). The
                name of a run is left out.
            description: None keeps that of the template whose place it takes.
            replace: take the place of a template with this name, which stays a favourite.

        Raises `StateError` if there is a template of this name and `replace` is not set, and `ConfigError` if a setting
        cannot work or the configuration holds long text in memory.
        """
        kept = config.template_config() if isinstance(config, Run) else as_config(config)
        template = TrainingTemplate(name=name, description=description or "", favorite=favorite, config=kept)
        if replace and description is None:
            old = next((one for one in self._rows.list() if one.name == template.name), None)
            template = template.replace(description=old.description) if old else template
        record = self._rows.put(template, replace=replace)
        self.changes.tell(record.id)
        return record

    def rename(self, wanted: Ref, name: str) -> TemplateRecord:
        """Give a template another name. Raises `ConfigError` if that is empty or too long, and `StateError` if another
        template has it."""
        return self._changed(wanted, name=take.name(name, "a name for the template"))

    def describe(self, wanted: Ref, description: str) -> TemplateRecord:
        """Say what a template is good for. Raises `ConfigError` if that has more than 4,000 characters."""
        kept = TrainingTemplate(name="-", description=description, config=TrainingConfig()).description
        return self._changed(wanted, description=kept)

    def favorite(self, wanted: Ref, on: bool = True) -> TemplateRecord:
        """Make a template a favourite, or (`on` False) an ordinary one."""
        return self._changed(wanted, favorite=on)

    def delete(self, wanted: Ref) -> None:
        """Remove a template. Runs that were started from it stay. Raises `NotFoundError`."""
        record = self.get(wanted)
        self._rows.delete(record.id)
        self.changes.tell(record.id)

    def _changed(self, wanted: str, **changes: Any) -> TemplateRecord:
        record = self._rows.update(self.get(wanted).id, **changes)
        self.changes.tell(record.id)
        return record

    def export_json(self, ids: Ref | Sequence[Ref] | None, path: str | Path) -> Path:
        """Write templates (their ids or names; None: all) into a JSON file, which is replaced if it is there, with the
        folders that are missing; returns its path.

        Raises `NotFoundError`, `StorageError`, and `ConfigError` if there is none to write, more than a file of
        templates holds, or one that this version cannot read.
        """
        text = self.to_json(ids)
        target = Path(path)
        if target.is_dir():
            raise StorageError("This is a folder.", where=str(target), hint="Name a file in it: templates.json.")
        with whole_file(target) as file:
            file.write(text)
        return target

    def to_json(self, ids: Ref | Sequence[Ref] | None = None) -> str:
        """What `export_json` writes, as text."""
        records = list(self._rows.list()) if ids is None else [self.get(one) for one in _ids(ids)]
        if not records:
            raise ConfigError("There is no template to export.", where="ids", hint="Save one first.")
        return write_templates([
            TrainingTemplate(
                name=record.name, description=record.description, favorite=record.favorite, config=_config_of(record)
            )
            for record in {record.id: record for record in records}.values()
        ])  # fmt: skip

    def import_json(self, path: str | Path) -> Records[TemplateRecord]:
        """Take over all templates of a file that `export_json` wrote, or none.

        A name that is taken gets a number: ``"my template (2)"``. What the file says is data: its configurations are
        checked as those of the form. Returns the new templates, in the file's order.

        Raises `NotFoundError`, and `FormatError` for another file, one of a newer version, or a field that cannot work.
        """
        source = Path(path)
        if not source.is_file():  # a pipe may never end
            raise NotFoundError("There is no such file.", where=str(source), hint="Check the path.")
        with storage_errors("The file cannot be read", source, "Check its permissions."), source.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        return self._take_in(raw, source.name)

    def import_text(self, raw: bytes, name: str = "templates.json") -> Records[TemplateRecord]:
        """As `import_json`, from the content of a file that was uploaded; `name` is what errors call it."""
        take.kind(raw, bytes, "raw", "the content of a file as bytes", "Read the file in binary mode.")
        return self._take_in(raw, one_line(name)[:MAX_NAME])

    def _take_in(self, raw: bytes, file: str) -> Records[TemplateRecord]:
        templates, package = read_templates(raw, file)
        came = {"file": file, **({"package": package} if package else {})}
        found = self._rows.add(templates, _free_name, came)
        self.changes.tell(found[0].id if len(found) == 1 else None)
        return found


def _config_of(record: TemplateRecord) -> TrainingConfig:
    try:
        return TrainingConfig.from_data(record.config)
    except ConfigError as error:
        raise ConfigError(
            error.what, where=f"{record.name}: {error.where}" if error.where else record.name,
            hint=" ".join(filter(None, [error.hint, "Another version of saewidgets kept this template."])),
        ) from error


def _free_name(wanted: str, taken: Collection[str]) -> str:
    """`wanted`, with a number behind it (another one, if it has one) if it is taken."""
    name, number = wanted, 2
    base = _NUMBER.sub("", wanted) or wanted
    while name in taken:
        end = f" ({number})"
        name, number = base[: MAX_NAME - len(end)].rstrip() + end, number + 1
    return name


def _searched(record: TemplateRecord) -> str:
    parts = (record.name, record.description, record.model, record.corpus, record.hook_name, record.architecture)
    return " ".join((*parts, record.id)).casefold()


def _ids(ids: Any) -> Sequence[Ref]:
    if isinstance(ids, str | TemplateRecord):
        return [ids]
    if isinstance(ids, bytes | Mapping) or not isinstance(ids, Collection):
        take.refuse(ids, "ids", "a list of template ids", "Give a list, or None for all.")
    return list(ids)
