"""The page's types are those of Python, and every command answers whatever it is asked."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter

from saewidgets.widgets.commands import Command, Commands
from saewidgets.widgets.messages.features import ViewerState
from saewidgets.widgets.messages.hub import HubState
from saewidgets.widgets.messages.saes import SaeBrowserState
from saewidgets.widgets.messages.steering import SteeringState
from saewidgets.widgets.messages.training import PanelState
from saewidgets.widgets.shell import Part
from tests.widgets.conftest import Sent, ask
from tools import demo_states, wire

COMMANDS = [
    pytest.param(source, each, id=f"{name}-{each.kind}")
    for name, source in wire.COMMANDS.items()
    for each in source.known().values()
]


def test_the_generated_types_are_up_to_date() -> None:
    assert wire.TARGET.read_text("utf-8") == wire.text(), "Run `python tools/wire.py`."


def test_the_recorded_states_are_such_as_python_writes() -> None:
    """Of the demo page and the page tests: every state and answer has the fields that it has today."""
    states = {
        "runs": PanelState, "library": SaeBrowserState, "features": ViewerState, "download": HubState,
        "steering": SteeringState,
    }  # fmt: skip
    answers = {kind: each.answer for source in wire.COMMANDS.values() for kind, each in source.known().items()}
    recorded = json.loads(demo_states.FILE.read_text("utf-8"))
    assert recorded.keys() == states.keys()
    for widget, found in recorded.items():
        said = {kind: one["value"] if "numbers" in one else one for kind, one in found["answers"].items()}
        for kind, value in {"state": found["state"], **said}.items():
            model = TypeAdapter(answers.get(kind, states[widget]))
            today = model.dump_python(model.validate_python(value), mode="json")
            assert today == value, f"{kind} is of another version. Run `python tools/demo_states.py`."


class Nothing:
    """A state that nobody looks at."""

    def state(self) -> PanelState:
        return PanelState()


def part_of(source: type[Commands]) -> Part:
    commands = object.__new__(source)
    commands._model = Nothing()  # type: ignore[assignment]
    commands._wake = lambda: None
    commands.state = PanelState  # type: ignore[method-assign]
    return Part("training_panel", commands)


@pytest.mark.parametrize(("source", "command"), COMMANDS)
def test_a_wrong_argument_is_refused_by_its_name(
    source: type[Commands], command: Command, record_messages: Callable[[Any], Sent]
) -> None:
    part = part_of(source)
    sent = record_messages(part)
    unknown = ask(part, sent, id="a", kind=command.kind, surprise=1)
    assert (unknown["kind"], unknown["where"] in {"surprise", *command.arguments.model_fields}) == ("failure", True)
    for name in command.arguments.model_fields:
        answer = ask(part, sent, id=name, kind=command.kind, **{name: object})
        assert answer["kind"] == "failure"
        assert answer["where"] in command.arguments.model_fields or answer["where"].startswith(f"{name}.")
    part.close()
