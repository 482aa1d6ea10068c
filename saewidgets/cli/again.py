"""The command that runs now, to type it once more."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from typing import Any

import typer


def this_command(context: typer.Context, without: Collection[str] = ()) -> tuple[str, ...]:
    """The words of the command as it was given, quoted for a shell; for `command_line`, which knows the workspace.

    Args:
        context: of the command.
        without: names of parameters that are left out.
    """
    words = [str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if name not in without and source is not None and source.name == "COMMANDLINE":
            words += _words(parameter, context.params[name])
    return tuple(shlex.quote(word) for word in words)


def _words(parameter: Any, value: Any) -> list[str]:
    if parameter.param_type_name == "argument":
        return [str(each) for each in value] if isinstance(value, list | tuple) else [str(value)]
    option = max(parameter.opts, key=len)
    if parameter.is_flag:
        return [option if value else max(parameter.secondary_opts, key=len)]
    values = value if isinstance(value, list | tuple) else [value]
    return [word for each in values for word in (option, str(each))]
