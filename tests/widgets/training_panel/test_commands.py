"""Every button is one call of the workspace."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from saewidgets.config import TrainingConfig
from saewidgets.config.base import nested
from saewidgets.config.templates import presets
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StateError
from saewidgets.events import JobStatus
from saewidgets.records import ActivationStoreRecord
from saewidgets.widgets.commands import FieldsError
from saewidgets.widgets.messages.training import CheckResult, Picture
from saewidgets.widgets.training_panel.commands import ChartCommands, PanelCommands
from saewidgets.widgets.training_panel.state import PanelModel, for_footer
from saewidgets.workspace import Run, Workspace
from saewidgets.workspace.deletions import Deletions
from saewidgets.workspace.training.run import TrainingGroup
from tests.widgets.conftest import panel_commands
from tests.widgets.seeded_runs import change, make_store, show_stores, train_nothing

Calls = list[tuple[Any, ...]]


@pytest.fixture
def asked() -> set[str]:
    """What the commands asked the panel for."""
    return set()


@pytest.fixture
def commands(ws: Workspace, asked: set[str]) -> PanelCommands:
    model = PanelModel(ws)
    model.read()
    picture = Picture(name="pareto", width=640, height=400, svg="<svg></svg>")
    return panel_commands(model, _wake=lambda: asked.add("wake"), pictures=lambda figure: (picture,))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What was asked of runs and groups, which do nothing."""
    found: Calls = []

    def note(verb: str) -> Callable[..., Any]:
        return lambda self, *given, **options: found.append((verb, self.id, *given, *options.values())) or self

    for of in (Run, TrainingGroup):
        for verb in ("pause", "resume", "stop", "delete", "retry", "import_to_saes", "checkpoint_now"):
            monkeypatch.setattr(of, verb, note(verb), raising=False)
    for verb in ("continue_from", "import_checkpoint", "delete_checkpoint", "train_longer"):
        monkeypatch.setattr(Run, verb, note(verb))
    monkeypatch.setattr(Deletions, "add", lambda self, training_id: found.append(("delete", training_id)))
    return found


VERBS = {
    "pause": ("pause",), "resume": ("resume",), "stop": ("stop", True), "stop_without_saving": ("stop", False),
    "delete": ("delete",), "retry": ("retry",), "import": ("import_to_saes",), "checkpoint": ("checkpoint_now",),
}  # fmt: skip


@pytest.mark.parametrize("action", VERBS)
def test_actions_on_one_run_on_several_and_on_a_group(
    commands: PanelCommands, calls: Calls, asked: set[str], action: Any
) -> None:
    verb, *options = VERBS[action]
    assert commands.run_action(action=action, training_id="train_0").training_id == "train_0"
    assert calls.pop() == (verb, "train_0", *options)
    assert asked == {"wake"}
    if action != "checkpoint":
        done = commands.run_actions(action=action, training_ids=("train_3", "train_3", "nobody"))
        assert (done.done, [note.where for note in done.problems]) == (("train_3",), ["nobody"])
        assert calls.pop() == (verb, "train_3", *options)
    if action not in ("import", "checkpoint"):
        assert commands.group_action(action=action, group_id="group_1") == {"group_id": "group_1"}
        members = [run.id for run in commands._workspace.trainings.group("group_1").runs]
        expected = [("delete", member) for member in members] if verb == "delete" else [(verb, "group_1", *options)]
        assert calls == expected
        calls.clear()
    assert calls == []


def test_actions_on_a_checkpoint_and_on_the_end(commands: PanelCommands, calls: Calls) -> None:
    verbs = {"continue": "continue_from", "import": "import_checkpoint", "delete": "delete_checkpoint"}
    for action in verbs:
        commands.checkpoint_action(action=action, training_id="train_1", checkpoint_id="train_1-c")  # type: ignore[arg-type]
    assert calls == [(verb, "train_1", "train_1-c") for verb in verbs.values()]
    assert commands.train_longer(training_id="train_3", tokens=30_000_000).training_id == "train_3"
    assert calls.pop() == ("train_longer", "train_3", 30_000_000)


def test_the_order_in_which_several_are_asked(commands: PanelCommands, calls: Calls) -> None:
    commands.run_actions(action="pause", training_ids=("train_0", "train_2"))  # what waits first: it would start
    commands.run_actions(action="resume", training_ids=("train_5", "train_1"))  # as they were begun
    assert [training_id for _, training_id in calls] == ["train_2", "train_0", "train_1", "train_5"]


