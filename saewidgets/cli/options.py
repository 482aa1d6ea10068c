"""Defines the options that several commands share, and `settings`, which makes options of a configuration's fields.
The command groups use them."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperCommand

from saewidgets.cli.output import printable, size
from saewidgets.cli.session import answer
from saewidgets.errors import ConfigError

Option = typer.Option
Status = Annotated[str | None, Option(help="Only those in this state, e.g. running or completed.")]
Template = Annotated[str | None, Option(help="Id or name of a template to start from.")]
ConfigFile = Annotated[
    Path | None, Option("--config", "-c", metavar="FILE", help="A .json, .toml or .yaml file; flags win.")
]
Yes = Annotated[bool, Option("--yes", "-y", help="Do not ask.")]
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
    """Ask before something is deleted. Raises `ConfigError` where nobody is there to answer, `typer.Abort` for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("Nobody is there to confirm.", where=where, hint="Say --yes to delete it.")
    typer.confirm(printable(question), abort=True)


def delete_record(namespace: Any, record: Any, yes: bool, *, holding: str | None = None) -> None:
    """Ask, unless `yes` was said, then delete what a record of a namespace stands for. `holding` says what goes with
    it; None: its size."""
    name = record.id if record.name is None else f"{record.name} ({record.id})"
    confirm(yes, record.id, f"Delete {name}{f', {size(record.size_bytes)}' if holding is None else holding}?")
    freed = namespace.delete(record.id)
    data = {"id": record.id, "name": record.name, "deleted": True}
    answer(data if freed is None else {**data, "freed_bytes": freed}, f"Deleted {name}")


class Grouped(TyperCommand):
    """A command whose options stand under the `rich_help_panel` they name; those that name none come last."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write every heading with its options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                plain = "Arguments" if parameter.param_type_name == "argument" else "Options"
                sections.setdefault(getattr(parameter, "rich_help_panel", None) or plain, []).append(record)
        for name in sorted(sections, key=lambda name: name == "Options"):
            with formatter.section(name):
                formatter.write_dl(sections[name])


def settings(config: str, options: Mapping[str, str], panels: Mapping[str, str] | None = None) -> type[Grouped]:
    """The class of a command that takes settings as options, with the text of their fields; `given` has what was given.

    Args:
        config: ``module:class`` of the configuration, imported when the options are read.
        options: option → dotted name of the setting.
        panels: dotted name → heading of the help.
    """

    class Settings(Grouped):
        _all: list[Any] | None = None  # one list: click appends its own to it

        @property
        def params(self) -> list[Any]:
            """Those of the function, the settings before the ones that end with --json."""
            if self._all is None:
                self._made = _made_of(config, options, panels or {})
                last = [each for each in self._own if each.name in ("json", "quiet")]
                self._all = [*(each for each in self._own if each not in last), *self._made, *last]
            return self._all

        @params.setter
        def params(self, own: list[Any]) -> None:
            self._own = own

        def invoke(self, ctx: Any) -> Any:
            """Call the function without what `given` has."""
            values = {each.name: ctx.params.pop(each.name) for each in self._made}
            paths = zip(values.items(), options.values(), strict=True)
            ctx.meta[_GIVEN] = {path: value for (_, value), path in paths if value is not None}
            return super().invoke(ctx)

    return Settings


_GIVEN = "saewidgets.settings"


def given(context: typer.Context) -> dict[str, Any]:
    """The settings that were given as options, by their dotted names."""
    return dict(context.meta[_GIVEN])


def _made_of(config: str, options: Mapping[str, str], panels: Mapping[str, str]) -> list[Any]:
    """The options as typer makes them of a function's parameters; its own classes differ between its versions."""
    module, name = config.split(":")
    kind, wanted = getattr(importlib.import_module(module), name), []
    for number, (option, path) in enumerate(options.items()):
        text, plain = _text_and_type(kind, path)
        asked: Any = Annotated[plain, Option(option, help=text, rich_help_panel=panels.get(path))]
        keyword = inspect.Parameter.KEYWORD_ONLY
        wanted.append(inspect.Parameter(f"setting_{number}", keyword, default=None, annotation=asked))

    def command() -> None: ...

    command.__signature__ = inspect.Signature(wanted)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in wanted}
    app = typer.Typer(add_completion=False)
    app.command()(command)
    found: Any = typer.main.get_command(app)
    return [each for each in found.params if each.name in command.__annotations__]


def _text_and_type(kind: Any, path: str) -> tuple[str, Any]:
    """The first sentence of a setting's text, and the type that is read from the command line."""
    fields = list(_fields(kind, path.split(".")))
    owners = [owner for owner, _ in fields if owner is not kind]
    field = fields[0][1]
    text = (field.description or field.title or "").partition(". ")[0].rstrip(".")
    if path == "sae.architecture":
        text = ", ".join(owner.model_fields["architecture"].default for owner in owners)
    elif path.startswith("sae.") and len(owners) < _ARCHITECTURES:
        text += f" ({', '.join(owner.model_fields['architecture'].default for owner in owners)})"
    parts = get_args(field.annotation) or (field.annotation,)
    plain: Any = next((part for part in parts if part in (bool, int, float)), str)
    return f"{text}.", plain | None


_ARCHITECTURES = 8  # a setting that so many architectures have needs no list of them


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
