"""Runs that go on from others: whose curves come first, cut where, at what time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from saewidgets.config import TrainingConfig
from saewidgets.records import TrainingRecord
from saewidgets.widgets.charts.charts import Charts
from saewidgets.widgets.charts.lineage import earlier_runs, past_of
from saewidgets.widgets.messages.training import ChartState
from saewidgets.widgets.training_panel.state import PanelModel
from tests.widgets.fake_workspace import FakeWorkspace, compared_workspace, make_record

STEPS: Mapping[str, range] = {"a": range(10, 101, 10), "b": range(50, 151, 10), "c": range(100, 201, 10)}
BEGAN = {"a": 1000.0, "b": 5000.0, "c": 9000.0}


def record(training_id: str, of: str | None = None, step: int = 0) -> TrainingRecord:
    facts = {} if of is None else {"continued_from": {"training_id": of, "step": step, "tokens": step * 100}}
    return make_record(training_id, TrainingConfig(), started_at=BEGAN.get(training_id, 1.0), facts=facts)


def read(training_id: str, names: tuple[str, ...], min_step: int) -> dict[str, np.ndarray]:
    """A point every ten steps, a second each; a run that goes on has one for its checkpoint, before its clock began."""
    steps = np.array([step for step in STEPS[training_id] if step >= min_step], dtype=np.float64)
    seconds = steps - (steps[0] if training_id == "a" else steps[0] + 5)
    values = {name: steps + {"a": 0.1, "b": 0.2, "c": 0.3}[training_id] for name in names}
    return {"step": steps, "tokens": steps * 100, "time": BEGAN[training_id] + seconds / 10, **values}


def test_the_chain_ends_at_a_run_that_is_gone_and_never_turns_in_a_circle() -> None:
    known = {one.id: one for one in (record("a"), record("b", "a", 50), record("c", "b", 100))}
    chain = earlier_runs(known["c"], known)
    assert [(one.record.id, one.step, one.tokens) for one in chain] == [("a", 50, 5000), ("b", 100, 10_000)]
    assert [one.record.id for one in earlier_runs(known["c"], {"b": known["b"]})] == ["b"]
    assert earlier_runs(known["c"], {}) == ()
    assert earlier_runs(known["a"], known) == ()
    turned = {"a": record("a", "b", 10), "b": record("b", "a", 50)}
    assert [one.record.id for one in earlier_runs(turned["b"], turned)] == ["a"]


def test_the_curves_before_are_cut_at_the_joints_and_run_on_in_time() -> None:
    known = {one.id: one for one in (record("a"), record("b", "a", 50), record("c", "b", 100))}
    past = past_of(known["c"], earlier_runs(known["c"], known), ("loss",), read)
    assert past.columns["step"].tolist() == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    assert past.columns["loss"].tolist() == [10.1, 20.1, 30.1, 40.1, 50.1, 60.2, 70.2, 80.2, 90.2, 100.2]
    # a took 4 s to step 50, b 4.5 s to step 100; c begins at 9000
    assert past.seconds == 8.5
    assert np.allclose(past.columns["time"][:5], 9000 - 8.5 + np.arange(5))
    assert np.allclose(past.columns["time"][-1], 9000)
    assert np.all(np.diff(past.columns["time"]) > 0)
    assert past.joints == ((50.0, 5000.0, -4.5), (100.0, 10_000.0, 0.0))


def continued(points: int = 5) -> tuple[FakeWorkspace, str]:
    """`sweep_16` has points to step 600 and a checkpoint; what goes on from step 400 has a few of its own."""
    ws = compared_workspace()
    ws.trainings.change("sweep_16", last_checkpoint_step=400, last_checkpoint_tokens=400 * 4096)
    child = ws.trainings.get("sweep_16").continue_from("c", tokens=20_000_000)
    for _ in range(points):
        ws.trainings.advance()
    return ws, child.id


def test_charts_show_what_a_continued_run_goes_on_from() -> None:
    ws, child = continued()
    model = PanelModel(ws)
    model.read()
    model.select([child])
    charts = Charts(ws.trainings.metric_columns, lambda: None)
    charts.update(model.charted(), ChartState(x_axis="steps"), model.earlier())
    slot = charts.charts[0]._slots[0]
    assert slot.raw.x.tolist() == [*range(10, 401, 10), 410, 420, 430, 440]
    parent = ws.trainings.metric_columns("sweep_16", ("loss",))["loss"]
    assert slot.raw.y[:40].tolist() == parent[:40].tolist()
    joints = charts.charts[0]._joints._marks[0]
    assert joints.visible
    assert joints.x.tolist() == [400, 400]
    assert joints.scales["y"] is not charts.charts[0].y
    assert "went on from gpt2-l6-topk-k16 at step 400" in charts.summaries()[0]
    charts.update(model.charted(), ChartState(x_axis="tokens"), model.earlier())
    assert joints.x.tolist() == [400 * 4096] * 2
    charts.update(model.charted(), ChartState(x_axis="time"), model.earlier())
    x = slot.raw.x
    assert x[0] >= 0
    assert np.all(np.diff(x) >= 0)
    assert np.allclose(joints.x, x[39])
    # another scale type makes new lines; the joint stays
    charts.update(model.charted(), ChartState(log_y=False), model.earlier())
    assert joints in charts.charts[0]._figure.marks
    assert "goes on from another run" in str(charts.static()[0])
    # the run before it is deleted: the curve begins at the checkpoint
    ws.trainings.delete("sweep_16")
    model.mark_changed(None)
    model.read()
    charts.update(model.charted(), ChartState(x_axis="steps"), model.earlier())
    assert charts.charts[0]._slots[0].raw.x.tolist() == [400, 410, 420, 430, 440]
    assert not joints.visible
    charts.close()


def test_what_was_before_is_read_once() -> None:
    ws, child = continued()
    model = PanelModel(ws)
    model.read()
    model.select([child])
    charts = Charts(ws.trainings.metric_columns, lambda: None)
    charts.update(model.charted(), ChartState(), model.earlier())
    ws.trainings.reads.clear()
    for _ in range(3):
        ws.trainings.advance()
        model.mark_changed(child)
        model.read()
        charts.update(model.charted(), ChartState(), model.earlier())
    assert {training_id for training_id, _ in ws.trainings.reads} == {child}
    charts.close()


def test_a_card_says_what_it_goes_on_from() -> None:
    ws, child = continued()
    model = PanelModel(ws)
    model.read()
    cards = {card.id: card for card in model.state().cards}
    assert (cards[child].continued_from, cards[child].continued_step) == ("gpt2-l6-topk-k16", 400)
    assert (cards["sweep_16"].continued_from, cards["sweep_16"].continued_step) == (None, None)
    ws.trainings.delete("sweep_16")
    model.mark_changed(None)
    model.read()
    card = next(card for card in model.state().cards if card.id == child)
    assert (card.continued_from, card.continued_step) == (None, 400)