def test_the_runs_of_a_group_are_retried_as_one_group_if_all_are_chosen(
    commands: PanelCommands, calls: Calls, ws: Workspace
) -> None:
    members = [run.id for run in ws.trainings.group("group_1").runs]
    done = commands.run_actions(action="retry", training_ids=("train_3", *members))
    assert sorted(done.done) == sorted(["train_3", *members])
    assert sorted(calls) == [("retry", "group_1"), ("retry", "train_3")]
    calls.clear()
    commands.run_actions(action="retry", training_ids=tuple(members[:-1]))
    assert calls == [("retry", member) for member in sorted(members[:-1])]


def test_failures_are_reported_and_the_others_are_done(commands: PanelCommands, ws: Workspace) -> None:
    done = commands.run_actions(action="delete", training_ids=("train_0", "train_3", "nobody"))
    assert done.done == ("train_3",)
    assert [note.where for note in done.problems] == ["gpt2-l6-topk-k32", "nobody"]
    assert done.problems[0].what == "gpt2-l6-topk-k32 is running."
    with pytest.raises(StateError):
        commands.run_action(action="delete", training_id="train_0")
    commands._model.read()
    state = commands.state()
    assert ([one.id for one in state.deleted], "train_3" in [card.id for card in state.cards]) == (["train_3"], False)
    commands.undo_delete(ids=("train_3",))
    commands._model.read()
    state = commands.state()
    assert (state.deleted, "train_3" in [card.id for card in state.cards]) == ((), True)
    with pytest.raises(StateError, match="deleted already"):
        commands.undo_delete(ids=("train_3",))


def test_a_run_as_python_starts_the_same_run(commands: PanelCommands, ws: Workspace) -> None:
    code = commands.run_code(training_id="train_3")["text"]
    assert "hook_name" in code
    assert len(code.splitlines()) < 12  # defaults are left out
    started: list[Any] = []
    space = SimpleNamespace(trainings=SimpleNamespace(create=started.append))
    exec(code.replace("import saewidgets as sw", ""), {"sw": SimpleNamespace(Workspace=lambda *_: space)})
    assert TrainingConfig.from_data(started[0]) == TrainingConfig.from_data(ws.trainings.get("train_3").record.config)


def test_new_names_retries_and_groups(commands: PanelCommands, ws: Workspace) -> None:
    train_nothing(ws)
    commands.rename(training_id="train_3", name="better")
    assert ws.trainings.get("train_3").record.name == "better"
    commands.rename_group(group_id="group_1", name="layers")
    again = commands.run_action(action="retry", training_id="train_3").training_id
    record = ws.trainings.get(again).record
    assert (record.retry_of, record.name) == ("train_3", "better-2")
    retried = commands.group_action(action="retry", group_id="group_1")["group_id"]
    assert ws.trainings.group(retried).name == "layers-2"
    members = tuple(run.id for run in ws.trainings.group("group_1").runs)
    commands.group_action(action="delete", group_id="group_1")
    assert ws.deletions.pending().keys() == {*members}
    commands.undo_delete(ids=members)


def test_edit_and_retry_keeps_where_it_comes_from_under_a_name_of_its_own(
    commands: PanelCommands, ws: Workspace
) -> None:
    train_nothing(ws)
    name = "pythia-70m-l3-standard"
    change(ws, "train_4", config={**ws.trainings.get("train_4").record.config, "name": name})
    assert commands.form_schema(training_id="train_4").defaults["name"] == f"{name}-2"
    config = TrainingConfig(name=f"{name}-2").to_data()
    found = commands.create(config=config, retry_of="train_4")
    record = ws.trainings.get(found.training_id).record
    assert (record.retry_of, record.name) == ("train_4", f"{name}-2")


def test_create_starts_a_valid_run_or_several(commands: PanelCommands, ws: Workspace) -> None:
    train_nothing(ws)
    found = commands.create(config=TrainingConfig(name="mine").to_data())
    assert ws.trainings.get(found.training_id).record.name == "mine"
    several = commands.create(config=TrainingConfig().to_data(), over={"sae.k": [8, 16]})
    assert len(ws.trainings.group(several.group_id or "")) == 2
    assert ws.trainings.get(commands.train_demo().training_id).record.model == "demo"


