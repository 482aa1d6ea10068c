"""Defines ``saewidgets templates``: training configurations that are kept under a name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saewidgets.cli.configfile import assignment, build_config, read_config
from saewidgets.cli.options import ConfigFile, Json, Option, Set, Yes, delete_record
from saewidgets.cli.output import answer, count, cut, facts, listed, moment, plural
from saewidgets.cli.session import Group, open_workspace
from saewidgets.config.base import dotted, require
from saewidgets.errors import ConfigError, FormatError, StateError

if TYPE_CHECKING:
    from saewidgets.records import TemplateRecord

templates = Group("Keep training configurations under names, and share them as files.")
Template = Annotated[str, typer.Argument(metavar="TEMPLATE", help="Id or name of the template.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A .json file.")]
COLUMNS = ("", "name", "model", "dataset", "hook", "architecture", "d_sae", "description")
_LONGEST, _LONG_SETTING = 60, 200  # characters of a description in a table, and of a setting


def base_of(config: Path | None, template: str | None) -> dict[str, Any]:
    """The settings that flags are put on: of a file, of a template, or none."""
    if template is None:
        return read_config(config) if config else {}
    said = "Settings come from a file or from a template, not from both."
    require((config is None, "--template", said, "Name one of them."))
    with open_workspace() as workspace:
        return workspace.templates.load(template).to_data()


def _row(record: TemplateRecord) -> list[str]:
    return [
        "★" if record.favorite else "", record.name, record.model, record.corpus, record.hook_name, record.architecture,
        count(record.d_sae), cut(" ".join(record.description.split()), _LONGEST),
    ]  # fmt: skip


@templates.verb("list")
def list_templates(
    search: Annotated[str | None, Option(help="Words that are all in name, description, model, dataset, …")] = None,
    json: Json = False,
) -> None:
    """List the templates, favourites first."""
    with open_workspace() as workspace:
        records = list(workspace.templates.list(search=search))
    listed(json, records, COLUMNS, _row, (6,), "No templates match." if search else "No templates yet.")


@templates.verb("show")
def show(template: Template, json: Json = False) -> None:
    """Show a template with all its settings."""
    with open_workspace() as workspace:
        record = workspace.templates.get(template)
    lines = facts([
        ("id", record.id), ("name", record.name), ("favourite", "yes" if record.favorite else "no"),
        ("description", record.description), ("saved", moment(record.updated_at)),
    ])  # fmt: skip
    settings = [
        (name, value if isinstance(value, str) else dumps(value, ensure_ascii=False))
        for name, value in dotted(record.config)  # by the names that --set takes
    ]
    answer(json, record, *lines, "", *(f"{name:<36}{cut(value, _LONG_SETTING)}" for name, value in settings))


@templates.verb("save")
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    config: ConfigFile = None,
    run: Annotated[str | None, Option(metavar="RUN", help="The settings of this run.")] = None,
    set_: Set = None,
    description: Annotated[str | None, Option(help="What it is good for; --replace keeps the former one.")] = None,
    favorite: Annotated[bool, Option("--favorite", help="List it first.")] = False,
    replace: Annotated[bool, Option("--replace", help="Take the place of a template with this name.")] = False,
    json: Json = False,
) -> None:
    """Keep settings from a file, a run or --set under a name."""
    require(
        (not (config and run), "--run", "Settings come from a file or from a run, not from both.", "Name one of them."),
        (config or run or set_, "NAME", "There are no settings to keep.", "Give --config, --run or --set."),
    )
    with open_workspace() as workspace:
        base = workspace.trainings.get(run).template_config().to_data() if run else base_of(config, None)
        require((
            "over" not in base, f"{config}: over", "A template is one training, and this table makes several of it.",
            f"Leave it out; say it again with saewidgets train --template {name!r} --over NAME=VALUE,VALUE.",
        ))  # fmt: skip
        wanted = build_config(base, [assignment(text) for text in set_ or []])
        with _taken_is_usage(" or say --replace"):
            record = workspace.templates.save(
                name, wanted, description=description, favorite=favorite, replace=replace
            )
    answer(json, record, f"Saved {record.name} ({record.id})")


@templates.verb("rename")
def rename(
    template: Template,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its new name.")],
    json: Json = False,
) -> None:
    """Give a template another name."""
    with open_workspace() as workspace:
        with _taken_is_usage():
            record = workspace.templates.rename(template, name)
    answer(json, record, f"Renamed to {record.name} ({record.id})")


@templates.verb("favorite")
def favorite(
    template: Template,
    off: Annotated[bool, Option("--off", help="Make it an ordinary one again.")] = False,
    json: Json = False,
) -> None:
    """Make a template a favourite."""
    with open_workspace() as workspace:
        record = workspace.templates.favorite(template, not off)
    said = "Not a favourite any more:" if off else "Favourite:"
    answer(json, record, f"{said} {record.name} ({record.id})")


@templates.verb("delete")
def delete(template: Template, yes: Yes = False, json: Json = False) -> None:
    """Delete a template. Runs that were started from it stay."""
    with open_workspace() as workspace:
        delete_record(workspace.templates, workspace.templates.get(template), yes, json, holding="")


@templates.verb("export")
def export(
    path: File,
    template: Annotated[
        list[str] | None, typer.Argument(metavar="[TEMPLATE]...", help="Ids or names, else all.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Write templates into a JSON file, replacing it if it is there and making folders that are missing."""
    with open_workspace() as workspace:
        written = workspace.templates.export_json(template or None, path)
        number = len(dict.fromkeys(template)) if template else len(workspace.templates.list())
    answer(json, {"path": written, "templates": number}, f"{plural(number, 'template')} written to {written}")


@templates.verb("import")
def import_templates(path: File, json: Json = False) -> None:
    """Take over all templates of a file, or none; names that are taken get a number."""
    with open_workspace() as workspace:
        try:
            records = list(workspace.templates.import_json(path))
        except FormatError as error:  # as a file that --config cannot take
            raise ConfigError(error.what, where=error.where, hint=error.hint) from error
    answer(json, records, "Imported " + ", ".join(record.name for record in records))


@contextmanager
def _taken_is_usage(otherwise: str = "") -> Iterator[None]:
    """A name that another template has, as the command's own mistake."""
    try:
        yield
    except StateError as error:
        raise ConfigError(error.what, where="NAME", hint=f"Choose another name{otherwise}.") from error
