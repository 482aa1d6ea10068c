"""What a panel shows: what is read and when, selection, lines, revisions."""

import time
from pathlib import Path
from typing import Any

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.errors import StateError
from saewidgets.events import JobStatus, LogLine, Metrics, Progress
from saewidgets.settings import Settings
from saewidgets.widgets.charts.charts import slots_for
from saewidgets.widgets.messages.training import Card, PanelState
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.training_panel.state import PanelModel, for_chart_bar, for_footer
from saewidgets.workspace import Workspace
from tests.widgets.conftest import again
from tests.widgets.seeded_runs import add_run, change

DATABASES = ("postgresql",)


@pytest.fixture
def model(ws: Workspace) -> PanelModel:
    found = PanelModel(ws)
    found.read()
    found.show_all()
    return found


def lines(model: PanelModel) -> list[str]:
    return [run.record.id for run in model.charted()]


def card(model: PanelModel, training_id: str) -> Card:
    return next(card for card in model.state().cards if card.id == training_id)


def test_the_first_read_draws_running_runs_and_selects_none(model: PanelModel) -> None:
    assert lines(model) == ["train_0"]
    assert model.selected == ()
    state = model.state()
    assert (len(state.cards), state.total, state.jobs) == (17, 17, 15)  # three runs of a job are one entry of the list
    assert [one.id for one in for_chart_bar(state).cards] == ["train_0"]
    assert (for_footer(state).cards, for_footer(state).total) == ((), 17)
    assert PanelState.model_validate(state.model_dump(mode="json")) == state


def test_without_a_running_run_the_newest_is_drawn(ws: Workspace) -> None:
    change(ws, "train_0", status=JobStatus.STOPPED)
    add_run(ws, "newest", TrainingConfig(), JobStatus.COMPLETED, 1)
    model = PanelModel(ws)
    model.read()
    assert lines(model) == ["newest"]
    assert model.state().cards[0].id == "newest"