def test_create_names_every_bad_field_and_starts_nothing(
    commands: PanelCommands, ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = TrainingConfig().to_data()
    data["sae"]["k"], data["hook_name"] = 20_000, "nowhere"
    with pytest.raises(FieldsError, match="2 fields need attention") as caught:
        commands.create(config=data)
    assert caught.value.fields["sae.k"].startswith("k is 20,000 but d_sae is 16,384.")
    assert "hook_name" in caught.value.fields
    # Start waits until the model was looked up
    wrong = {"model": "There is no such model."}
    answers = [{"pending": ("model",)}, {"pending": ("model",)}, {"fields": wrong}]
    monkeypatch.setattr(ws.trainings, "validate", lambda data, over=None: answers.pop(0))
    with pytest.raises(FieldsError, match="1 field needs attention") as caught:
        commands.create(config={})
    assert (caught.value.fields, answers) == (wrong, [])
    assert len(ws.trainings.list()) == 17


def test_check_and_form(commands: PanelCommands, ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ws.trainings, "validate", lambda config, over=None: {"name": "x", "hints": {"model": "small"}})
    assert commands.check(config={}) == CheckResult(name="x", hints={"model": "small"})
    assert commands.form_schema(training_id="train_0").defaults["model"] == "gpt2"
    assert commands.form_schema().defaults["model"] == "demo"
    former = TrainingConfig().to_data() | {"version": 1, "sae": {"architecture": "jumprelu"}}
    change(ws, "train_1", config=former)
    found = commands.form_schema(training_id="train_1").defaults
    assert (found["sae.start_from_data"], found["sae.threshold_parameter"]) == (False, "log")
    (first, *_) = ws.templates.list()
    assert commands.form_schema(template_id=first.id).defaults["model"] == "gpt2"
    with pytest.raises(NotFoundError):
        commands.form_schema(template_id="nope")


def test_refresh_pulls_and_stays_silent_when_nothing_is_new(commands: PanelCommands, ws: Workspace) -> None:
    state = commands.refresh()
    assert commands.refresh(state.revision) is None
    change(ws, "train_1", status=JobStatus.STOPPED)  # another process did it: no event reaches this one
    commands._model._read_at = 0.0  # long ago
    newer = ChartCommands(commands._widget, for_footer).refresh(state.revision)
    assert newer.revision > state.revision
    assert newer.cards == ()


def test_details(commands: PanelCommands) -> None:
    details = commands.details(training_id="train_4")
    assert details.checkpoints[0].label == "latest, best FVU"
    assert details.traceback == "Traceback …"
    assert {row.name: row.label for row in details.settings}["sae.k"] == "Active latents (k)"


def test_chart_settings_reset_and_pictures(commands: PanelCommands, asked: set[str]) -> None:
    commands.chart(training_ids=("train_0", "train_1"))
    assert asked == {"wake"}
    commands.chart(reset_zoom=True)
    assert commands._widget.reset_charts.is_set()
    assert [picture.name for picture in commands.pictures(figure="pareto")] == ["pareto"]


def test_the_table_is_paged_and_binary(commands: PanelCommands) -> None:
    table = commands.metric_table(training_id="train_0", names=("loss", "fvu"), limit=40, offset=120)
    assert table.columns == ("step", "tokens", "time", "loss", "fvu")
    assert table.value == {"rows": 30, "total": 150}
    steps = np.frombuffer(table.buffers[0], dtype="<f8")
    assert steps.tolist() == [float(10 * i) for i in range(121, 151)]
    whole = commands.metric_table(training_id="train_0")
    assert whole.columns == ("step", "tokens", "time", "ce_loss_score", "dead", "fvu", "l0", "loss")


@pytest.mark.filterwarnings("ignore:.* without an SAE")
def test_export(commands: PanelCommands, tmp_path: Path) -> None:
    one = commands.export_runs(training_ids=("train_3",), folder=str(tmp_path / "out"))
    assert one.paths == (str(tmp_path / "out"),)
    assert (tmp_path / "out" / "metrics.csv").is_file()
    several = commands.export_runs(training_ids=("train_3", "nobody", "train_6"), folder=str(tmp_path))
    assert several.paths == (str(tmp_path / "demo-l2-topk-k24"), str(tmp_path / "gpt2-l6-gated-try"))
    assert [note.where for note in several.problems] == ["nobody"]


# ------------------------------------------------------------------------------------------------ templates


def test_templates(commands: PanelCommands, ws: Workspace) -> None:
    first, second = commands.list_templates().templates
    assert (first.name, second.name) == ("GPT-2 small, TopK", "Pythia-70M, JumpReLU")
    assert (first.favorite, first.architecture, first.d_sae) == (True, "TopK k 32", 16_384)
    found = commands.list_templates(search="pythia")
    assert ([row.id for row in found.templates], found.total) == ([second.id], 2)
    commands.template_action(action="favorite", template_id=second.id)
    commands.template_action(action="unfavorite", template_id=first.id)
    commands.template_action(action="rename", template_id=second.id, name="mine")
    commands.template_action(action="describe", template_id=second.id, description=" for the paper ")
    assert ws.templates.get(second.id).description == "for the paper"
    with pytest.raises(ConfigError, match="at most 4,000"):
        commands.template_action(action="describe", template_id=second.id, description="x" * 4001)
    rows = commands.list_templates().templates
    assert [(row.name, row.favorite) for row in rows] == [("mine", True), ("GPT-2 small, TopK", False)]
    commands.template_action(action="delete", template_id=first.id)
    with pytest.raises(NotFoundError):
        commands.template_action(action="delete", template_id=first.id)


def test_presets_fill_the_form_as_they_are(commands: PanelCommands) -> None:
    rows = commands.list_templates(search="no template").presets
    assert [row.name for row in rows] == [each.name for each in presets()]
    assert all(row.description and row.sources for row in rows)
    for each in presets():
        form = commands.form_schema(preset=each.name)
        kind = each.config.sae.architecture
        named = [field.name for field in form.fields if kind in (field.architectures or kind)]
        given = nested({name: form.defaults[name] for name in named})
        assert TrainingConfig.from_data({**given, "version": each.config.version}) == each.config
    with pytest.raises(NotFoundError):
        commands.form_schema(preset="no preset")


def test_saving_the_form_or_a_run(commands: PanelCommands, ws: Workspace) -> None:
    config = TrainingConfig(model="mine").to_data()
    saved = commands.save_template(name="a", config=config)["template_id"]
    assert ws.templates.get(saved).model == "mine"
    of_run = commands.save_template(name="b", training_id="jump_1.5")["template_id"]
    assert ws.templates.get(of_run).architecture == "jumprelu"
    with pytest.raises(StateError, match="'a'") as caught:
        commands.save_template(name="a", config=config)
    assert (caught.value.where, caught.value.hint) == ("name", "Choose another name, or replace it.")
    assert commands.save_template(name="a", config=config, replace=True)["template_id"] == saved


def test_a_file_of_templates(commands: PanelCommands, ws: Workspace) -> None:
    text = commands.export_templates()["text"]
    assert len(json.loads(text)["templates"]) == 2
    names = commands.import_templates(file="t.json", text=text)["names"]
    assert names == ["GPT-2 small, TopK (2)", "Pythia-70M, JumpReLU (2)"]
    assert len(ws.templates.list()) == 4
    with pytest.raises(FormatError, match=r"t\.json"):
        commands.import_templates(file="t.json", text=text[:-10])


# ------------------------------------------------------------------------------------------------ stores


@pytest.fixture
def listed(commands: PanelCommands, ws: Workspace) -> Callable[..., Any]:
    """The rows of these stores, by id."""

    def listed(*records: ActivationStoreRecord, architecture: str = "topk") -> dict[str, Any]:
        show_stores(ws, *records)
        return {row.id: row for row in commands.list_stores(architecture=architecture)}

    return listed


def test_a_store_fills_in_its_settings(listed: Callable[..., Any]) -> None:
    assert listed() == {}
    row = listed(make_store("acts_1"))["acts_1"]
    assert (row.name, row.model, row.tokens, row.size_bytes) == ("gpt2 demo", "gpt2", 2_000_000, 3_072_000_000)
    assert (row.hook_names, row.problem) == (("blocks.6.hook_resid_post",), "")
    assert row.values == {
        "corpus": "acts_1", "model": "gpt2", "context_size": 128, "activations.prepend_bos": True,
    }  # fmt: skip
    imported = make_store("acts_2", source="imported", model=None, config={"paths": []}, context_size=None)
    assert listed(imported)["acts_2"].values == {"corpus": "acts_2"}  # nothing but what they are


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"n_tokens": None, "status": JobStatus.RUNNING}, "Its capture is running. Wait until it has completed."),
        ({"n_tokens": None, "status": JobStatus.PAUSED}, "Resume it: saewidgets activations resume acts_1."),
        ({"n_tokens": None, "status": JobStatus.FAILED}, "Its capture failed. Capture the activations again."),
        ({"state": "missing", "state_note": "3 files are missing."}, "3 files are missing."),
    ],
)
def test_why_a_store_cannot_be_read(listed: Callable[..., Any], changes: dict[str, Any], problem: str) -> None:
    row = listed(make_store("acts_1", **changes))["acts_1"]
    assert problem in row.problem
    assert row.tokens == 2_000_000


def test_a_transcoder_needs_two_hook_points(listed: Callable[..., Any]) -> None:
    stores = make_store("one"), make_store("two", hook_names=("blocks.6.mlp.hook_in", "blocks.6.hook_mlp_out"))
    assert [row.problem for row in listed(*stores).values()] == ["", ""]
    rows = listed(*stores, architecture="skip_transcoder")
    assert "this store holds only one" in rows["one"].problem
    assert rows["two"].problem == ""
