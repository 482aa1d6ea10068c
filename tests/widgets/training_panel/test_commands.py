"""Every button is one call of the workspace."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from saewidgets.config import TrainingConfig
from saewidgets.errors import NotFoundError, StateError
from saewidgets.events import JobStatus
from saewidgets.widgets.commands import FieldsError
from saewidgets.widgets.messages.training import (
    Picture,
)
from saewidgets.widgets.training_panel.commands import PanelCommands
from saewidgets.widgets.training_panel.state import PanelModel, for_footer
from tests.widgets.conftest import panel_commands
from tests.widgets.fake_workspace import FakeWorkspace


class Spy:
    """What the commands asked the panel for."""

    def __init__(self) -> None:
        self.woken, self.reset = threading.Event(), threading.Event()

    def pictures(self, figure: str) -> list[Picture]:
        return [Picture(name=figure, width=640, height=400, svg="<svg></svg>")]


@pytest.fixture
def spy() -> Spy:
    return Spy()


@pytest.fixture
def commands(ws: FakeWorkspace, spy: Spy) -> PanelCommands:
    model = PanelModel(ws)
    model.read()
    return panel_commands(model, spy.woken.set, reset_zoom=spy.reset.set, pictures=spy.pictures)


def test_start_waits_until_the_model_was_looked_up(
    commands: PanelCommands, ws: FakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [{"pending": ("model",)}, {"pending": ("model",)}, {"fields": {"model": "There is no such model."}}]
    monkeypatch.setattr(ws.trainings, "validate", lambda data, over=None: answers.pop(0))
    with pytest.raises(FieldsError) as caught:
        commands.create(config={})
    assert caught.value.fields == {"model": "There is no such model."}
    assert answers == []


@pytest.mark.parametrize(
    ("action", "training_id", "call"),
    [
        ("pause", "train_0", ("pause", "train_0")),
        ("resume", "train_1", ("resume", "train_1")),
        ("stop", "train_0", ("stop", "train_0", True)),
        ("stop_without_saving", "train_0", ("stop", "train_0", False)),
        ("checkpoint", "train_0", ("checkpoint", "train_0")),
        ("delete", "train_3", ("delete", "train_3")),
    ],
)
def test_actions(
    commands: PanelCommands, ws: FakeWorkspace, spy: Spy, action: str, training_id: str, call: tuple
) -> None:
    found = commands.run_action(action=action, training_id=training_id)
    assert ws.trainings.calls[-1] == call
    assert found.training_id == training_id
    assert spy.woken.is_set()


def test_retry_answers_with_the_new_run(commands: PanelCommands, ws: FakeWorkspace) -> None:
    found = commands.run_action(action="retry", training_id="train_4")
    assert ws.trainings.record(found.training_id).retry_of == "train_4"


def test_edit_and_retry_keeps_where_it_comes_from_under_a_name_of_its_own(
    commands: PanelCommands, ws: FakeWorkspace
) -> None:
    name = ws.trainings.record("train_4").name
    ws.trainings.change("train_4", config={**ws.trainings.record("train_4").config, "name": name})
    assert commands.form_schema(training_id="train_4").defaults["name"] == f"{name}-2"
    config = {**TrainingConfig.from_data(ws.trainings.record("train_4").config).to_data(), "name": f"{name}-2"}
    found = commands.create(config=config, retry_of="train_4")
    record = ws.trainings.record(found.training_id)
    assert (record.retry_of, record.name) == ("train_4", f"{name}-2")
    model = PanelModel(ws)
    model.read()
    card = next(card for card in model.state().cards if card.id == record.id)
    assert (card.retry_of, card.continued_from) == (name, None)


def test_import_and_rename(commands: PanelCommands, ws: FakeWorkspace) -> None:
    commands.run_action(action="import", training_id="train_3")
    assert ws.trainings.record("train_3").sae_id == "sae_train_3"
    commands.rename(training_id="train_3", name="better")
    assert ws.trainings.record("train_3").name == "better"


def test_refusals_of_the_workspace_pass_through(commands: PanelCommands) -> None:
    with pytest.raises(StateError):
        commands.run_action(action="pause", training_id="train_3")
    with pytest.raises(NotFoundError):
        commands.run_action(action="pause", training_id="nobody")


def test_create_starts_a_valid_run(commands: PanelCommands, ws: FakeWorkspace) -> None:
    found = commands.create(config=TrainingConfig(name="mine").to_data())
    assert ws.trainings.record(found.training_id).name == "mine"


def test_create_names_every_bad_field_and_starts_nothing(commands: PanelCommands, ws: FakeWorkspace) -> None:
    data = TrainingConfig().to_data()
    data["sae"]["k"] = 20_000
    data["hook_name"] = "nowhere"
    with pytest.raises(FieldsError, match="2 fields need attention") as caught:
        commands.create(config=data)
    assert caught.value.fields["sae.k"].startswith("k is 20,000 but d_sae is 16,384.")
    assert "hook_name" in caught.value.fields
    assert len(ws.trainings.list()) == 7


def test_create_asks_the_workspace_too(
    commands: PanelCommands, ws: FakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"fields": {"model": "There is no model 'x'."}}
    monkeypatch.setattr(ws.trainings, "validate", lambda data, over=None: found)
    with pytest.raises(FieldsError, match="1 field needs attention"):
        commands.create(config=TrainingConfig().to_data())
    assert len(ws.trainings.list()) == 7


def test_demo(commands: PanelCommands, ws: FakeWorkspace) -> None:
    found = commands.train_demo()
    assert ws.trainings.record(found.training_id).model == "demo"


def test_check_and_form(commands: PanelCommands) -> None:
    result = commands.check(config=TrainingConfig().to_data())
    assert result.fields == {}
    assert result.estimate is not None
    assert result.estimate.tokens_per_second == 40_000.0
    form = commands.form_schema(training_id="train_0")
    assert form.defaults["model"] == "gpt2"
    assert commands.form_schema().defaults["model"] == "demo"


def test_refresh_pulls_and_stays_silent_when_nothing_is_new(commands: PanelCommands, ws: FakeWorkspace) -> None:
    state = commands.refresh()
    assert state is not None
    assert commands.refresh(state.revision) is None
    ws.trainings.change("train_2", status=JobStatus.RUNNING)  # another process did it: no event reaches this one
    commands._model._read_at = 0.0  # long ago
    newer = panel_commands(commands._model, cut=for_footer).refresh(state.revision)
    assert newer is not None
    assert newer.revision > state.revision
    assert newer.cards == ()


def test_details(commands: PanelCommands) -> None:
    details = commands.details(training_id="train_4")
    assert details.checkpoints[0].label == "latest, best FVU"
    assert details.traceback == "Traceback …"
    assert details.log[-1] == "step 29 loss 0.28"
    assert {row.name: row.label for row in details.settings}["sae.k"] == "Active latents (k)"


def test_chart_settings_reset_and_pictures(commands: PanelCommands, spy: Spy) -> None:
    commands.chart(training_ids=("train_0", "train_1"))
    assert not spy.reset.is_set()
    commands.chart(reset_zoom=True)
    assert spy.reset.is_set()
    found = commands.pictures(figure="pareto")
    assert [picture.name for picture in found.pictures] == ["pareto"]


def test_the_table_is_paged_and_binary(commands: PanelCommands) -> None:
    table = commands.metric_table(training_id="train_0", names=("loss", "fvu"), limit=40, offset=120)
    assert table.columns == ("step", "tokens", "time", "loss", "fvu")
    assert (table.value.rows, table.value.total) == (30, 150)
    steps = np.frombuffer(table.buffers[0], dtype="<f8")
    assert steps.tolist() == [float(10 * i) for i in range(121, 151)]
    whole = commands.metric_table(training_id="train_0")
    assert whole.columns == ("step", "tokens", "time", "fvu", "l0", "loss")
