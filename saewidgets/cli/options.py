"""Defines the options that several commands share, and `settings`, which makes options of a configuration's fields.
The command groups use them."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from saewidgets.cli.output import printable, size
from saewidgets.cli.session import OptionsOfSettings, answer
from saewidgets.errors import ConfigError

Option = typer.Option
Status = Annotated[str | None, Option(help="Only those in this state, e.g. running or completed.")]
Template = Annotated[str | None, Option(help="Id or name of a template to start from.")]
Preset = Annotated[str | None, Option(metavar="NAME", help="See `saewidgets presets`.")]
ConfigFile = Annotated[
    Path | None, Option("--config", "-c", metavar="FILE", help="A .json, .toml or .yaml file; flags win.")
]
Yes = Annotated[bool, Option("--yes", "-y", help="Do not ask.")]
Spread = Annotated[int, Option("--spread", metavar="JOBS", help="Share the work among so many jobs.")]
Wait = Annotated[float, Option("--wait", metavar="SECONDS", help="How long to wait for it; 0 does not wait.")]
Set = Annotated[
    list[str] | None, Option("--set", metavar="NAME=VALUE", help="Any setting by its dotted name; repeatable.")
]
SubtractBDec = Annotated[
    bool | None,
    Option(
        "--apply-b-dec-to-input/--no-apply-b-dec-to-input",
        help="Whether b_dec is subtracted from the input, where the files leave it open.", show_default=False,
    ),
]


def named(metavar: str, noun: str) -> Any:
    """The argument that names something of the workspace."""
    text = f"Id of the {noun}, a unique beginning of it (4 characters or more), or its name."
    return typer.Argument(metavar=metavar, help=text)


RunId = Annotated[str, named("RUN", "run")]


def confirm(yes: bool, where: str, question: str) -> None:
    """Ask before something is deleted. Raises `ConfigError` without a terminal, `typer.Abort` for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("There is no terminal to confirm this.", where=where, hint="Add --yes to delete it.")
    typer.confirm(printable(question), abort=True)


def delete_record(namespace: Any, record: Any, yes: bool, *, holding: str | None = None) -> None:
    """Delete what a record of a namespace describes, after a question unless `yes`. `holding` says what goes with
    it; None: its size."""
    name = record.id if record.name is None else f"{record.name} ({record.id})"
    confirm(yes, record.id, f"Delete {name}{f', {size(record.size_bytes)}' if holding is None else holding}?")
    freed = namespace.delete(record.id)
    data = {"id": record.id, "name": record.name, "deleted": True}
    answer(data if freed is None else {**data, "freed_bytes": freed}, f"Deleted {name}")


def settings(config: type, *asked: str | tuple[str, str], panel: str | None = None) -> OptionsOfSettings:
    """Options of a command (see `command`) for settings of `config`, by their dotted names, with the text of their
    fields. An option is called as the last part of the name, ``sae.d_sae`` ``--d-sae``, or as given beside it. In the
    help they appear under the heading `panel`."""
    found, keyword = {}, inspect.Parameter.KEYWORD_ONLY
    for each in asked:
        path, option = each if isinstance(each, tuple) else (each, f"--{each.rpartition('.')[2].replace('_', '-')}")
        text, plain = _text_and_type(config, path)
        kind: Any = Annotated[plain, Option(option, help=text, rich_help_panel=panel)]
        name = f"setting_{path.replace('.', '_')}"
        found[path] = inspect.Parameter(name, keyword, default=None, annotation=kind)
    return found


def _text_and_type(kind: Any, path: str) -> tuple[str, Any]:
    """The first sentence of a setting's text with its choices and default, and the type that the command line reads."""
    fields = list(_fields(kind, path.split(".")))
    owners = [owner for owner, _ in fields if owner is not kind]
    field = fields[0][1]
    text = (field.description or field.title or "").partition(". ")[0].rstrip(".")
    if path == "sae.architecture":
        text = ", ".join(owner.model_fields["architecture"].default for owner in owners)
    elif path.startswith("sae.") and len(owners) < _LISTED_BELOW:
        text += f" ({', '.join(owner.model_fields['architecture'].default for owner in owners)})"
    parts = get_args(field.annotation) or (field.annotation,)
    plain: Any = next((part for part in parts if part in (bool, int, float)), str)
    choices = [get_args(each) for each in (field.annotation, *parts) if get_origin(each) is Literal]
    notes = [", ".join(words) for words in choices if len(words) > 1]
    same = path != "sae.architecture" and all(one.default == field.default for _, one in fields)
    if same and isinstance(field.default, str | int | float):
        default = field.default if plain is not bool else "on" if field.default else "off"
        notes.append(f"default: {default}")
    return f"{text}." + (f" [{'; '.join(notes)}]" if notes else ""), plain | None


_LISTED_BELOW = 8  # a setting that so many architectures have needs no list of them


def _fields(kind: Any, names: list[str]) -> Iterator[tuple[Any, Any]]:
    """The configurations that have a setting, with its field: of a union every one."""
    field = kind.model_fields.get(names[0])
    if field is None:
        return
    if len(names) == 1:
        yield kind, field
        return
    for each in _kinds(field.annotation):
        yield from _fields(each, names[1:])


def _kinds(annotation: Any) -> Iterator[Any]:
    if hasattr(annotation, "model_fields"):
        yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)
