"""What a panel shows: reading only what changed, selection, slots, revisions."""

from __future__ import annotations

import dataclasses

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.errors import StateError
from saewidgets.events import JobStatus, LogLine, Metrics, Progress
from saewidgets.widgets.charts.charts import slots_for
from saewidgets.widgets.messages.training import PanelState
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.training_panel.state import PanelModel, for_chart_bar, for_footer
from tests.widgets.fake_workspace import FakeWorkspace, make_record


@pytest.fixture
def model(ws: FakeWorkspace) -> PanelModel:
    found = PanelModel(ws)
    found.read()
    return found


def lines(model: PanelModel) -> list[str]:
    return [run.record.id for run in model.charted()]


def test_the_first_read_draws_what_runs_and_selects_nothing(model: PanelModel) -> None:
    assert lines(model) == ["train_0"]
    assert model.selected == ()
    assert len(model.state().cards) == 7


def test_without_a_running_run_the_newest_is_drawn() -> None:
    ws = FakeWorkspace()
    for index in range(3):
        record = make_record(
            f"t{index}", TrainingConfig(), status=JobStatus.COMPLETED, created_at=float(index), latest={"loss": 1.0}
        )
        ws.trainings.add(record)
    model = PanelModel(ws)
    model.read()
    assert lines(model) == ["t2"]
    assert [card.id for card in model.state().cards] == ["t2", "t1", "t0"]


def test_revision_grows_exactly_when_something_changed(model: PanelModel, ws: FakeWorkspace) -> None:
    first = model.state()
    model.read()
    assert model.state().revision == first.revision
    ws.trainings.change("train_0", step=9999)
    model.mark_changed()
    model.read()
    assert model.state().revision == first.revision + 1
    assert model.state().cards[0].step == 9999


def test_what_a_run_tells_is_taken_over_and_nothing_is_read(
    model: PanelModel, ws: FakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ws.trainings, "list", lambda: pytest.fail("the list was read"))
        measured = Metrics(1510, 6_184_960, {"loss": 0.25})
        model.tell("train_0", [measured, LogLine("step 1510"), Progress(6_300_000, 10_000_000, rate=99.0, step=1511)])
        model.read()
        card = model.state().cards[0]
        assert (card.step, card.tokens_done, card.rate, card.tiles.loss) == (1511, 6_300_000, 99.0, 0.25)
        (run,) = model.charted()
        assert (list(run.measured), run.missed) == ([measured], False)
        (run,) = model.charted()
        assert list(run.measured) == []
    # of all else the list is read again, and what the catalog knows better
    ws.trainings.change("train_0", step=1530)
    model.tell("train_0", [ws.trainings.record("train_0")])
    model.read()
    assert [run.missed for run in model.charted()] == [True]
    assert [run.missed for run in model.charted()] == [False]


def test_who_waits_is_read_again_when_a_status_changes(ws: FakeWorkspace) -> None:
    for index in (1, 2):
        ws.trainings.add(make_record(f"wait_{index}", TrainingConfig(), queue_position=index, created_at=1e9 + index))
    model = PanelModel(ws)
    model.read()
    # The first one is stopped: only it is reported, the second one moves up.
    ws.trainings._records["wait_2"] = dataclasses.replace(ws.trainings.record("wait_2"), queue_position=1)
    ws.trainings.change("wait_1", status=JobStatus.STOPPED, queue_position=None)
    model.mark_changed()
    model.read()
    positions = {card.id: card.queue_position for card in model.state().cards}
    assert (positions["wait_1"], positions["wait_2"]) == (None, 1)
    ws.trainings._records["wait_2"] = dataclasses.replace(ws.trainings.record("wait_2"), queue_position=7)
    ws.trainings.delete("train_0")
    model.mark_changed()
    model.read()
    assert {card.id: card.queue_position for card in model.state().cards}["wait_2"] == 7


def test_a_deleted_run_vanishes_with_its_selection(model: PanelModel, ws: FakeWorkspace) -> None:
    model.select(["train_0", "train_1"])
    ws.trainings.delete("train_0")
    model.mark_changed()
    model.read()
    assert model.selected == ("train_1",)
    assert model.state().total == 6


def begin(model: PanelModel, ws: FakeWorkspace) -> str:
    run = ws.trainings.create(TrainingConfig())
    model.mark_changed()
    model.read()
    return str(run.id)


def test_a_new_run_is_drawn_but_not_selected(model: PanelModel, ws: FakeWorkspace) -> None:
    model.select(["train_1"])
    run = begin(model, ws)
    assert model.selected == ("train_1",)
    assert model.chart.followed == (run,)
    assert lines(model) == ["train_1", run]
    # The page selects another one: the run that has just begun stays; unchecked, or taken off, it does not come back.
    model.set_chart(training_ids=("train_1", "train_3"))
    assert lines(model) == ["train_1", run, "train_3"]
    model.set_chart(training_ids=("train_1", run))
    model.set_chart(training_ids=("train_1",))
    assert lines(model) == ["train_1"]
    second = begin(model, ws)
    model.set_chart(followed=())
    third = begin(model, ws)
    assert second not in lines(model)
    assert lines(model) == ["train_1", third]
    model.select(["train_3"])  # Python names what is drawn
    assert lines(model) == ["train_3"]


