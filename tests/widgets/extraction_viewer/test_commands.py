"""Every button of the extraction viewer as one call of the workspace, with good and with bad input."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from saewidgets.errors import ConfigError, NotFoundError, StateError, StorageError
from saewidgets.events import JobStatus
from saewidgets.feature_records import LogitsRecord
from saewidgets.widgets.commands import BUFFER_LIMIT, FieldsError
from saewidgets.widgets.extraction_viewer.commands import ViewerCommands
from saewidgets.widgets.extraction_viewer.state import ViewerModel
from saewidgets.widgets.messages.features import (
    ExtractionCard,
    FeatureQuery,
    ViewerView,
)
from tests.widgets.conftest import run
from tests.widgets.fake_features import HOSTILE, PIECES, FakeFeatureWorkspace, full_features

EXT = "ext_new"
GOOD = {"corpus": "demo", "tokens": "1M", "max_norm_ratio": True}


@pytest.fixture
def ws(tmp_path: Path) -> FakeFeatureWorkspace:  # type: ignore[override]
    return full_features(tmp_path)


@pytest.fixture
def model(ws: FakeFeatureWorkspace) -> ViewerModel:
    return ViewerModel(ws)


@pytest.fixture
def woken() -> threading.Event:
    return threading.Event()


@pytest.fixture
def steered() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def commands(model: ViewerModel, woken: threading.Event, steered: list[tuple[str, int]]) -> ViewerCommands:
    return ViewerCommands(model, woken.set, lambda owner, index: steered.append((owner, index)))


# ---------------------------------------------------------------------------------------------- the list of jobs


def test_refresh_tells_only_what_is_new(commands: ViewerCommands) -> None:
    state = run(commands, "refresh", revision=-1)
    assert state.total == 3
    assert run(commands, "refresh", revision=state.revision) is None


def test_actions(commands: ViewerCommands, ws: FakeFeatureWorkspace, woken: threading.Event) -> None:
    run(commands, "extraction_action", extraction_id="ext_run", action="pause")
    assert ws.extractions.records["ext_run"].status is JobStatus.PAUSED
    run(commands, "extraction_action", extraction_id="ext_run", action="resume")
    assert ws.extractions.records["ext_run"].status is JobStatus.RUNNING
    with pytest.raises(StateError, match="is running"):
        run(commands, "extraction_action", extraction_id="ext_run", action="delete")
    run(commands, "extraction_action", extraction_id="ext_run", action="cancel")
    run(commands, "extraction_action", extraction_id="ext_run", action="delete")
    assert "ext_run" not in ws.extractions.records
    with pytest.raises(StateError, match="cannot be resumed"):
        run(commands, "extraction_action", extraction_id=EXT, action="resume")
    woken.clear()
    with pytest.raises(NotFoundError, match="no extraction"):
        run(commands, "extraction_action", extraction_id="ext_run", action="pause")
    assert woken.is_set()  # it leaves the list of whoever still shows it


def test_logit_effects_of_all_features(
    commands: ViewerCommands, ws: FakeFeatureWorkspace, model: ViewerModel
) -> None:
    def card() -> ExtractionCard:
        model.mark_changed()
        model.read()
        return next(each for each in model.state().cards if each.id == EXT)

    def act(action: str) -> None:
        run(commands, "logits_action", extraction_id=EXT, action=action)

    assert (card().logits, card().has_logits) == (None, False)
    with pytest.raises(StateError, match="not being computed"):
        act("pause")
    act("start")
    job = card().logits
    assert job is not None
    assert (job.status, job.fraction, job.done, job.total, job.eta_seconds) == ("running", 0.25, 10, 40, 3.0)
    act("pause")
    job = card().logits
    assert job is not None
    assert (job.status, job.eta_seconds) == ("paused", None)
    act("resume")
    act("cancel")
    assert card().logits is None
    assert [call[0] for call in ws.extractions.calls] == [
        "compute_logits", "pause_logits", "compute_logits", "cancel_logits",
    ]  # fmt: skip
    ws.extractions.with_logits.add(EXT)
    assert card().has_logits


def test_the_loss_effect_of_a_token(commands: ViewerCommands, ws: FakeFeatureWorkspace) -> None:
    found = run(commands, "read_loss_effect", extraction_id=EXT, index=7, position=40)
    assert (found.index, found.effect, found.loss, found.problem) == (7, -0.184, 2.31, None)
    run(commands, "read_loss_effect", extraction_id=EXT, index=7, text="a ship", token=1)
    assert [call[3] for call in ws.features.calls if call[0] == "loss_effect"] == [
        {"position": 40}, {"text": "a ship", "token": 1},
    ]  # fmt: skip
    ws.features.problem = ConfigError("No token follows this one.", where="position")
    found = run(commands, "read_loss_effect", extraction_id=EXT, index=7, position=41)
    assert found.effect is None
    assert found.problem.what == "No token follows this one."


def test_the_demo(commands: ViewerCommands, model: ViewerModel) -> None:
    assert run(commands, "try_demo") == {"extraction_id": "ext_demo"}
    assert (model.view.extraction_id, model.view.tab) == ("ext_demo", "features")


def test_the_view(commands: ViewerCommands, model: ViewerModel) -> None:
    view = ViewerView(tab="prompt", extraction_id=EXT, feature=7, prompt="a ship")
    assert run(commands, "show_view", view=view) is None
    assert model.view == view
    with pytest.raises(ConfigError, match="no feature 99"):
        run(commands, "show_view", view=view.model_copy(update={"feature": 99}))
    assert model.view == view


def test_what_the_page_has_not_changed_stays_as_python_has_it(commands: ViewerCommands, model: ViewerModel) -> None:
    before = ViewerView(tab="prompt", extraction_id=EXT, feature=7)
    model.show(before.model_copy(update={"feature": 5}))  # the page has not heard of it yet
    run(commands, "show_view", view=before.model_copy(update={"tab": "features"}), before=before)
    assert (model.view.tab, model.view.feature) == ("features", 5)


# ---------------------------------------------------------------------------------------------- starting one


def test_choosing_an_sae(commands: ViewerCommands, ws: FakeFeatureWorkspace) -> None:
    statuses = (JobStatus.RUNNING, JobStatus.COMPLETED, JobStatus.FAILED)
    ws.downloads = [SimpleNamespace(status=status) for status in statuses]
    found = run(commands, "list_saes")
    rows = {row.id: row for row in found.rows}
    assert found.total == 4
    assert found.note == "1 has no files, 1 is being downloaded"
    assert rows["sae_pythia"].features_extracted == "13,434 so far"
    assert (rows["sae_gemma"].features_extracted, rows["sae_gpt2"].features_extracted) == ("16,384", "none")
    assert rows["sae_lab"].state == "missing"
    assert {choice.value for choice in found.sources} == {"gemma_scope", "trained", "huggingface", "local"}
    only = run(commands, "list_saes", source="trained", model="gpt2", search=" topk ")
    assert [row.id for row in only.rows] == ["sae_gpt2"]
    assert only.total == 4


def test_the_dialog(commands: ViewerCommands, ws: FakeFeatureWorkspace) -> None:
    form = run(commands, "extraction_form", sae_id="sae_gpt2")
    fields = {field.name: field.value for field in form.fields}
    assert (form.name, form.d_sae) == ("gpt2-l6-topk-k32", 16_384)
    assert (fields["tokens"], fields["context_size"], fields["min_activation"]) == ("1,000,000", "128", "1 % of max")
    assert "model" not in fields
    ws.saes.records["sae_gpt2"] = dataclasses.replace(ws.saes.records["sae_gpt2"], model=None)
    unknown = {field.name for field in run(commands, "extraction_form", sae_id="sae_gpt2").fields}
    assert "model" in unknown
    again = run(commands, "extraction_form", sae_id="sae_gpt2", extraction_id=EXT)
    assert {"batch_size", "device"} <= {field.name for field in again.fields}
    assert {field.name: field.value for field in again.fields}["corpus"] == "demo"
    with pytest.raises(NotFoundError):
        run(commands, "extraction_form", sae_id="sae_nobody")


def test_checking(commands: ViewerCommands, ws: FakeFeatureWorkspace) -> None:
    found = run(commands, "check_extraction", sae_id="sae_gpt2", values=GOOD)
    assert (found.errors, found.device, found.seconds, found.memory_free) == ({}, "cuda:0", 110.0, None)
    assert found.warnings[0].what == "Latents that fire rarely are hardly seen."
    assert ws.extractions.calls[-1][2].tokens == 1_000_000
    count = len(ws.extractions.calls)
    bad = run(commands, "check_extraction", sae_id="sae_gpt2", values={**GOOD, "tokens": "0"})
    assert set(bad.errors) == {"tokens"}
    assert len(ws.extractions.calls) == count  # nothing was estimated
    ws.extractions.estimate_error = ConfigError("There is no text.", where="corpus", hint='Enter "demo".')
    found = run(commands, "check_extraction", sae_id="sae_gpt2", values=GOOD)
    assert found.errors == {"corpus": 'There is no text. Enter "demo".'}
    hint = 'Name it: ExtractionConfig(model="gpt2"), a Hugging Face id or a folder.'
    ws.extractions.estimate_error = ConfigError("Its model is not known.", where="model", hint=hint)
    found = run(commands, "check_extraction", sae_id="sae_gpt2", values={**GOOD, "model": ""})
    assert found.errors == {"model": "Its model is not known. Enter it under Model: a Hugging Face id or a folder."}
    ws.extractions.estimate_error = StorageError("Not enough disk space.", hint="Free some.")
    found = run(commands, "check_extraction", sae_id="sae_gpt2", values=GOOD)
    assert (found.errors, found.warnings[0].what, found.warnings[0].kind) == ({}, "Not enough disk space.", "error")
    with pytest.raises(NotFoundError):
        run(commands, "check_extraction", sae_id="sae_nobody", values=GOOD)


def test_starting(commands: ViewerCommands, ws: FakeFeatureWorkspace, model: ViewerModel) -> None:
    model.change(dialog_sae="sae_gpt2")
    found = run(commands, "start_extraction", sae_id="sae_gpt2", values=GOOD)
    assert ws.extractions.records[found["extraction_id"]].tokens_total == 1_000_000
    assert (model.view.tab, model.view.dialog_sae) == ("jobs", None)
    with pytest.raises(FieldsError, match="2 fields need attention") as raised:
        run(commands, "start_extraction", sae_id="sae_gpt2", values={"tokens": "", "examples": "0"})
    assert set(raised.value.fields) == {"tokens", "examples"}


# ---------------------------------------------------------------------------------------------- the list of features


def indices(commands: ViewerCommands, **query: Any) -> list[int]:
    answer = run(commands, "query_features", extraction_id=EXT, query=FeatureQuery(**query))
    return [row.index for row in answer.rows]


def test_the_list_in_pieces(commands: ViewerCommands, ws: FakeFeatureWorkspace) -> None:
    query = FeatureQuery(sort="density", descending=True)
    first = run(commands, "query_features", extraction_id=EXT, query=query, limit=3)
    assert (first.matching, first.offset, first.max_density) == (40, 0, pytest.approx(1 / 3))
    assert [row.index for row in first.rows] == [39, 38, 37]
    assert first.rows[0].top_tokens == (" ship", HOSTILE)
    last = run(commands, "query_features", extraction_id=EXT, query=query, offset=39, limit=3)
    assert len(last.rows) == 1
    assert run(commands, "query_features", extraction_id=EXT, query=query, offset=99).rows == ()
    assert indices(commands, show="labelled") == [7]
    assert indices(commands, search="SHIP") == [7]
    assert indices(commands, show="starred") == [9]
    assert indices(commands, show="dead") == [0, 13]


def test_the_list_needs_something_to_read(commands: ViewerCommands) -> None:
    with pytest.raises(StateError, match="nothing to read yet"):
        run(commands, "query_features", extraction_id="ext_run", query=FeatureQuery())
    with pytest.raises(NotFoundError):
        run(commands, "query_features", extraction_id="ext_nobody", query=FeatureQuery())


def step(commands: ViewerCommands, index: int, how: str, **query: Any) -> tuple[int | None, int | None]:
    place = run(commands, "step_feature", extraction_id=EXT, query=FeatureQuery(**query), index=index, step=how)
    return place.index, place.row


def test_steps(commands: ViewerCommands) -> None:
    assert step(commands, 7, "next") == (8, 8)
    assert step(commands, 7, "previous") == (6, 6)
    assert step(commands, 0, "previous") == (None, None)
    assert step(commands, 39, "next") == (None, None)
    assert step(commands, 7, "here") == (7, 7)
    assert step(commands, 12, "next_live") == (14, 14)
    assert step(commands, 39, "next_live") == (None, None)
    assert step(commands, 5, "next", sort="index", descending=True) == (4, 35)


def test_steps_from_a_feature_that_is_not_in_the_list(commands: ViewerCommands) -> None:
    assert step(commands, 3, "here", show="dead") == (3, None)
    assert step(commands, 3, "next", show="dead") == (13, 1)
    assert step(commands, 3, "previous", show="dead") == (0, 0)
    assert step(commands, 3, "next", show="dead", descending=True) == (0, 1)
    assert step(commands, 13, "next_live", show="live") == (14, 12)
    assert step(commands, 3, "next", show="dead", sort="max") == (0, 0)
    assert step(commands, 3, "next", search="nothing has this") == (None, None)
    with pytest.raises(ConfigError, match="no feature 40"):
        step(commands, 40, "next")


def test_random_steps_go_to_other_live_features(commands: ViewerCommands) -> None:
    found = {step(commands, 7, "random")[0] for _ in range(60)}
    assert len(found) > 5
    assert not found & {0, 7, 13, None}
    assert step(commands, 7, "random", show="labelled") == (None, None)


# ---------------------------------------------------------------------------------------------- one feature


def test_a_page(commands: ViewerCommands, ws: FakeFeatureWorkspace) -> None:
    table = run(commands, "open_feature", extraction_id=EXT, index=7)
    assert (table.value.index, table.value.row.label, table.value.notes.labels[0].text) == (7, "ships", "ships")
    assert table.columns == ("activations",)
    assert table.value.link.endswith("sw.ExtractionViewer(view={'extraction_id': 'ext_new', 'feature': 7})")
    compile(table.value.link, "link", "exec")
    ws.is_default = False
    ws.folder = Path("/tmp/it's")
    link = run(commands, "open_feature", extraction_id=EXT, index=7).value.link
    assert 'sw.ExtractionViewer(sw.Workspace("/tmp/it\'s"), view=' in link
    compile(link, "link", "exec")
    with pytest.raises(ConfigError, match=r"no feature 40: gpt2-l6-topk-k32 has 40\."):
        run(commands, "open_feature", extraction_id=EXT, index=40)


def test_logit_effects(
    commands: ViewerCommands, ws: FakeFeatureWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(commands, "feature_logits", extraction_id=EXT, index=7)
    assert [(one.token, one.logit) for one in found.raises] == [(" ship", 1.94), (HOSTILE, 1.0)]
    assert found.histogram is not None
    assert found.problem is None
    stored = LogitsRecord(7, ((" ship", 1.94),), ((" he", -0.52),), note="From stored tables: the model is gone.")
    with monkeypatch.context() as patch:
        patch.setattr(ws.features, "logits", lambda *_: stored)
        found = run(commands, "feature_logits", extraction_id=EXT, index=7)
    assert ([one.token for one in found.raises], found.histogram) == ([" ship"], None)  # the note has its place
    assert found.problem.what == "From stored tables: the model is gone."
    ws.features.problem = ConfigError("It reads attention heads.", where="reshape_activations", hint="None for it.")
    found = run(commands, "feature_logits", extraction_id=EXT, index=7)
    assert (found.problem.what, found.raises) == ("It reads attention heads.", ())
    ws.features.problem = StateError("Its model was in memory and is not any more.")
    assert run(commands, "feature_logits", extraction_id=EXT, index=7).problem is not None
    ws.features.problem = StorageError("Out of memory.")
    with pytest.raises(StorageError):
        run(commands, "feature_logits", extraction_id=EXT, index=7)
    with pytest.raises(ConfigError, match="no feature 40"):
        run(commands, "feature_logits", extraction_id=EXT, index=40)


def test_relations(commands: ViewerCommands, ws: FakeFeatureWorkspace) -> None:
    ws.features.label("feat_sae_gpt2_3", "boats")
    found = run(commands, "feature_relations", extraction_id=EXT, index=7)
    assert [(one.index, one.label, one.value) for one in found.similar] == [(2, "", 0.61), (3, "boats", 0.4)]
    assert found.similar[0].top_tokens[0] == " ship"
    assert (found.coactive[0].value, found.sampled, found.note) == (0.71, 2048, "of 2,048 sampled firings")
    ws.features.problem = NotFoundError("The files of the SAE are not here.")
    found = run(commands, "feature_relations", extraction_id=EXT, index=7)
    assert (found.similar, found.problem.what) == ((), "The files of the SAE are not here.")
    assert len(found.coactive) == 1


def test_text_around_an_example(commands: ViewerCommands) -> None:
    table = run(commands, "expand_example", extraction_id=EXT, index=7, position=40)
    assert (table.value.texts, table.value.peak, table.value.complete) == (PIECES, 1, False)
    values = np.frombuffer(table.buffers[0], "<f4")
    assert (len(values), values[1], values[17], values[50]) == (60, 19.5, 0.0, 2.0)
    assert np.isnan(values[18])  # too far from the example to be known
    with pytest.raises(ConfigError, match="no position 41"):
        run(commands, "expand_example", extraction_id=EXT, index=7, position=41)


def test_somebodys_text(commands: ViewerCommands, ws: FakeFeatureWorkspace) -> None:
    table = run(commands, "test_text", extraction_id=EXT, index=7, text="a ship a")
    assert (table.value.texts, table.value.tokens, table.value.max) == (("a", "ship"), (0, 1, 0), 4.0)
    assert table.value.note == "BOS is left out."
    with pytest.raises(ConfigError, match="no text"):
        run(commands, "test_text", extraction_id=EXT, index=7, text=" \n")
    ws.features.problem = NotFoundError("The model is not here.")
    with pytest.raises(NotFoundError, match="model is not here"):
        run(commands, "test_text", extraction_id=EXT, index=7, text="a")


def rows_of(commands: ViewerCommands, **how: Any) -> list[int]:
    table = run(commands, "read_prompt", extraction_id=EXT, text="a ship sailed", **how)
    return [row.index for row in table.value.rows]


def test_a_prompt(commands: ViewerCommands) -> None:
    table = run(commands, "read_prompt", extraction_id=EXT, text="a ship sailed")
    assert (table.value.texts, table.value.firing, table.value.hidden) == (("a", "ship", "sailed"), 3, 1)
    assert [(row.index, row.max, row.own_max) for row in table.value.rows] == [(7, 2.0, 3.5), (5, 1.0, 2.5)]
    assert np.frombuffer(table.buffers[0], "<f4").tolist() == [2, 0, 0, 1, 1, 1]
    assert rows_of(commands, hide_dense=False) == [39, 7, 5]
    assert rows_of(commands, rank_by="sum", hide_dense=False, limit=2) == [5, 39]
    assert rows_of(commands, rank_by="token", token=2, hide_dense=False) == [39, 5]  # 7 does not fire there
    for token in (None, 3, -1):
        with pytest.raises(ConfigError, match="no token"):
            rows_of(commands, rank_by="token", token=token)


def test_a_long_prompt_fits_into_a_buffer(commands: ViewerCommands) -> None:
    table = run(commands, "read_prompt", extraction_id=EXT, text="a " * 49_999 + "b", limit=200, hide_dense=False)
    assert 0 < len(table.buffers[0]) <= BUFFER_LIMIT
    assert len(table.buffers[0]) == 4 * len(table.value.tokens) * len(table.value.rows)


# ---------------------------------------------------------------------------------------------- what people say


def edit(commands: ViewerCommands, index: int, **what: Any) -> Any:
    return run(commands, "edit_feature", extraction_id=EXT, index=index, **what)


def test_editing(commands: ViewerCommands, woken: threading.Event) -> None:
    notes = edit(commands, 8, label="  the \n sea ", notes="see 7", starred=True)
    assert (notes.labels[0].text, notes.labels[0].source, notes.notes, notes.starred) == (
        "the sea", "user", "see 7", True
    )
    assert woken.is_set()
    assert edit(commands, 8, description="waves").labels[0].description == "waves"
    assert edit(commands, 8, label="ocean").labels[0].description == "waves"  # None leaves it
    assert edit(commands, 8, label="").labels == ()
    assert edit(commands, 8, starred=False).notes == "see 7"
    with pytest.raises(ConfigError, match="label of your own") as raised:
        edit(commands, 8, description="of nothing")
    assert raised.value.where == "label"
    with pytest.raises(ConfigError, match="no feature 40"):
        edit(commands, 40, starred=True)


def test_lists_follow_what_was_said(commands: ViewerCommands) -> None:
    assert indices(commands, show="labelled") == [7]
    edit(commands, 3, label=HOSTILE)
    assert indices(commands, show="labelled") == [3, 7]
    answer = run(commands, "query_features", extraction_id=EXT, query=FeatureQuery(show="labelled"))
    assert answer.rows[0].label == HOSTILE  # data, as it was typed


def test_suggestions_are_not_saved(commands: ViewerCommands, ws: FakeFeatureWorkspace) -> None:
    found = run(commands, "suggest_label", extraction_id=EXT, index=8)
    assert (found.text, found.by, found.note) == ("‘ship’", "offline heuristic", "Holds for 90% of 20 examples.")
    assert "feat_sae_gpt2_8" not in ws.features.said
    with pytest.raises(StateError, match="did not fire"):
        run(commands, "suggest_label", extraction_id=EXT, index=13)


def test_labelling_all(commands: ViewerCommands, woken: threading.Event) -> None:
    assert run(commands, "label_features", extraction_id=EXT) == {"labelled": 2, "skipped": 3}
    assert indices(commands, show="labelled") == [5, 6, 7]
    assert woken.is_set()
    with pytest.raises(StateError):
        run(commands, "label_features", extraction_id="ext_run")


def test_importing_labels(commands: ViewerCommands, ws: FakeFeatureWorkspace, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("index,label\n", "utf-8")
    answer = run(commands, "import_labels", extraction_id=EXT, path=f' "{file}" ')
    assert answer == {"imported": 3, "skipped": 1}
    assert ws.features.calls[-1] == ("import_labels", EXT, str(file))
    with pytest.raises(NotFoundError, match="no such file"):
        run(commands, "import_labels", extraction_id=EXT, path=str(tmp_path / "none.csv"))
    with pytest.raises(ConfigError):
        run(commands, "import_labels", extraction_id=EXT, path=" ")


def test_exporting(commands: ViewerCommands, ws: FakeFeatureWorkspace, tmp_path: Path) -> None:
    def export(name: str, **what: Any) -> Any:
        return run(commands, "export_features", extraction_id=EXT, what="json", path=str(tmp_path / name), **what)

    written = export("one", indices=(7, 8))
    assert (written.path, written.size_bytes) == (str(tmp_path / "one"), 5)
    assert ws.features.calls[-1] == ("export", EXT, "json", [7, 8])
    export("two", query=FeatureQuery(show="dead"))
    assert ws.features.calls[-1][-1] == [0, 13]
    export("three")
    assert ws.features.calls[-1][-1] is None
    with pytest.raises(ConfigError, match="No feature matches"):
        export("four", query=FeatureQuery(search="nothing has this"))
    with pytest.raises(ConfigError, match="no feature 40"):
        export("five", indices=(40,))
    with pytest.raises(ConfigError, match="file of that name"):
        export("one")
    assert not (tmp_path / "four").exists()


def test_exporting_labels(commands: ViewerCommands, ws: FakeFeatureWorkspace, tmp_path: Path) -> None:
    for what, name in (("labels_csv", "a.csv"), ("labels_jsonl", "b.jsonl"), ("interpretations", "c.json")):
        path = tmp_path / name
        given = path.with_suffix("") if what == "labels_csv" else path  # the ending may be left out
        written = run(commands, "export_features", extraction_id=EXT, what=what, path=str(given), indices=(7,))
        assert (written.path, written.size_bytes) == (str(path), 5)
        assert ws.features.calls[-1] == ("export", EXT, what.split("_")[0], [7])


def test_steering(commands: ViewerCommands, steered: list[tuple[str, int]]) -> None:
    assert run(commands, "steer_feature", extraction_id=EXT, index=7) is None
    assert steered == [("sae_gpt2", 7)]
    with pytest.raises(ConfigError, match="no feature 40"):
        run(commands, "steer_feature", extraction_id=EXT, index=40)
