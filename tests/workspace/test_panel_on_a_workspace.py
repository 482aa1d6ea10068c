"""The panel's commands against a real workspace: a group, its templates, a comparison, a run that goes on."""

from __future__ import annotations

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.widgets import shell
from saewidgets.widgets.training_panel.state import PanelModel
from saewidgets.widgets.training_panel.widget import TrainingPanel
from saewidgets.workspace import TrainingGroup, Workspace
from tests.widgets.conftest import panel_commands, wait_for
from tests.workspace.conftest import PATIENCE, completed


def test_the_charts_match_the_catalog(
    ws: Workspace, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "load_bundle", lambda view: ("export default {}", ""))
    panel = TrainingPanel(ws)
    run = completed(ws.trainings.create(config.replace(tokens=40 * 64, log_every_steps=1)))
    names = ("loss", "l0", "fvu")
    wanted = ws.trainings.metric_columns(run.id, names)
    wait_for(lambda: len(panel._charts._series.get(run.id, ())) == len(wanted["step"]), PATIENCE)
    series = panel._charts._series[run.id]
    for name in ("step", "tokens", "time", *names):
        assert series.column(name).tolist() == wanted[name].tolist()
    panel.close()


def test_a_group_from_its_cards_to_its_end(ws: Workspace, pair: TrainingGroup) -> None:
    model = PanelModel(ws)
    model.read()
    cards = model.state().cards
    assert {card.group_id for card in cards} == {pair.id}
    assert {card.group_name for card in cards} == {pair.name}
    runs, ids = panel_commands(model), tuple(card.id for card in cards)

    runs.compare(training_ids=ids)
    compare = model.state().compare
    assert compare is not None
    assert len(compare.points) == 2
    differing = [row.label for row in runs.comparison(training_ids=ids) if row.differs]
    assert differing == ["Active latents (k)"]

    details = panel_commands(model).details(training_id=ids[0])
    assert details.checkpoints
    assert any("Completed" in line for line in details.log)
    longer = runs.train_longer(training_id=ids[0], tokens=2 * 768).training_id
    assert ws.trainings.get(longer).wait(PATIENCE) is JobStatus.COMPLETED, ws.trainings.get(longer).error
    done = runs.run_actions(action="import", training_ids=ids)
    assert (done.done, done.problems) == (ids, ())
    runs.group_action(action="delete", group_id=pair.id)
    assert [record.id for record in ws.trainings.list()] == [longer]