def test_six_lines_go_first_to_what_was_selected_then_to_what_runs(model: PanelModel, ws: FakeWorkspace) -> None:
    model.set_chart(training_ids=(), followed=())
    runs = [begin(model, ws) for _ in range(7)]
    assert lines(model) == runs[:6]
    ws.trainings.change(runs[2], status=JobStatus.COMPLETED)
    model.mark_changed()
    newest = begin(model, ws)
    assert set(lines(model)) == {*runs[:2], *runs[3:6], newest}
    chosen = tuple(f"train_{i}" for i in (0, 1, 3, 4, 5))
    model.set_chart(training_ids=chosen)
    assert len(lines(model)) == 6
    assert set(chosen) < set(lines(model))
    model.set_chart(training_ids=())
    assert newest in lines(model)


def test_lines_go_to_what_runs_not_to_what_waits(ws: FakeWorkspace) -> None:
    model = PanelModel(ws)
    ws.trainings._records.clear()
    for index in range(8):
        ws.trainings.add(make_record(f"run_{index}", TrainingConfig(), created_at=float(index)))
    model.read()
    model.set_chart(training_ids=tuple(f"run_{i}" for i in range(6)))  # to stop them, say
    assert lines(model) == []

    def turn(run: str, status: JobStatus, **changes: object) -> None:
        ws.trainings.change(run, status=status, **changes)
        model.mark_changed()
        model.read()

    turn("run_7", JobStatus.RUNNING)
    turn("run_6", JobStatus.RUNNING)
    turn("run_0", JobStatus.STARTING)
    assert set(lines(model)) == {"run_7", "run_6", "run_0"}
    turn("run_7", JobStatus.STOPPED)  # without values there is nothing to keep a line for
    assert set(lines(model)) == {"run_6", "run_0"}
    turn("run_6", JobStatus.COMPLETED, latest={"loss": 1.0})
    assert set(lines(model)) == {"run_6", "run_0"}
    model.set_chart(training_ids=(), followed=())
    turn("run_6", JobStatus.STARTING)
    assert lines(model) == ["run_6"]  # it goes on


def test_who_finds_all_lines_taken_gets_one_when_another_run_ends(model: PanelModel, ws: FakeWorkspace) -> None:
    model.set_chart(training_ids=(), followed=())
    runs = [begin(model, ws) for _ in range(7)]
    ws.trainings.change(runs[0], status=JobStatus.COMPLETED, latest={"loss": 1.0})
    model.mark_changed()
    model.read()
    assert set(lines(model)) == set(runs[1:])


def test_the_runs_of_a_job_are_drawn_in_their_order(ws: FakeWorkspace) -> None:
    model = PanelModel(ws)
    model.read()
    for head in range(4):
        ws.trainings.add(make_record(f"z{head}", TrainingConfig(), group_id="g", status=JobStatus.RUNNING))
    model.set_chart(training_ids=(), followed=())
    model.mark_changed()
    model.read()
    assert lines(model) == ["z0", "z1", "z2", "z3"]


def test_a_comparison_draws_only_what_it_compares(model: PanelModel, ws: FakeWorkspace) -> None:
    model.set_chart(training_ids=("train_1", "train_3"))
    assert "train_0" in lines(model)
    model.compare(("train_1", "train_3"))
    assert set(lines(model)) == {"train_1", "train_3"}
    model.compare(())
    assert "train_0" in lines(model)


def test_after_a_failed_read_everything_is_read_again(
    model: PanelModel, ws: FakeWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise OSError("disk")

    with monkeypatch.context() as patch:
        patch.setattr(ws.trainings, "list", broken)
        model.mark_changed()
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
    model.set_chart(x_axis="time")
    model.set_chart(log_y=False, smoothing=0, theme="dark")
    chart = model.state().charts
    assert (chart.x_axis, chart.log_y, chart.smoothing, chart.theme, chart.show_raw) == ("time", False, 0, "dark", True)
    model.set_chart(training_ids=("train_1", "gone", "train_1"))
    assert model.selected == ("train_1",)
    assert set(lines(model)) == {"train_0", "train_1"}


def test_parts_get_what_they_draw(model: PanelModel) -> None:
    state = model.state()
    assert [card.id for card in for_chart_bar(state).cards] == ["train_0"]
    assert for_footer(state).cards == ()
    assert for_footer(state).total == 7
    assert PanelState.model_validate(state.model_dump(mode="json")) == state


def test_notices_and_devices(model: PanelModel, ws: FakeWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise StateError("No driver.")

    model.devices.read()
    assert [device.id for device in model.state().devices] == ["cpu"]
    monkeypatch.setattr(ws, "devices", broken)
    monkeypatch.setattr(model.devices, "_read_at", 0.0)
    model.devices.read()
    assert model.state().notice == Note(what="No driver.")
