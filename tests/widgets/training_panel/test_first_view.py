"""What a new panel shows at once: the list without figures, and of many runs the first."""

import subprocess
import sys
from pathlib import Path

import pytest

from saewidgets.events import JobStatus
from saewidgets.widgets import shell
from saewidgets.widgets.messages.training import PanelState
from saewidgets.widgets.training_panel.state import FIRST, PanelModel, for_first_view
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


def test_the_first_view_of_many_runs(ws: Workspace) -> None:
    model = PanelModel(ws)
    model.read()
    few = model.state()
    assert for_first_view(few) is few
    [card, *_] = few.cards
    old = card.model_copy(update={"id": "old", "status": JobStatus.RUNNING.value})
    many = [card.model_copy(update={"id": f"{n}", "status": "completed"}) for n in range(100)]
    whole: PanelState = few.model_copy(update={"cards": (*many, old), "total": 101})
    shown = for_first_view(whole)
    assert [each.id for each in shown.cards] == ["old", *(f"{n}" for n in range(FIRST - 1))]
    assert (shown.total, shown.revision < whole.revision) == (101, True)
