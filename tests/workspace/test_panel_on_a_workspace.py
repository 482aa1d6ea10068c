"""The panel against a real workspace: its charts show what the catalog holds."""

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.widgets import shell
from saewidgets.widgets.training_panel.widget import TrainingPanel
from saewidgets.workspace import Workspace
from tests.jobs.conftest import wait_until
from tests.workspace.conftest import PATIENCE, completed


def test_the_charts_match_the_catalog(
    ws: Workspace, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "load_bundle", lambda view: ("export default {}", ""))
    panel = TrainingPanel(ws)
    run = completed(ws.trainings.create(config.replace(tokens=40 * 64, log_every_steps=1)))
    names = ("loss", "l0", "fvu")
    wanted = ws.trainings.metric_columns(run.id, names)
    wait_until(lambda: len(panel._charts._series.get(run.id, ())) == len(wanted["step"]), PATIENCE)
    series = panel._charts._series[run.id]
    for name in ("step", "tokens", "time", *names):
        assert series.column(name).tolist() == wanted[name].tolist()
    panel.close()
