"""The panel's commands against a real workspace: a group, its templates, a comparison, a run that goes on."""

from __future__ import annotations

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.widgets.messages.runs import (
    Compare,
    Comparison,
    GroupAction,
    ListTemplates,
    RunActions,
    SaveTemplate,
    TrainLonger,
)
from saewidgets.widgets.messages.training import Details, FormSchema
from saewidgets.widgets.training_panel.commands import PanelCommands
from saewidgets.widgets.training_panel.runs import RunsCommands
from saewidgets.widgets.training_panel.state import PanelModel
from saewidgets.widgets.training_panel.templates import TemplateCommands
from saewidgets.workspace import Workspace
from tests.workspace.conftest import PATIENCE


def nothing() -> None:
    pass


def test_a_group_from_its_cards_to_its_end(ws: Workspace, config: TrainingConfig) -> None:
    group = ws.trainings.create_many(config, over={"sae.k": [2, 4]})
    assert group.wait(PATIENCE) is JobStatus.COMPLETED, group.error
    model = PanelModel(ws)
    model.read()
    cards = model.state().cards
    assert {card.group_id for card in cards} == {group.id}
    assert {card.group_name for card in cards} == {group.name}
    runs, ids = RunsCommands(model, nothing, nothing, nothing), tuple(card.id for card in cards)

    runs.compare(Compare(id="1", training_ids=ids))
    compare = model.state().compare
    assert compare is not None
    assert len(compare.points) == 2
    differing = [row.label for row in runs.comparison(Comparison(id="2", training_ids=ids)).rows if row.differs]
    assert differing == ["Active latents (k)"]

    details = PanelCommands(model, nothing, nothing, nothing).details(Details(id="3", training_id=ids[0]))
    assert details.checkpoints
    longer = runs.train_longer(TrainLonger(id="4", training_id=ids[0], tokens=2 * 768))["training_id"]
    assert ws.trainings.get(longer).wait(PATIENCE) is JobStatus.COMPLETED, ws.trainings.get(longer).error
    done = runs.actions(RunActions(id="5", action="import", training_ids=ids))
    assert (done.done, done.problems) == (ids, ())
    runs.group(GroupAction(id="6", action="delete", group_id=group.id))
    assert [record.id for record in ws.trainings.list()] == [longer]


def test_templates_of_a_real_workspace(ws: Workspace, config: TrainingConfig) -> None:
    model = PanelModel(ws)
    templates = TemplateCommands(model)
    kept = config.replace(corpus="demo").to_data()
    saved = templates.save(SaveTemplate(id="1", name="mine", config=kept))["template_id"]
    (row,) = templates.list(ListTemplates(id="2", search="mine")).templates
    assert (row.id, row.architecture, row.d_sae) == (saved, "TopK k 4", 64)
    form = PanelCommands(model, nothing, nothing, nothing).form_schema(FormSchema(id="3", template_id=saved))
    assert form.defaults["sae.k"] == 4
