"""The comparison of a panel: results, settings side by side, the points of the Pareto view."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from saewidgets.config import StandardConfig, TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.render import runs_html
from saewidgets.widgets.messages.training import CompareState
from saewidgets.widgets.training_panel.commands import PanelCommands
from saewidgets.widgets.training_panel.compare import settings_of_run
from saewidgets.widgets.training_panel.form import form_fields
from saewidgets.widgets.training_panel.state import PanelModel, card_of, for_chart_bar, for_footer
from saewidgets.workspace import Workspace
from tests.widgets.conftest import again, panel_commands
from tests.widgets.seeded_runs import change

Compared = Callable[..., CompareState]


@pytest.fixture
def model(ws: Workspace) -> PanelModel:
    return PanelModel(ws)


@pytest.fixture
def commands(model: PanelModel) -> PanelCommands:
    model.read()
    return panel_commands(model)


@pytest.fixture
def compared(ws: Workspace, model: PanelModel, commands: PanelCommands) -> Compared:
    """What the comparison of these runs shows, with their newest values changed first."""

    def compared(*ids: str, **changes: dict[str, Any]) -> CompareState:
        for training_id, values in changes.items():
            latest = ws.trainings.get(training_id).record.latest
            change(ws, training_id, **{**values, "latest": {**latest, **values.get("latest", {})}})
        again(model)
        commands.compare(training_ids=ids)
        found = model.state().compare
        assert found is not None
        return found

    return compared


def test_a_comparison_is_part_of_the_state(model: PanelModel, compared: Compared, ws: Workspace) -> None:
    assert model.state().compare is None
    found = compared("sweep_16", "jump_1.5", "gone")
    assert found.names == ("gpt2-l6-topk-k16", "gpt2-l6-jumprelu-1.5")
    assert for_chart_bar(model.state()).compare is None
    assert for_footer(model.state()).compare is None
    rows = {row.label: row for row in found.results}
    assert (rows["FVU"].values, rows["FVU"].best) == (("0.171", "0.131"), (False, True))
    assert (rows["L0"].values, rows["L0"].best) == (("16.0", "58.4"), (False, False))
    assert rows["Throughput"].values[0] == "33,113 tok/s"
    ws.trainings.delete("sweep_16")
    again(model)
    assert model.state().compare is None  # one run is no comparison


def test_runs_of_one_job_are_compared_in_the_order_in_which_they_were_begun(compared: Compared) -> None:
    found = compared("layer_8", "layer_4", "sweep_16", "layer_6", "gone")
    assert found.training_ids == ("layer_4", "layer_6", "layer_8", "sweep_16")


def test_the_best_is_marked_among_runs_whose_numbers_mean_the_same(compared: Compared) -> None:
    found = compared(
        "layer_4", "sweep_16", "sweep_24",
        layer_4={"latest": {"val_ce_loss_score": -0.271, "loss": 54.051}}, sweep_16={"seconds_running": 302.0},
        sweep_24={"latest": {"dead": 0.5}, "seconds_running": 250.0},
    )  # fmt: skip
    rows = {row.label: row for row in found.results}
    assert rows["FVU"].best == (False, False, True)  # layer 4 has a lower one, of other activations
    assert rows["CE recovered"].best == (False, False, True)
    assert rows["Dead"].best == (False, True, False)
    assert rows["Throughput"].best == (False, False, True)
    assert rows["Loss"].values == ("54.0510", "0.3420", "0.2780")  # of one format
    assert rows["CE recovered"].values[0] == "−0.271"  # with the sign that the page has everywhere


def test_of_a_run_shorter_than_its_dead_window_the_share_that_never_fired_is_shown(
    ws: Workspace, compared: Compared
) -> None:
    latest = ws.trainings.get("sweep_24").record.latest
    change(ws, "sweep_24", latest={n: v for n, v in latest.items() if n != "dead"} | {"val_dead": 0.324})
    for other, shown in (("sweep_24", ("–", "32.4 %")), ("sweep_64", None)):
        rows = {row.label: row.values for row in compared("sweep_16", other).results}
        assert rows.get("Never fired") == shown
    record = ws.trainings.get("sweep_24").record
    assert card_of(record).tiles.val_dead == 0.324
    assert card_of(replace(record, status=JobStatus.RUNNING)).tiles.val_dead is None  # more may be known yet
    assert "32.4 % never fired" in runs_html([record])


def test_the_pareto_view_holds_runs_that_can_be_compared(
    model: PanelModel, compared: Compared, commands: PanelCommands
) -> None:
    shown = compared("sweep_16", "jump_1.5")
    assert (shown.points[0].id, shown.points[0].front) == ("sweep_16", True)  # nothing is sparser
    assert {point.architecture for point in shown.points} == {"topk", "jumprelu", "batchtopk"}
    assert not any(point.id in ("layer_4", "layer_8") for point in shown.points)  # other layers
    assert shown.left_out >= 1  # the queued run has no numbers yet
    scopes = {scope.label: scope for scope in shown.scopes}
    assert scopes["gpt2 · blocks.4.hook_resid_post"].count == 1
    commands._widget.reset_pareto.clear()
    commands.pareto(y_axis="ce_loss_score", scope="")
    assert commands._widget.reset_pareto.is_set()
    found = model.state().compare
    assert (found.y_axis, found.scope) == ("ce_loss_score", "")
    assert any(point.id == "layer_4" for point in found.points)
    assert "CE recovered" in found.summary
    commands.pareto(scope="nowhere")
    found = model.state().compare
    assert (found.points, found.summary) == ((), "No run has both numbers yet.")


def test_transcoders_are_grouped_by_their_target(ws: Workspace, compared: Compared) -> None:
    read = ws.trainings.get("sweep_16").record.hook_name
    for training_id, written in (("sweep_24", "blocks.6.hook_mlp_out"), ("sweep_64", "blocks.7.hook_mlp_out")):
        change(ws, training_id, config={**ws.trainings.get(training_id).record.config, "hook_name_out": written})
    shown = compared("sweep_24", "sweep_16")
    assert [point.id for point in shown.points] == ["sweep_24"]
    labels = {scope.label: scope.count for scope in shown.scopes}
    assert labels[f"gpt2 · {read} → blocks.6.hook_mlp_out"] == 1
    assert labels[f"gpt2 · {read} → blocks.7.hook_mlp_out"] == 1
    # It opens where most of the compared runs are.
    shown = compared("sweep_24", "sweep_16", "jump_1.5")
    assert next(scope.label for scope in shown.scopes if scope.value == shown.scope) == f"gpt2 · {read}"


def test_what_has_not_ended_well_or_was_not_held_out_is_preliminary(ws: Workspace, compared: Compared) -> None:
    change(ws, "sweep_24", latest={"l0": 12.0, "fvu": 0.02})
    better = {"latest": {"val_l0": 10.0, "val_fvu": 0.01}, "status": JobStatus.FAILED}
    shown = compared("sweep_16", "jump_1.5", sweep_16=better)
    points = {point.id: point for point in shown.points}
    assert (points["sweep_16"].preliminary, points["sweep_16"].front) == ("failed", False)
    assert (points["sweep_24"].preliminary, points["sweep_24"].front) == ("training batches only", False)
    assert points["jump_4"].front  # what is preliminary beats no other
    assert not any(point.preliminary and point.front for point in shown.points)
    count = sum(bool(point.preliminary) for point in shown.points)
    assert f"{count} of them preliminary" in shown.summary
    assert "gpt2-l6-topk-k16" not in shown.summary


def test_settings_side_by_side_are_those_of_the_form(commands: PanelCommands, model: PanelModel) -> None:
    found = commands.comparison(training_ids=("sweep_16", "jump_1.5"))
    rows = {row.label: row for row in found}
    assert rows["Architecture"].values == ("TopK", "JumpReLU")
    assert rows["Active latents (k)"].values == ("16", "–")
    assert rows["Active latents (k)"].differs
    assert rows["Model"].values == ("gpt2", "gpt2")  # no choice: as it was typed
    assert not rows["Model"].differs
    assert rows["Dataset"].values == ("demo", "demo")
    assert [row.label for row in found][:2] == ["Model", "Dataset"]  # the order of the form
    shown = {row.name: row.values for row in found}
    assert shown["sae.sparsity_loss"] == ("–", "Step (L0)")
    assert shown["device"] == ("Automatic", "Automatic")
    for field in form_fields():
        if field.choices and field.name in shown:
            assert set(shown[field.name]) <= {*field.words, "–"}, field.name
    alone = settings_of_run(model.records(["sweep_16"])[0])
    rows_alone = commands.comparison(training_ids=("sweep_16", "sweep_24"))
    assert [(row.name, row.label, row.value) for row in alone] == [(r.name, r.label, r.values[0]) for r in rows_alone]


def test_settings_show_what_a_run_made_of_empty_ones(ws: Workspace, model: PanelModel) -> None:
    config = TrainingConfig(sae=StandardConfig(d_sae=1024), tokens=2_457_600)
    change(ws, "sweep_16", config=config.to_data())
    again(model)
    shown = {row.label: row.value for row in settings_of_run(model.records(["sweep_16"])[0])}
    labels = ("Learning rate", "Dead window (tokens)", "Target L0", "Version of the defaults")
    assert [shown[label] for label in labels] == ["8e-3", "122,880", "50", "2"]
    change(ws, "sweep_16", config=config.replace(epochs=0.5).to_data(), tokens_total=614_400)  # Tokens is of no effect
    again(model)
    shown = {row.label: row.value for row in settings_of_run(model.records(["sweep_16"])[0])}
    assert [shown[label] for label in labels[:2]] == ["8e-3", "30,720"]
    change(ws, "sweep_16", latest={"lr": 0.000731})
    again(model)
    rows = [row.label for row in settings_of_run(model.records(["sweep_16"])[0])]
    assert rows[rows.index("Learning rate") + 1] == "Learning rate, newest"


def test_settings_that_share_a_label_show_their_names(
    ws: Workspace, model: PanelModel, commands: PanelCommands
) -> None:
    change(ws, "sweep_16", config=TrainingConfig(model="gpt2", sae=StandardConfig(d_sae=16_384)).to_data())
    again(model)
    labels = [row.label for row in commands.comparison(training_ids=("sweep_16", "jump_1.5"))]
    assert len(set(labels)) == len(labels)
    assert {"Sparsity coefficient (l1_coefficient)", "Sparsity coefficient (l0_coefficient)"} < set(labels)
    alone = commands.comparison(training_ids=("jump_1.5",))
    assert "Sparsity coefficient" in [row.label for row in alone]


def test_the_comparison_for_a_program(
    commands: PanelCommands, model: PanelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = model.records(["sweep_16", "jump_1.5"])
    first = replace(first, latest={**first.latest, "loss": math.nan})
    monkeypatch.setattr(model, "records", lambda ids: [first, second] if ids else [])
    found = commands.comparison_table(training_ids=("sweep_16", "jump_1.5"))
    one, two = (dict(zip(found.columns, row, strict=True)) for row in found.rows)
    assert (one["training_id"], one["status"], one["step"]) == ("sweep_16", "completed", 2441)
    assert (one["sae.architecture"], one["sae.d_sae"], one["sae.k"]) == ("topk", 16_384, 16)
    assert two["sae.k"] is None
    assert two["latest.val_fvu"] == 0.131
    assert one["latest.loss"] is None  # JSON has no NaN
    assert one["tokens_per_second"] == pytest.approx(10_000_000 / 302)
    assert one["checkpoints.keep_every"] is False
    assert commands.comparison_table(training_ids=()).rows == ()
