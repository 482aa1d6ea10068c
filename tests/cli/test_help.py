"""The commands, their options, and the page that describes them."""

import re
from pathlib import Path
from typing import Any

import typer

from saewidgets.cli.app import app
from tests.cli.conftest import Invoke

ROOT = Path(__file__).resolve().parents[2]
VERBS = ["demo", "train", "list", "show", "metrics", "pause", "resume", "stop", "retry", "delete", "lab", "doctor"]
VERBS += ["catalog", "saes", "hub", "steer", "export", "extract", "extractions", "features", "label", "templates"]
VERBS += ["evaluate", "activations", "pipeline", "presets"]


def _commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


def test_the_verbs() -> None:
    assert sorted(_commands()) == sorted(VERBS)


def test_each_explains_itself(invoke: Invoke) -> None:
    for verb, command in _commands().items():
        done = invoke(verb, "--help")
        assert (done.code, done.out.startswith(f"Usage: saewidgets {verb}")) == (0, True)
        parameters = [p for each in (command, *getattr(command, "commands", {}).values()) for p in each.params]
        assert [p.name for p in parameters if "--" in "".join(p.opts) and not getattr(p, "help", None)] == []


def test_the_page_names_every_command_and_no_option_that_does_not_exist() -> None:
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    group: Any = typer.main.get_command(app)
    commands = [group, *_commands().values()]
    nested = {verb: list(getattr(command, "commands", {})) for verb, command in _commands().items()}
    commands += [each for command in commands[1:] for each in getattr(command, "commands", {}).values()]
    options = {o for command in commands for p in command.params for o in (*p.opts, *p.secondary_opts)}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", page)) <= options | {"--help"}
    assert [verb for verb in VERBS if f"`saewidgets {verb}`" not in page] == []
    rows = {verb: next(line for line in page.splitlines() if f"`saewidgets {verb}`" in line) for verb in VERBS}
    assert [(verb, name) for verb in VERBS for name in nested[verb] if f"`{name}`" not in rows[verb]] == []


def test_no_command_is_a_usage_error_with_help(invoke: Invoke) -> None:
    done = invoke()
    assert done.code == 2
    assert "Commands:" in done.out + done.err
