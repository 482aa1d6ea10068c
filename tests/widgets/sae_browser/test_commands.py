"""Every button of the browser is one call of the workspace."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from saewidgets.errors import ConfigError, FormatError, NotFoundError, StateError
from saewidgets.widgets.messages.saes import (
    UploadFile,
)
from saewidgets.widgets.sae_browser.commands import BrowserCommands
from saewidgets.widgets.sae_browser.state import PAGE, BrowserModel
from saewidgets.widgets.values import folder_name, path_from
from tests.widgets.conftest import run
from tests.widgets.fake_library import FakeSaeWorkspace, full_library, make_sae


@pytest.fixture
def ws(tmp_path: Path) -> FakeSaeWorkspace:
    return full_library(tmp_path)


@pytest.fixture
def model(ws: FakeSaeWorkspace) -> BrowserModel:
    found = BrowserModel(ws)
    found.read()
    return found


@pytest.fixture
def woken() -> threading.Event:
    return threading.Event()


@pytest.fixture
def commands(model: BrowserModel, woken: threading.Event) -> BrowserCommands:
    return BrowserCommands(model, woken.set, max_upload_bytes=1_000_000)


def test_filters_change_only_what_was_sent(commands: BrowserCommands, model: BrowserModel) -> None:
    run(commands, "browse_saes", model="gpt2", offset=50)
    run(commands, "browse_saes", search="topk")
    model.read()
    state = model.state()
    assert (state.query.model, state.query.search, state.query.offset) == ("gpt2", "topk", 0)
    assert [card.id for card in state.cards] == ["sae_gpt2"]
    assert (state.matching, state.total) == (1, 4)
    assert {choice.value: choice.count for choice in state.facets.model}["gpt2"] == 1
    run(commands, "browse_saes", model=None, search="")
    model.read()
    assert model.state().matching == 4


def test_layers_are_filtered_as_numbers(commands: BrowserCommands, model: BrowserModel) -> None:
    run(commands, "browse_saes", layer=12)
    model.read()
    assert [card.id for card in model.state().cards] == ["sae_gemma"]


def test_refresh_is_answered_with_what_is_newer(commands: BrowserCommands, model: BrowserModel) -> None:
    revision = model.state().revision
    assert run(commands, "refresh", revision=revision) is None
    run(commands, "browse_saes", source="trained")
    state = run(commands, "refresh", revision=revision)
    assert state.revision > revision
    assert [card.source for card in state.cards] == ["trained"]


def test_details(commands: BrowserCommands, ws: FakeSaeWorkspace) -> None:
    ws.saes.configs["sae_gemma"] = {"a": {"b": {"c": [1, 2]}}, "<img>": "<b>", "n": None, "k": 16_384}
    details = run(commands, "describe_sae", sae_id="sae_gemma")
    assert {row.name: row.value for row in details.settings} == {
        "a.b.c": "1, 2", "<img>": "<b>", "n": "–", "k": "16,384",
    }  # fmt: skip
    facts = {fact.label: fact.value for fact in details.facts}
    assert facts["Variant"] == "layer_12/width_16k/average_l0_82"
    assert facts["Revision"] == "fd571b47c1c6"
    assert [snippet.label for snippet in details.snippets] == ["With saewidgets", "With SAELens"]
    with pytest.raises(NotFoundError):
        run(commands, "describe_sae", sae_id="nobody")


def test_a_hostile_configuration_is_cut(commands: BrowserCommands, ws: FakeSaeWorkspace) -> None:
    deep: dict[str, Any] = {}
    inner = deep
    for _ in range(500):
        inner["x"] = {}
        inner = inner["x"]
    ws.saes.configs["sae_gpt2"] = {"deep": deep, "long": "y" * 10_000, **{f"key {i}": i for i in range(3000)}}
    rows = run(commands, "describe_sae", sae_id="sae_gpt2").settings
    assert len(rows) == 401
    assert rows[-1].value == "The rest is not shown."
    assert max(len(row.value) for row in rows) <= 200
    assert max(len(row.name) for row in rows) <= 600


def test_details_of_an_sae_whose_files_are_gone(commands: BrowserCommands) -> None:
    details = run(commands, "describe_sae", sae_id="sae_lab")
    assert details.problem is not None
    assert details.problem.what == "The files of the SAE are not here."
    assert {row.name: row.value for row in details.settings}["k"] == "64"
    assert (details.notes, details.tags) == ("from the cluster", ("lab", "mlp"))


def test_statistics(commands: BrowserCommands) -> None:
    found = run(commands, "measure_sae", sae_id="sae_gemma")
    assert [one.title for one in found.histograms] == ["Decoder norms", "Encoder norms", "Feature density"]
    assert found.histograms[0].note == "mean 1.00, 0.940 to 1.06"
    density = found.histograms[2]
    assert (density.log, density.zeros, density.zeros_label) == (True, 412, "never")
    assert "2,057 latents by the share of tokens on which they fire" in density.summary
    assert {fact.label: fact.value for fact in found.facts} == {
        "Features extracted": "16,384 of 16,384", "Dead / dense": "412 (2.5 %) / 61 above 10 %",
        "L0": "82.1 active per token", "FVU": "0.118", "Norm of b_dec": "3.25",
    }  # fmt: skip


def test_edit_saves_what_was_sent(commands: BrowserCommands, ws: FakeSaeWorkspace, woken: threading.Event) -> None:
    run(commands, "edit_sae", sae_id="sae_gpt2", name="  better  ", tags=(" a  b", "", "a b"))
    assert ws.saes.calls[-1] == ("update", "sae_gpt2", {"name": "better", "tags": ("a b",)})
    run(commands, "edit_sae", sae_id="sae_gpt2", notes="")
    assert ws.saes.calls[-1] == ("update", "sae_gpt2", {"notes": ""})
    assert woken.is_set()
    with pytest.raises(ConfigError, match="needs a name"):
        run(commands, "edit_sae", sae_id="sae_gpt2", name=" ")


def test_export(commands: BrowserCommands, ws: FakeSaeWorkspace, tmp_path: Path) -> None:
    done = run(commands, "export_saes", sae_ids=("sae_gpt2",), folder=str(tmp_path / "out"), format="sparsify")
    assert done.paths == (str(tmp_path / "out"),)
    assert ws.saes.calls[-1] == ("export", "sae_gpt2", str(tmp_path / "out"), "sparsify")
    both = run(commands, "export_saes", sae_ids=("sae_gpt2", "sae_lab"), folder=str(tmp_path))
    assert both.done == ("sae_gpt2",)
    assert both.paths == (str(tmp_path / "gpt2-l6-topk-k32"),)
    assert [(note.where, note.what) for note in both.problems] == [
        ("lab-run-0412", "The files of the SAE are not here.")
    ]
    with pytest.raises(ConfigError, match="No folder"):
        run(commands, "export_saes", sae_ids=("sae_gpt2",), folder=" ")


def test_paths_and_folder_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))
    assert path_from(" out ") == tmp_path / "out"
    assert path_from('"~/out"') == tmp_path / "ada" / "out"
    with pytest.raises(ConfigError):
        path_from("a\0b")
    taken: set[str] = set()
    names = ["a/b: c", "A b c", "../..", "é"]
    assert [folder_name(name, taken) for name in names] == ["a-b-c", "A-b-c-2", "sae", "é"]


def test_delete(commands: BrowserCommands, ws: FakeSaeWorkspace) -> None:
    run(commands, "delete_saes", sae_ids=("sae_gpt2",))
    assert "sae_gpt2" not in ws.saes.records
    ws.saes.used = {"sae_pythia"}
    with pytest.raises(StateError, match="is in use"):
        run(commands, "delete_saes", sae_ids=("sae_pythia",))
    done = run(commands, "delete_saes", sae_ids=("sae_pythia", "sae_lab"))
    assert done.done == ("sae_lab",)
    assert done.problems[0].what == "pythia-70m-deduped-res-sm-l3 is in use."


def test_compare(commands: BrowserCommands, ws: FakeSaeWorkspace) -> None:
    ws.saes.add(make_sae("sae_other", "gpt2-l6-other", architecture="batchtopk"))
    found = run(commands, "compare_saes", first="sae_gpt2", second="sae_other")
    assert ws.saes.calls[-1] == ("compare", "sae_gpt2", "sae_other", 50)
    assert [(match.first, match.second, match.cosine) for match in found.matches] == [(7451, 12, 0.991), (3, 9, 0.8)]
    assert {fact.label: fact.value for fact in found.facts} == {
        "Mean max cosine": "0.612", "The other way round": "0.500", "Latents with a match ≥ 0.9": "100 of 16,384",
        "Latents with a match ≥ 0.7": "2,000 of 16,384",
    }  # fmt: skip
    assert ("Architecture", "TopK, k 32", "BatchTopK") in found.differences
    assert found.histogram is not None
    with pytest.raises(ConfigError, match="different numbers of dimensions"):
        run(commands, "compare_saes", first="sae_gpt2", second="sae_gemma")


def test_locate_and_the_training_record(commands: BrowserCommands, ws: FakeSaeWorkspace) -> None:
    run(commands, "locate_sae", sae_id="sae_lab", path="/data/lab")
    assert ws.saes.records["sae_lab"].state == "ok"
    training = ws.trainings.create(ws.trainings.demo_config())
    facts = run(commands, "show_training", training_id=training.id)
    assert facts.name == training.record.name
    assert {row.name for row in facts.settings} >= {"model", "sae.k"}


def test_a_local_folder_is_added_and_shown(
    commands: BrowserCommands, ws: FakeSaeWorkspace, model: BrowserModel
) -> None:
    run(commands, "browse_saes", source="gemma_scope")
    answer = run(commands, "add_local", path="/data/mine", name=" mine ", model="")
    assert ("add_local", "/data/mine", {"name": "mine"}) in ws.saes.calls
    run(commands, "add_local", path="/data/open", apply_b_dec_to_input=False)
    assert ("add_local", "/data/open", {"apply_b_dec_to_input": False}) in ws.saes.calls
    model.read()
    assert model.state().query.source is None  # with the filter it could not be seen
    assert answer["sae_id"] in {card.id for card in model.state().cards}
    with pytest.raises(FormatError, match="No SAE was found"):
        run(commands, "add_local", path="/data/broken")


def test_an_upload(commands: BrowserCommands, ws: FakeSaeWorkspace, tmp_path: Path) -> None:
    files = (UploadFile(name="cfg.json", size=2), UploadFile(name="w.safetensors", size=3))
    upload_id = run(commands, "begin_upload", files=files)["upload_id"]
    run(commands, "upload_chunk", upload_id=upload_id, file=0, offset=0, buffer=memoryview(b"{}"))
    chunk = run(commands, "upload_chunk", upload_id=upload_id, file=1, offset=0, buffer=memoryview(b"abc"))
    assert chunk == {"received": 5}
    answer = run(commands, "finish_upload", upload_id=upload_id, name="mine", hook_name="hook_embed")
    assert ws.saes.uploaded == {"cfg.json": b"{}", "w.safetensors": b"abc"}
    assert ("add_upload", ["cfg.json", "w.safetensors"], {"name": "mine", "hook_name": "hook_embed"}) in ws.saes.calls
    assert answer["sae_id"] in ws.saes.records
    assert list((tmp_path / "uploads").iterdir()) == []


def test_an_upload_can_be_cancelled(commands: BrowserCommands, tmp_path: Path) -> None:
    upload_id = run(commands, "begin_upload", files=(UploadFile(name="a", size=3),))["upload_id"]
    run(commands, "cancel_upload", upload_id=upload_id)
    assert list((tmp_path / "uploads").iterdir()) == []
    with pytest.raises(NotFoundError, match="over"):
        run(commands, "upload_chunk", upload_id=upload_id, file=0, offset=0, buffer=memoryview(b"abc"))


def test_an_incomplete_upload_leaves_nothing(commands: BrowserCommands, ws: FakeSaeWorkspace, tmp_path: Path) -> None:
    upload_id = run(commands, "begin_upload", files=(UploadFile(name="a", size=3),))["upload_id"]
    with pytest.raises(StateError, match="not complete"):
        run(commands, "finish_upload", upload_id=upload_id)
    assert list((tmp_path / "uploads").iterdir()) == []
    assert len(ws.saes.records) == 4


def test_selection_download_and_the_demo(commands: BrowserCommands, ws: FakeSaeWorkspace, model: BrowserModel) -> None:
    run(commands, "select_saes", sae_ids=("sae_lab", "nobody", "sae_gpt2", "sae_lab"))
    assert model.selected == ("sae_lab", "sae_gpt2")
    run(commands, "show_download", shown=True)
    assert model.state().download_shown
    answer = run(commands, "train_demo")
    assert answer.training_id in {record.id for record in ws.trainings.list()}


def test_pages(ws: FakeSaeWorkspace, commands: BrowserCommands, model: BrowserModel) -> None:
    for i in range(130):
        ws.saes.add(make_sae(f"sae_{i}", f"run-{i:03}", created_at=1000.0 + i))
    run(commands, "browse_saes", sort="oldest", offset=100)
    model.read()
    state = model.state()
    assert (len(state.cards), state.matching, state.query.offset) == (34, 134, 100)
    assert state.matching_bytes == sum(record.size_bytes for record in ws.saes.records.values()), "of all pages"
    assert ws.saes.calls[-1] == ("list", {}, "oldest", PAGE, 100)
    for i in range(60):
        del ws.saes.records[f"sae_{i}"]
    model.mark_changed()
    model.read()
    assert (len(model.state().cards), model.state().query.offset) == (24, 50)  # that page was gone
