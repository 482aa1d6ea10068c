"""What a panel shows: reading only what changed, selection, slots, revisions."""

from __future__ import annotations

import dataclasses

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.widgets.charts import slots_for
from saewidgets.widgets.messages import Chart, Note, PanelState
from saewidgets.widgets.panel_state import PanelModel, for_chart_bar, for_footer
from tests.widgets.fake_workspace import FakeWorkspace, make_record


@pytest.fixture
def model(ws: FakeWorkspace) -> PanelModel:
    found = PanelModel(ws)
    found.read()
    return found


def test_the_first_read_selects_what_runs(model: PanelModel) -> None:
    assert model.selected == ("train_0",)
    assert len(model.state().cards) == 7


def test_without_a_running_run_the_newest_is_selected() -> None:
    ws = FakeWorkspace()
    for index in range(3):
        record = make_record(f"t{index}", TrainingConfig(), status=JobStatus.COMPLETED, created_at=float(index))
        ws.trainings.add(record)
    model = PanelModel(ws)
    model.read()
    assert model.selected == ("t2",)
    assert [card.id for card in model.state().cards] == ["t2", "t1", "t0"]


def test_revision_grows_exactly_when_something_changed(model: PanelModel, ws: FakeWorkspace) -> None:
    first = model.state()
    model.read()
    assert model.state().revision == first.revision
    ws.trainings.change("train_0", step=9999)
    model.mark_changed("train_0")
    model.read()
    assert model.state().revision == first.revision + 1
    assert model.state().cards[0].step == 9999


def test_only_the_runs_that_changed_are_read(
    model: PanelModel, ws: FakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = ws.trainings.get
    monkeypatch.setattr(ws.trainings, "get", lambda training_id: asked.append(training_id) or real(training_id))
    monkeypatch.setattr(ws.trainings, "list", lambda: pytest.fail("the whole list was read"))
    model.mark_changed("train_3")
    model.read()
    assert asked == ["train_3"]


def test_who_waits_is_read_again_when_a_status_changes(ws: FakeWorkspace) -> None:
    for index in (1, 2):
        ws.trainings.add(
            make_record(f"wait_{index}", TrainingConfig(), queue_position=index, created_at=1e9 + index)
        )
    model = PanelModel(ws)
    model.read()
    # The first one is stopped: only it is reported, the second one moves up.
    ws.trainings._records["wait_2"] = dataclasses.replace(ws.trainings.record("wait_2"), queue_position=1)
    ws.trainings.change("wait_1", status=JobStatus.STOPPED, queue_position=None)
    model.mark_changed("wait_1")
    model.read()
    positions = {card.id: card.queue_position for card in model.state().cards}
    assert (positions["wait_1"], positions["wait_2"]) == (None, 1)
    ws.trainings._records["wait_2"] = dataclasses.replace(ws.trainings.record("wait_2"), queue_position=7)
    ws.trainings.delete("train_0")
    model.mark_changed("train_0")
    model.read()
    assert {card.id: card.queue_position for card in model.state().cards}["wait_2"] == 7


def test_a_deleted_run_vanishes_with_its_selection(model: PanelModel, ws: FakeWorkspace) -> None:
    ws.trainings.delete("train_0")
    model.mark_changed("train_0")
    model.read()
    assert model.selected == ()
    assert model.state().total == 6


def test_a_new_run_is_selected_and_what_was_unchecked_stays_so(model: PanelModel, ws: FakeWorkspace) -> None:
    model.select([])
    run = ws.trainings.create(TrainingConfig())
    model.mark_changed(run.id)
    model.read()
    assert model.selected == (run.id,)


def test_after_a_failed_read_everything_is_read_again(
    model: PanelModel, ws: FakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(training_id: str) -> None:
        raise OSError("disk")

    with monkeypatch.context() as patch:
        patch.setattr(ws.trainings, "get", broken)
        model.mark_changed("train_0")
        with pytest.raises(OSError, match="disk"):
            model.read()
    ws.trainings.change("train_0", step=4242)
    model.read()
    assert model.state().cards[0].step == 4242


def test_slots_are_kept_by_run_not_by_position() -> None:
    first = slots_for(["a", "b", "c"], {})
    assert first == {"a": 0, "b": 1, "c": 2}
    second = slots_for(["c", "d"], first)
    assert second == {"c": 2, "d": 0}
    many = slots_for(list("abcdefgh"), {})
    assert sorted(many.values()) == [0, 1, 2, 3, 4, 5]


def test_chart_settings_change_one_by_one(model: PanelModel) -> None:
    model.set_chart(Chart(id="1", x_axis="time"))
    model.set_chart(Chart(id="2", log_y=False, smoothing=0, theme="dark"))
    chart = model.state().charts
    assert (chart.x_axis, chart.log_y, chart.smoothing, chart.theme, chart.show_raw) == ("time", False, 0, "dark", True)
    model.set_chart(Chart(id="3", training_ids=("train_1", "gone", "train_1")))
    assert model.selected == ("train_1",)
    assert [record.id for record, _ in model.charted()] == ["train_1"]


def test_parts_get_what_they_draw(model: PanelModel) -> None:
    state = model.state()
    assert [card.id for card in for_chart_bar(state).cards] == ["train_0"]
    assert for_footer(state).cards == ()
    assert for_footer(state).total == 7
    assert PanelState.model_validate(state.model_dump(mode="json")) == state


def test_notices_and_devices(model: PanelModel) -> None:
    assert model.devices == ()
    model.read_devices()
    assert [device.id for device in model.state().devices] == ["cpu"]
    model.devices_failed(Note(what="No driver."))
    assert model.state().notice == Note(what="No driver.")
