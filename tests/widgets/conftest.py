"""Widgets without a notebook: a tiny bundle, and a way to see what would go to the page."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from saewidgets.widgets import shell
from saewidgets.widgets.commands import Commands
from saewidgets.widgets.model import Model
from saewidgets.widgets.training_panel.commands import PanelCommands
from saewidgets.widgets.training_panel.state import PanelModel
from saewidgets.widgets.training_panel.widget import TrainingPanel
from saewidgets.workspace import Workspace
from tests.widgets.seeded_runs import JOBS, compared_workspace

CPU = {"id": "cpu", "label": "cpu (8.0 GB)", "total_bytes": 8_000_000_000, "free_bytes": 6_100_000_000}


@pytest.fixture(autouse=True)
def small_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests need no frontend and no torch, so they do not wait for its build and their import."""
    monkeypatch.setattr(shell, "load_bundle", lambda view: ("export default {}", ""))
    monkeypatch.setattr(Workspace, "devices", lambda self: [CPU])
    monkeypatch.setattr(TrainingPanel, "_warm_up", lambda self: None)


class Sent(list[tuple[dict[str, Any], list[bytes]]]):
    """Every custom message of one widget: (content, buffers)."""

    def of(self, message_id: str) -> list[dict[str, Any]]:
        return [content for content, _ in self if content.get("id") == message_id]


@pytest.fixture
def record_messages(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Sent]:
    def record(widget: Any) -> Sent:
        sent = Sent()
        # Under the widget's own `send`: it goes to the comm, which does not exist here.
        monkeypatch.setattr(widget, "send", lambda content, buffers=None: sent.append((content, list(buffers or []))))
        return sent

    return record


def ask(widget: Any, sent: Sent, /, **command: Any) -> dict[str, Any]:
    """Send a command as the page would and return its Result or Failure."""
    command.setdefault("id", f"c{len(sent)}")
    widget._handle_custom_msg(command, [])
    widget.drain()
    return sent.of(command["id"])[-1]


def run(commands: Commands, kind: str, /, **arguments: Any) -> Any:
    """Do a command as a page would ask for it; what it returns."""
    buffers = [arguments.pop("buffer")] if "buffer" in arguments else []
    found = commands.run(kind, commands.known()[kind].read({"id": "1", "kind": kind, **arguments}, buffers))
    return found.result(10) if isinstance(found, Future) else found


def again(model: Model[Any]) -> None:
    """Let a model read what may have changed."""
    model.mark_changed()
    model.read()


def panel_commands(model: PanelModel, **parts: Any) -> PanelCommands:
    """The commands of a panel that has no figures."""
    found: dict[str, Any] = {"reset_charts": Event(), "reset_pareto": Event(), "_wake": lambda: None, **parts}
    return PanelCommands(SimpleNamespace(_model=model, workspace=model.workspace, **found))


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed workspace with runs in every state, and runs to compare."""
    folder = tmp_path_factory.mktemp("seeded") / "ws"
    compared_workspace(folder).close()
    return folder


@pytest.fixture
def ws(seeded: Path, tmp_path: Path) -> Iterator[Workspace]:
    shutil.copytree(seeded, tmp_path / "ws")
    with Workspace(tmp_path / "ws", jobs=JOBS) as workspace:
        yield workspace


@pytest.fixture
def panel(ws: Workspace) -> Iterator[TrainingPanel]:
    widget = TrainingPanel(ws)
    yield widget
    widget.close()
