"""Several runs at once, checkpoints, comparisons and templates: each command against a workspace in memory."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from saewidgets.config import StandardConfig, TrainingConfig
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StateError
from saewidgets.events import JobStatus
from saewidgets.render import runs_html
from saewidgets.widgets.messages.saes import UploadFile
from saewidgets.widgets.messages.training import Imported
from saewidgets.widgets.training_panel.cards import card_of
from saewidgets.widgets.training_panel.commands import PanelCommands
from saewidgets.widgets.training_panel.compare import settings_of_run
from saewidgets.widgets.training_panel.form import form_fields
from saewidgets.widgets.training_panel.state import PanelModel, for_chart_bar, for_footer
from saewidgets.workspace import Workspace
from tests.widgets.conftest import panel_commands
from tests.widgets.fake_workspace import FakeWorkspace, compared_workspace, make_record


@pytest.fixture
def ws(tmp_path: Path) -> FakeWorkspace:
    found = compared_workspace()
    found.folder = tmp_path / "workspace"
    return found


@pytest.fixture
def model(ws: FakeWorkspace) -> PanelModel:
    model = PanelModel(ws)
    model.read()
    return model


@pytest.fixture
def reset() -> threading.Event:
    return threading.Event()


@pytest.fixture
def runs(model: PanelModel, reset: threading.Event) -> PanelCommands:
    return panel_commands(model, reset_pareto=reset.set)


@pytest.fixture
def templates(model: PanelModel) -> PanelCommands:
    return panel_commands(model)


@pytest.mark.parametrize(
    ("action", "ids", "call"),
    [
        ("pause", ("train_0", "train_2"), ("pause", "train_0")),  # what waits first: it would start
        ("resume", ("train_1", "train_5"), ("resume", "train_5")),
        ("stop", ("train_0", "train_2"), ("stop", "train_2", True)),
        ("stop_without_saving", ("train_0",), ("stop", "train_0", False)),
        ("delete", ("train_3", "train_6"), ("delete", "train_6")),
    ],
)
def test_something_done_to_several(
    runs: PanelCommands, ws: FakeWorkspace, action: str, ids: tuple, call: tuple
) -> None:
    done = runs.run_actions(action=action, training_ids=ids)
    assert (set(done.done), done.problems) == (set(ids), ())
    assert ws.trainings.calls[-1] == call


def test_runs_go_on_in_the_order_in_which_they_were_begun(runs: PanelCommands, ws: FakeWorkspace) -> None:
    runs.run_actions(action="resume", training_ids=("train_5", "train_1"))
    assert [call[1] for call in ws.trainings.calls if call[0] == "resume"] == ["train_1", "train_5"]


def test_runs_of_one_job_are_compared_in_the_order_in_which_they_were_begun(
    runs: PanelCommands, ws: FakeWorkspace, model: PanelModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [
        make_record(name, TrainingConfig(), group_id="g" if name != "alone" else None, status=JobStatus.COMPLETED)
        for name in ("m2", "m1", "alone", "m0")
    ]
    monkeypatch.setattr(model, "records", lambda ids: [record for record in records if record.id in ids])
    asked: list[Sequence[str]] = []
    monkeypatch.setattr(model, "compare", asked.append)
    runs.compare(training_ids=("m2", "m1", "alone", "m0", "gone"))
    assert asked == [("m0", "m1", "m2", "alone", "gone")]


def test_what_fails_is_told_and_the_others_are_done(runs: PanelCommands, ws: FakeWorkspace) -> None:
    ids = ("train_3", "train_0", "nobody", "train_0")
    done = runs.run_actions(action="pause", training_ids=ids)
    assert done.done == ("train_0",)
    assert [(note.where, note.what) for note in done.problems] == [
        ("demo-l2-topk-k24", "demo-l2-topk-k24 is completed."),
        ("nobody", "There is no training 'nobody'."),
    ]
    assert ws.trainings.record("train_0").status is JobStatus.PAUSED


def test_a_group_is_steered_as_one(runs: PanelCommands, ws: FakeWorkspace, model: PanelModel) -> None:
    def act(action: str) -> dict[str, str]:
        return runs.group_action(action=action, group_id="group_1")

    def change(status: JobStatus) -> None:
        for layer in (4, 6, 8):
            ws.trainings.change(f"layer_{layer}", status=status)

    assert {card.group_name for card in model.state().cards if card.group_id} == {"three-layers"}
    assert model.state().total - model.state().jobs == 2  # three of its runs are one entry of the list
    change(JobStatus.RUNNING)
    assert act("pause") == {"group_id": "group_1"}
    assert {ws.trainings.record(f"layer_{layer}").status for layer in (4, 6, 8)} == {JobStatus.PAUSED}
    act("stop")
    assert ("group.stop", "group_1", True) in ws.trainings.calls
    assert act("retry") == {"group_id": "group_2"}
    runs.rename_group(group_id="group_1", name="layers")
    model.read()
    assert {card.group_name for card in model.state().cards if card.group_id == "group_1"} == {"layers"}
    act("delete")
    assert not any(record.group_id == "group_1" for record in ws.trainings.list())
    with pytest.raises(NotFoundError):
        act("pause")


def test_export(runs: PanelCommands, tmp_path: Path) -> None:
    one = runs.export_runs(training_ids=("train_3",), folder=str(tmp_path / "out"))
    assert one.paths == (str(tmp_path / "out"),)
    several = runs.export_runs(training_ids=("train_3", "nobody", "train_6"), folder=str(tmp_path))
    assert several.paths == (str(tmp_path / "demo-l2-topk-k24"), str(tmp_path / "gpt2-l6-gated-try"))
    assert [note.where for note in several.problems] == ["nobody"]


def test_checkpoints(runs: PanelCommands, ws: FakeWorkspace) -> None:
    def act(action: str) -> Any:
        return runs.checkpoint_action(action, training_id="train_1", checkpoint_id="train_1-c")  # type: ignore[arg-type]

    new = act("continue").training_id
    assert ws.trainings.record(new).retry_of == "train_1"
    assert act("import") == Imported(sae_id="sae_train_1-c", name="gpt2-l6-jumprelu-step-1000")
    assert act("delete").training_id == "train_1"
    assert ws.trainings.calls[-1] == ("delete_checkpoint", "train_1", "train_1-c")
    longer = runs.train_longer(training_id="train_3", tokens=20_000_000).training_id
    assert ws.trainings.record(longer).name == "demo-l2-topk-k24-longer"
    assert ("continue", "train_3", None, 20_000_000) in ws.trainings.calls


def test_a_comparison_is_part_of_the_state(runs: PanelCommands, model: PanelModel, ws: FakeWorkspace) -> None:
    assert model.state().compare is None
    runs.compare(training_ids=("sweep_16", "jump_1.5", "gone"))
    state = model.state()
    assert state.compare is not None
    assert state.compare.names == ("gpt2-l6-topk-k16", "gpt2-l6-jumprelu-1.5")
    assert for_chart_bar(state).compare is None
    assert for_footer(state).compare is None
    rows = {row.label: row for row in state.compare.results}
    assert (rows["FVU"].values, rows["FVU"].best) == (("0.171", "0.131"), (False, True))
    assert (rows["L0"].values, rows["L0"].best) == (("16.0", "58.4"), (False, False))
    assert rows["Throughput"].values[0] == "33,113 tok/s"
    ws.trainings.delete("sweep_16")
    model.mark_changed()
    model.read()
    assert model.state().compare is None  # one run is no comparison


def test_the_best_is_marked_among_runs_whose_numbers_mean_the_same(
    runs: PanelCommands, model: PanelModel, ws: FakeWorkspace
) -> None:
    ws.trainings.change("sweep_24", latest={**ws.trainings.record("sweep_24").latest, "dead": 0.5})
    negative = {**ws.trainings.record("layer_4").latest, "val_ce_loss_score": -0.271}
    ws.trainings.change("layer_4", latest={**negative, "loss": 54.051}, seconds_running=200.0)
    ws.trainings.change("sweep_24", seconds_running=250.0)
    model.mark_changed()
    model.read()
    runs.compare(training_ids=("layer_4", "sweep_16", "sweep_24"))
    compared = model.state().compare
    assert compared is not None
    rows = {row.label: row for row in compared.results}
    assert rows["FVU"].best == (False, False, True)  # layer 4 has a lower one, of other activations
    assert rows["CE recovered"].best == (False, False, True)
    assert rows["Dead"].best == (False, True, False)
    assert rows["Throughput"].best == (False, False, True)  # layer 4 reads less of the model, and is faster
    assert rows["Loss"].values == ("54.0510", "0.3420", "0.2780")  # of one format
    assert rows["CE recovered"].values[0] == "−0.271"  # with the sign that the page has everywhere


def test_of_a_run_shorter_than_its_dead_window_the_share_that_never_fired_is_shown(
    runs: PanelCommands, model: PanelModel, ws: FakeWorkspace
) -> None:
    latest = {name: value for name, value in ws.trainings.record("sweep_24").latest.items() if name != "dead"}
    ws.trainings.change("sweep_24", latest=latest | {"val_dead": 0.324}, status=JobStatus.COMPLETED)
    model.mark_changed()
    model.read()
    for others, shown in ((("sweep_24",), ("–", "32.4 %")), (("sweep_64",), None)):
        runs.compare(training_ids=("sweep_16", *others))
        compared = model.state().compare
        assert compared is not None
        rows = {row.label: row.values for row in compared.results}
        assert rows.get("Never fired (held-out text)") == shown
    record = ws.trainings.record("sweep_24")
    assert card_of(record).tiles.val_dead == 0.324
    assert card_of(replace(record, status=JobStatus.RUNNING)).tiles.val_dead is None  # more may be known yet
    assert "32.4 % never fired (held-out text)" in runs_html([record])


def test_the_pareto_view_holds_runs_that_can_be_compared(
    runs: PanelCommands, model: PanelModel, reset: threading.Event
) -> None:
    runs.compare(training_ids=("sweep_16", "jump_1.5"))
    shown = model.state().compare
    assert shown is not None
    assert (shown.points[0].id, shown.points[0].front) == ("sweep_16", True)  # nothing is sparser
    assert {point.architecture for point in shown.points} == {"topk", "jumprelu", "batchtopk"}
    assert not any(point.id in ("layer_4", "layer_8") for point in shown.points)  # other layers
    assert shown.left_out >= 1  # the queued run has no numbers yet
    scopes = {scope.label: scope for scope in shown.scopes}
    assert scopes["gpt2 · blocks.4.hook_resid_post"].count == 1
    reset.clear()
    runs.pareto(y_axis="ce_loss_score", scope="")
    assert reset.is_set()
    shown = model.state().compare
    assert shown is not None
    assert (shown.y_axis, shown.scope) == ("ce_loss_score", "")
    assert any(point.id == "layer_4" for point in shown.points)
    assert "CE recovered" in shown.summary
    runs.pareto(scope="nowhere")
    shown = model.state().compare
    assert shown is not None
    assert (shown.points, shown.summary) == ((), "No run has both numbers yet.")


def test_settings_side_by_side(runs: PanelCommands) -> None:
    found = runs.comparison(training_ids=("sweep_16", "jump_1.5"))
    rows = {row.label: row for row in found.rows}
    assert rows["Architecture"].values == ("TopK", "JumpReLU")
    assert rows["Active latents (k)"].values == ("16", "–")
    assert rows["Model"].values == ("gpt2", "gpt2")
    assert rows["Active latents (k)"].differs
    assert not rows["Model"].differs
    assert rows["Dataset"].values == ("demo", "demo")
    assert [row.label for row in found.rows][:2] == ["Model", "Dataset"]  # the order of the form


def test_transcoders_stand_apart_by_what_they_reconstruct(
    runs: PanelCommands, model: PanelModel, ws: FakeWorkspace
) -> None:
    read = ws.trainings.record("sweep_16").hook_name
    for training_id, written in (("sweep_24", "blocks.6.hook_mlp_out"), ("sweep_64", "blocks.7.hook_mlp_out")):
        ws.trainings.change(
            training_id, config={**ws.trainings.record(training_id).config, "hook_name_out": written}
        )
    model.mark_changed()
    model.read()
    runs.compare(training_ids=("sweep_24", "sweep_16"))
    shown = model.state().compare
    assert shown is not None
    assert [point.id for point in shown.points] == ["sweep_24"]
    labels = {scope.label: scope.count for scope in shown.scopes}
    assert labels[f"gpt2 · {read} → blocks.6.hook_mlp_out"] == 1
    assert labels[f"gpt2 · {read} → blocks.7.hook_mlp_out"] == 1
    # It opens where most of the compared runs are.
    runs.compare(training_ids=("sweep_24", "sweep_16", "jump_1.5"))
    shown = model.state().compare
    assert shown is not None
    assert next(scope.label for scope in shown.scopes if scope.value == shown.scope) == f"gpt2 · {read}"


def test_what_has_not_ended_well_or_was_not_held_out_is_preliminary(
    runs: PanelCommands, model: PanelModel, ws: FakeWorkspace
) -> None:
    latest = ws.trainings.record("sweep_16").latest
    good = {**latest, "val_l0": 10.0, "val_fvu": 0.01}  # better than all
    ws.trainings.change("sweep_16", latest=good, status=JobStatus.FAILED)
    ws.trainings.change("sweep_24", latest={"l0": 12.0, "fvu": 0.02})
    model.mark_changed()
    model.read()
    runs.compare(training_ids=("sweep_16", "jump_1.5"))
    shown = model.state().compare
    assert shown is not None
    points = {point.id: point for point in shown.points}
    assert (points["sweep_16"].preliminary, points["sweep_16"].front) == ("failed", False)
    assert (points["sweep_24"].preliminary, points["sweep_24"].front) == ("training batches only", False)
    assert points["jump_4"].front  # what is preliminary beats no other
    assert not any(point.preliminary and point.front for point in shown.points)
    running = sum(bool(point.preliminary) for point in shown.points)
    assert f"{running} of them preliminary" in shown.summary
    assert "gpt2-l6-topk-k16" not in shown.summary


def test_the_comparison_for_a_program(runs: PanelCommands, ws: FakeWorkspace) -> None:
    ws.trainings.change("sweep_16", latest={**ws.trainings.record("sweep_16").latest, "loss": math.nan})
    runs._model.mark_changed()
    runs._model.read()
    found = runs.comparison_table(training_ids=("sweep_16", "jump_1.5"))
    first, second = (dict(zip(found.columns, row, strict=True)) for row in found.rows)
    assert (first["training_id"], first["status"], first["step"]) == ("sweep_16", "completed", 2441)
    assert (first["sae.architecture"], first["sae.d_sae"], first["sae.k"]) == ("topk", 16_384, 16)
    assert second["sae.k"] is None
    assert second["latest.val_fvu"] == 0.131
    assert first["latest.loss"] is None  # JSON has no NaN
    assert first["tokens_per_second"] == pytest.approx(10_000_000 / 302)
    assert first["checkpoints.keep_every"] is False
    assert runs.comparison_table(training_ids=()).rows == ()


def test_settings_with_one_label_are_told_apart(runs: PanelCommands, ws: FakeWorkspace) -> None:
    standard = TrainingConfig(model="gpt2", sae=StandardConfig(d_sae=16_384)).to_data()
    ws.trainings.change("sweep_16", config=standard)
    runs._model.mark_changed()
    runs._model.read()
    found = runs.comparison(training_ids=("sweep_16", "jump_1.5"))
    labels = [row.label for row in found.rows]
    assert len(set(labels)) == len(labels)
    assert "Sparsity coefficient (l1_coefficient)" in labels
    assert "Sparsity coefficient (l0_coefficient)" in labels
    alone = runs.comparison(training_ids=("jump_1.5",))
    assert "Sparsity coefficient" in [row.label for row in alone.rows]


def test_choices_have_the_words_of_the_form(runs: PanelCommands) -> None:
    found = runs.comparison(training_ids=("sweep_16", "jump_1.5"))
    shown = {row.name: row.values for row in found.rows}
    assert shown["sae.architecture"] == ("TopK", "JumpReLU")
    assert shown["sae.sparsity_loss"] == ("–", "Step (L0)")
    assert shown["device"] == ("Automatic", "Automatic")
    assert shown["model"] == ("gpt2", "gpt2")  # no choice: as it was typed
    for field in form_fields():
        if field.choices and field.name in shown:
            assert set(shown[field.name]) <= {*field.words, "–"}, field.name


def test_details_and_comparison_list_the_same_settings(model: PanelModel, runs: PanelCommands) -> None:
    found = runs.comparison(training_ids=("sweep_16", "sweep_24"))
    rows = settings_of_run(model.records(["sweep_16"])[0])
    assert [(row.name, row.label, row.value) for row in rows] == [
        (row.name, row.label, row.values[0]) for row in found.rows
    ]


def test_groups_and_advice_are_on_the_cards(model: PanelModel, ws: FakeWorkspace) -> None:
    cards = {card.id: card for card in model.state().cards}
    assert [i for i, card in cards.items() if card.group_id == "group_1"] == ["layer_4", "layer_6", "layer_8"]
    assert cards["train_0"].advice is None or "L0" in cards["train_0"].advice
    latest = {**ws.trainings.record("sweep_16").latest, "dead": 0.61}
    ws.trainings.change("sweep_16", latest=latest)
    model.mark_changed()
    model.read()
    (card,) = [card for card in model.state().cards if card.id == "sweep_16"]
    assert card.advice == "Dead latents 61 % after 10M tokens."


# ------------------------------------------------------------------------------------------------ templates


def test_templates(templates: PanelCommands, ws: FakeWorkspace) -> None:
    found = templates.list_templates()
    assert [row.name for row in found.templates] == ["GPT-2 small, TopK", "Pythia-70M, JumpReLU"]
    assert (found.templates[0].favorite, found.templates[0].architecture, found.total) == (True, "TopK k 32", 2)
    assert templates.list_templates(search="pythia").total == 2
    (first, second) = found.templates
    templates.template_action(action="favorite", template_id=second.id)
    templates.template_action(action="unfavorite", template_id=first.id)
    templates.template_action(action="rename", template_id=second.id, name="mine")
    found = templates.list_templates()
    assert [(row.name, row.favorite) for row in found.templates] == [("mine", True), ("GPT-2 small, TopK", False)]
    templates.template_action(action="delete", template_id=first.id)
    with pytest.raises(NotFoundError):
        templates.template_action(action="delete", template_id=first.id)


def test_saving_the_form_or_a_run(templates: PanelCommands, ws: FakeWorkspace) -> None:
    config = TrainingConfig(model="mine").to_data()
    saved = templates.save_template(name="a", config=config)["template_id"]
    assert ws.templates.get(saved).model == "mine"
    of_run = templates.save_template(name="b", training_id="jump_1.5")["template_id"]
    assert ws.templates.get(of_run).architecture == "jumprelu"
    with pytest.raises(StateError, match="There is a template 'a'") as caught:
        templates.save_template(name="a", config=config)
    assert (caught.value.where, caught.value.hint) == ("name", "Choose another name, or replace it.")
    again = templates.save_template(name="a", config=config, replace=True)["template_id"]
    assert again == saved


def test_files_of_templates(templates: PanelCommands, ws: FakeWorkspace) -> None:
    text = templates.export_templates()["text"]
    assert json.loads(text) == ["GPT-2 small, TopK", "Pythia-70M, JumpReLU"]
    found = send(templates, text.encode())
    assert found == {"names": ["GPT-2 small, TopK (2)", "Pythia-70M, JumpReLU (2)"]}
    assert not list((ws.folder / "uploads").iterdir())


def send(templates: PanelCommands, raw: bytes, piece: int = 1_000_000) -> Any:
    begun = templates.begin_upload(files=(UploadFile(name="t.json", size=len(raw)),))
    for offset in range(0, len(raw), piece):
        templates.upload_chunk(begun["upload_id"], 0, offset, memoryview(raw[offset : offset + piece]))
    return templates.import_templates(upload_id=begun["upload_id"])


def test_a_large_file_of_templates_comes_in_pieces(tmp_path: Path) -> None:
    ws: Any = Workspace(tmp_path / "ws")
    for i in range(400):
        ws.templates.save(f"template {i}", TrainingConfig(), description="d" * 2000)
    templates = panel_commands(PanelModel(ws))
    text = templates.export_templates()["text"].encode()
    assert len(text) > 1_000_000
    assert len(send(templates, text)["names"]) == 400
    assert len(ws.templates.list()) == 800
    with pytest.raises(FormatError, match=r"t\.json"):
        send(templates, text[:-10])
    assert not list((tmp_path / "ws" / "uploads").iterdir())
    with pytest.raises(ConfigError, match="at most 8,388,608"):
        templates.begin_upload(files=(UploadFile(name="t.json", size=9_000_000),))
    ws.close()


def test_a_form_starts_from_a_template(model: PanelModel, ws: FakeWorkspace) -> None:
    commands = panel_commands(model)
    (first, *_) = ws.templates.list()
    assert commands.form_schema(template_id=first.id).defaults["model"] == "gpt2"
    with pytest.raises(NotFoundError):
        commands.form_schema(template_id="nope")