def test_files_on_another_machine_are_looked_for_only_when_the_catalog_is_read(
    tmp_path: Path, database_url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = "Its files are on test, and cannot be seen from here."
    with Workspace(tmp_path, catalog_url=database_url, settings=Settings(home=tmp_path, host="here")) as ws:
        add_run(ws, "runs", TrainingConfig(), JobStatus.RUNNING, heartbeat_at=time.time())
        add_run(ws, "ended", TrainingConfig(), JobStatus.COMPLETED)
        add_run(ws, "mine", TrainingConfig(), JobStatus.COMPLETED, lane="here/cpu")
        add_run(ws, "seen", TrainingConfig(), JobStatus.COMPLETED)
        for seen in ("seen", "mine"):
            (tmp_path / "trainings" / seen).mkdir(parents=True)
        model = PanelModel(ws)
        model.read()
        found = {each.id: (each.place, each.has_files) for each in model.state().cards}
        assert found == {
            "runs": (("on test",), False), "ended": ((note,), False), "mine": ((), True), "seen": (("on test",), True),
        }
        monkeypatch.setattr("saewidgets.widgets.model.files_note", None)
        model.tell("runs", [Progress(10, 1000)])
        assert (card(model, "runs").tokens_done, card(model, "runs").has_files) == (10, False)


def test_revision_grows_exactly_when_something_changed(model: PanelModel, ws: Workspace) -> None:
    first = model.state()
    again(model)
    assert model.state().revision == first.revision
    change(ws, "train_0", step=9999)
    again(model)
    assert model.state().revision == first.revision + 1
    assert card(model, "train_0").step == 9999


def test_what_a_run_tells_is_taken_over_and_nothing_is_read(
    model: PanelModel, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.charted()
    with monkeypatch.context() as patch:
        patch.setattr(ws.trainings, "list", lambda: pytest.fail("the list was read"))
        measured = Metrics(1510, 6_184_960, {"loss": 0.25})
        model.tell("train_0", [measured, LogLine("step 1510"), Progress(6_300_000, 10_000_000, rate=99.0, step=1511)])
        model.read()
        found = card(model, "train_0")
        assert (found.step, found.tokens_done, found.rate, found.tiles.loss) == (1511, 6_300_000, 99.0, 0.25)
        (run,) = model.charted()
        assert (list(run.measured), run.missed) == ([measured], False)
        (run,) = model.charted()
        assert list(run.measured) == []
    # of all else the list is read again, and what the catalog knows better
    change(ws, "train_0", step=1530)
    model.tell("train_0", [ws.trainings.get("train_0").record])
    model.read()
    assert [run.missed for run in model.charted()] == [True]
    assert [run.missed for run in model.charted()] == [False]


def test_who_waits_moves_up_and_who_is_deleted_vanishes(model: PanelModel, ws: Workspace) -> None:
    add_run(ws, "next", TrainingConfig(), JobStatus.QUEUED)
    model.select(["train_6", "train_1"])
    again(model)
    assert (card(model, "train_2").queue_position, card(model, "next").queue_position) == (1, 2)
    ws.trainings.get("train_2").cancel()
    ws.trainings.delete("train_6")
    again(model)
    assert (card(model, "train_2").queue_position, card(model, "next").queue_position) == (None, 1)
    assert model.selected == ("train_1",)
    assert model.state().total == 17


def begin(model: PanelModel, ws: Workspace, names: list[str]) -> str:
    names.append(f"begun_{len(names)}")
    add_run(ws, names[-1], TrainingConfig(), JobStatus.RUNNING)
    again(model)
    return names[-1]


def test_a_new_run_is_drawn_but_not_selected(model: PanelModel, ws: Workspace) -> None:
    names: list[str] = []
    model.select(["train_1"])
    run = begin(model, ws, names)
    assert model.selected == ("train_1",)
    assert model.chart.followed == (run,)
    assert lines(model) == ["train_1", run]
    # The page selects another one: the run that has just begun stays; unchecked, or taken off, it does not come back.
    model.set_chart(training_ids=("train_1", "train_3"))
    assert lines(model) == ["train_1", run, "train_3"]
    model.set_chart(training_ids=("train_1", run))
    model.set_chart(training_ids=("train_1",))
    assert lines(model) == ["train_1"]
    second = begin(model, ws, names)
    model.set_chart(followed=())
    third = begin(model, ws, names)
    assert second not in lines(model)
    assert lines(model) == ["train_1", third]
    model.select(["train_3"])  # Python names what is drawn
    assert lines(model) == ["train_3"]


def test_a_run_that_begins_and_ends_between_two_reads_is_drawn(model: PanelModel, ws: Workspace) -> None:
    add_run(ws, "short", TrainingConfig(), JobStatus.QUEUED)
    again(model)
    assert "short" not in lines(model)
    model.tell("short", [Metrics(1, 64, {"loss": 1.0})])
    change(ws, "short", status=JobStatus.COMPLETED, latest={"loss": 1.0})
    again(model)
    assert "short" in lines(model)


def test_six_lines_go_first_to_selected_then_to_running_runs(model: PanelModel, ws: Workspace) -> None:
    model.set_chart(training_ids=(), followed=())
    names: list[str] = []
    runs = [begin(model, ws, names) for _ in range(7)]
    assert set(lines(model)) == set(runs[:6])
    change(ws, runs[2], status=JobStatus.COMPLETED, latest={"loss": 1.0})
    again(model)
    assert set(lines(model)) == {*runs[:2], *runs[3:7]}  # who found all lines taken gets that of one that ended
    chosen = tuple(f"train_{i}" for i in (0, 1, 3, 4, 5))
    model.set_chart(training_ids=chosen)
    assert len(lines(model)) == 6
    assert set(chosen) < set(lines(model))
    model.set_chart(training_ids=())
    assert runs[6] in lines(model)


def test_lines_go_to_running_not_to_queued_runs(ws: Workspace) -> None:
    change(ws, "train_0", status=JobStatus.STOPPED)
    for index in range(8):
        add_run(ws, f"run_{index}", TrainingConfig(), JobStatus.QUEUED)
    model = PanelModel(ws)
    model.read()
    model.set_chart(training_ids=tuple(f"run_{i}" for i in range(6)), followed=())  # to stop them, say
    assert lines(model) == []

    def turn(run: str, status: JobStatus, **changes: Any) -> None:
        change(ws, run, status=status, **changes)
        again(model)

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


def test_the_runs_of_a_job_are_drawn_in_their_order(model: PanelModel, ws: Workspace) -> None:
    job: dict[str, Any] = {"group_id": "g", "group_name": "g", "job_id": "job_g", "created_at": 2e9}
    for head in range(4):
        add_run(ws, f"z{head}", TrainingConfig(), JobStatus.RUNNING, **job)
    model.set_chart(training_ids=(), followed=())
    again(model)
    assert lines(model) == ["z0", "z1", "z2", "z3"]


def test_a_comparison_draws_only_its_runs(model: PanelModel) -> None:
    model.set_chart(training_ids=("train_1", "train_3"))
    assert "train_0" in lines(model)
    model.compare(("train_1", "train_3"))
    assert set(lines(model)) == {"train_1", "train_3"}
    model.compare(())
    assert "train_0" in lines(model)


def test_slots_are_kept_by_run_not_by_position() -> None:
    first = slots_for(["a", "b", "c"], {})
    assert first == {"a": 0, "b": 1, "c": 2}
    assert slots_for(["c", "d"], first) == {"c": 2, "d": 0}
    assert sorted(slots_for(list("abcdefgh"), {}).values()) == [0, 1, 2, 3, 4, 5]


def test_a_run_gets_the_same_slot_again(model: PanelModel) -> None:
    def slots(*chosen: str) -> dict[str, int]:
        model.select(chosen)
        return {run.record.id: run.slot for run in model.charted()}

    first = slots("train_1", "train_3")
    others = slots("train_0", "sweep_16", "sweep_24")  # shown while the others are not
    everything = slots("sweep_24", "train_3", "train_0", "train_1", "sweep_16")
    assert everything == first | others
    assert slots("train_3") == {"train_3": first["train_3"]}
    # More runs than slots: those that had one get it again.
    assert slots_for(["x", "a"], {}, {"a": 3, "b": 0, "c": 1, "d": 2, "e": 4, "f": 5}) == {"a": 3, "x": 0}
    assert slots_for(["f", "g"], {"f": 3}, {"g": 3, "f": 3}) == {"f": 3, "g": 0}


def test_chart_settings_change_one_by_one(model: PanelModel) -> None:
    model.set_chart(x_axis="time")
    model.set_chart(log_y=False, smoothing=0, theme="dark")
    chart = model.state().charts
    assert (chart.x_axis, chart.log_y, chart.smoothing, chart.theme, chart.show_raw) == ("time", False, 0, "dark", True)
    model.set_chart(training_ids=("train_1", "gone", "train_1"))
    assert model.selected == ("train_1",)
    assert set(lines(model)) == {"train_0", "train_1"}


def test_a_card_names_the_run_it_continues(model: PanelModel, ws: Workspace) -> None:
    origin = {"training_id": "sweep_16", "step": 400, "tokens": 400 * 4096}
    add_run(ws, "child", TrainingConfig(), JobStatus.PAUSED, 5, facts={"continued_from": origin}, retry_of="sweep_16")
    add_run(ws, "retry", TrainingConfig(), JobStatus.PAUSED, retry_of="sweep_24")
    model.select(["child"])
    again(model)
    model.select(["child"])
    child, retry = card(model, "child"), card(model, "retry")
    assert (child.continued_from, child.continued_step, child.retry_of) == ("gpt2-l6-topk-k16", 400, None)
    assert (retry.continued_from, retry.continued_step, retry.retry_of) == (None, None, "gpt2-l6-topk-k24")
    (charted,) = model.charted()
    assert [one.record.id for one in charted.earlier] == ["sweep_16"]
    ws.trainings.delete("sweep_16")
    again(model)
    assert (card(model, "child").continued_from, card(model, "child").continued_step) == (None, 400)
    assert model.charted()[0].earlier == ()


def test_notices_and_devices(model: PanelModel, ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise StateError("No driver.")

    model.devices.read()
    assert [device.id for device in model.state().devices] == ["cpu"]
    monkeypatch.setattr(ws, "devices", broken)
    monkeypatch.setattr(model.devices, "_read_at", 0.0)
    model.devices.read()
    assert model.state().notice == Note(what="No driver.")
