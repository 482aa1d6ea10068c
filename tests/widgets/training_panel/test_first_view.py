"""What a new panel shows at once: the list without figures, and of many runs the first."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from saewidgets.events import JobStatus
from saewidgets.records import TrainingRecord
from saewidgets.widgets import shell
from saewidgets.widgets.training_panel.state import FIRST, PanelModel
from saewidgets.widgets.training_panel.widget import TrainingPanel
from saewidgets.workspace import Workspace
from tests.jobs.conftest import wait_until

CELL = """
import sys
import saewidgets as sw
from saewidgets.widgets import shell
shell.load_bundle = lambda view: ("export default {}", "")
shell._BEGINS = 60.0
panel = sw.TrainingPanel(sw.Workspace(sys.argv[1]))
assert "<svg" in panel._repr_mimebundle_()[0]["text/html"]
print(*[name for name in ("bqplot", "pandas", "torch", "saewidgets.widgets.steering.widget") if name in sys.modules])
"""


def test_a_cell_waits_for_no_figures(seeded: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CELL, str(seeded)], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr


def test_figures_come_later_where_room_was_kept(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_BEGINS", 60.0)
    panel = TrainingPanel(ws)
    box = panel._charts.box
    assert (box.children, box.layout.min_height) == ((), "154px")
    assert "<svg" in panel.export_html()
    panel._wake()
    wait_until(lambda: len(box.children) == 3)
    assert box.layout.min_height is None
    panel.close()


def test_the_first_view_of_many_runs(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def many() -> list[TrainingRecord]:
        new = [replace(record, id=f"{n}", created_at=2.0 + n, status=JobStatus.COMPLETED) for n in range(100)]
        return [*new, replace(record, id="old", created_at=1.0, status=JobStatus.RUNNING)]

    [record, *_] = ws.trainings.list()
    monkeypatch.setattr(ws.trainings, "list", many)
    model = PanelModel(ws)
    model.read()
    first = model.state()
    assert [each.id for each in first.cards] == ["old", *(f"{99 - n}" for n in range(FIRST - 1))]
    assert first.total == 101
    model.show_all()
    assert [each.id for each in model.state().cards] == [*(f"{99 - n}" for n in range(100)), "old"]
    assert model.state().revision == first.revision + 1


def test_it_says_at_once_how_many_run(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_BEGINS", 60.0)
    [record, *_] = ws.trainings.list()
    running = [replace(record, id=f"train_{n:026}", status=JobStatus.RUNNING) for n in range(FIRST + 8)]
    monkeypatch.setattr(ws.trainings, "list", lambda: running)
    panel = TrainingPanel(ws)
    assert len(panel._parts[0].state["cards"]) == FIRST
    assert repr(panel).endswith(f"{FIRST + 8} trainings, {FIRST + 8} running>")
    panel.close()
