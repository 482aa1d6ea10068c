"""Templates: kept, found, loaded, exported; files of strangers."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from saewidgets import __version__
from saewidgets.config import JumpReLUConfig, TextCorpus, TrainingConfig
from saewidgets.config.templates import FORMAT, MAX_BYTES
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StateError, StorageError
from saewidgets.workspace import Run, Workspace
from tests.workspace.conftest import small_config

CONFIG = TrainingConfig(model="gpt2", hook_name="blocks.6.hook_resid_post", sae=JumpReLUConfig(d_sae=64), tokens=5_000)


def _file(*templates: dict[str, Any], **changes: Any) -> bytes:
    data = {"format": FORMAT, "version": 1, "package": __version__, "templates": list(templates)} | changes
    return json.dumps(data).encode()


def test_saved_templates_can_be_loaded(ws: Workspace) -> None:
    record = ws.templates.save("  my\ntemplate ", CONFIG.replace(name="run 7"), description="Layer six.")
    assert (record.name, record.description, record.favorite) == ("my template", "Layer six.", False)
    assert (record.model, record.corpus, record.hook_name, record.architecture, record.d_sae) == (
        "gpt2", "demo", "blocks.6.hook_resid_post", "jumprelu", 64,
    )  # fmt: skip
    assert ws.templates.load(record.id) == ws.templates.load("my template") == CONFIG
    assert ws.templates.get(record.id) == record
    assert "my template" in ws.templates.list()._repr_html_()
    assert ws.suggestions()["model"] == ("demo",)  # nothing was run with it yet
    plain = ws.templates.save("plain", {"model": "gpt2", "sae": {"architecture": "topk", "k": 8}})
    assert ws.templates.load(plain.id).sae.k == 8  # type: ignore[union-attr]
    assert plain.config["optimizer"]["beta1"] == 0.9  # also what stood at its default


def test_a_run_starts_from_a_template_and_makes_one(ws: Workspace, run: Run) -> None:
    ws.templates.save("small", run.config)
    started = ws.trainings.create(ws.templates.load("small"))
    started.cancel()
    assert started.config.replace(name="first") == run.config
    kept = ws.templates.save("again", run.config)
    assert kept.config["hook_name"] == run.config.hook_name
    assert ws.templates.load("again").device == "cpu"
    ws.settings = dataclasses.replace(ws.settings, device="cpu")
    assert ws.templates.save("portable", run).config == kept.config | {"device": "auto"}  # it means the cpu here
    ws.settings = dataclasses.replace(ws.settings, device="cuda:9")
    assert run.template_config().device == "cpu"


def test_order_search_rename_favorite_delete(ws: Workspace) -> None:
    told: list[str | None] = []
    ws.templates.changes.add(told.append)
    for name in ("b", "A", "c"):
        ws.templates.save(name, CONFIG)
    ws.templates.save("d", {"model": "pythia"}, description="Ünique words", favorite=True)
    assert [one.name for one in ws.templates.list()] == ["d", "A", "b", "c"]
    assert [one.name for one in ws.templates.list(favorites_first=False)] == ["A", "b", "c", "d"]
    assert [one.name for one in ws.templates.list(search="ÜNIQUE pyth")] == ["d"]
    assert [one.name for one in ws.templates.list(search="jumprelu gpt2 resid_post c")] == ["A", "b", "c"]
    assert not ws.templates.list(search="gpt2 pythia")
    b = ws.templates.favorite("b")
    assert [one.name for one in ws.templates.list()] == ["b", "d", "A", "c"]
    assert not ws.templates.favorite(b.id, False).favorite
    assert ws.templates.rename("b", "bb").id == b.id
    with pytest.raises(StateError, match="There is a template 'A'") as caught:
        ws.templates.rename("bb", "A")
    assert caught.value.hint == "Choose another name."  # a name is all that can be given here
    ws.templates.delete("bb")
    assert [one.name for one in ws.templates.list()] == ["d", "A", "c"]
    assert told[-4:] == [b.id] * 4


def test_a_name_that_is_taken(ws: Workspace) -> None:
    first = ws.templates.save("a", CONFIG, description="Layer two.", favorite=True)
    with pytest.raises(StateError, match="replace"):
        ws.templates.save("a", CONFIG.replace(tokens=6_000))
    assert ws.templates.load("a").tokens == 5_000
    again = ws.templates.save("a", CONFIG.replace(tokens=6_000), replace=True)
    assert (again.id, ws.templates.load("a").tokens) == (first.id, 6_000)
    assert (again.description, again.favorite) == ("Layer two.", True)
    assert ws.templates.save("a", CONFIG, description="", replace=True).description == ""


def test_files_round_trip_and_names_get_numbers(ws: Workspace, tmp_path: Path) -> None:
    long = "x" * 120
    ws.templates.save("a", CONFIG, description="d", favorite=True)
    ws.templates.save(long, CONFIG.replace(seed=1))
    path = ws.templates.export_json(None, tmp_path / "new" / "templates.json")
    found = ws.templates.import_json(path)
    assert [one.name for one in found] == ["a (2)", "x" * 116 + " (2)"]
    assert [one.name for one in ws.templates.import_json(path)] == ["a (3)", "x" * 116 + " (3)"]
    assert (found[0].description, found[0].favorite) == ("d", True)
    assert found[0].metadata == {"file": "templates.json", "package": __version__}
    assert ws.templates.load("a (2)") == CONFIG
    assert ws.templates.load(found[1].id).seed == 1
    with Workspace(tmp_path / "other") as other:
        (only,) = other.templates.import_text(ws.templates.to_json([found[0].id, "a (2)"]).encode())
        assert (only.name, only.metadata["file"]) == ("a (2)", "templates.json")
    data = json.loads(path.read_text("utf-8"))
    assert (data["format"], data["version"], data["package"]) == (FORMAT, 1, __version__)
    assert set(data["templates"][0]) == {"name", "description", "favorite", "config"}


BAD: list[tuple[bytes, str]] = [
    (b"", "This is not JSON"),
    (b"\xff\xfe{}", "it is not UTF-8 text"),
    (b"[" * 100_000, "This is not JSON"),
    (b'{"format": 1, "format": 2}', "a key is repeated"),
    (b"[]", "This is not a file of training templates."),
    (json.dumps(CONFIG.to_data()).encode(), "saewidgets templates save NAME --config FILE"),
    (b" " * (MAX_BYTES + 1), "too many for templates"),
    (_file(version=2, package="9.0.0"), "The file has version 2, written by saewidgets 9.0.0"),
    (_file(version=2, package="9.0.0"), "pip install -U saewidgets"),
    (_file(version=True), "version: Version is yes. Enter a whole number"),
    (_file(), "not a list of 1 to 1,000 templates"),
    (_file(*[{}] * 1_001), "not a list of 1 to 1,000 templates"),
    (_file({"name": "a", "config": {}}, later=1), "later: There is no such setting."),
    (_file({"config": {}}), r"templates\[0\]: name: A value is required."),
    (_file({"name": "a"}), r"templates\[0\] \('a'\): config: A value is required."),
    (_file({"name": "a", "config": {}}, {"name": "b", "config": {"sae": {"architecture": "topk", "kk": 1}}}),
     r"templates\[1\] \('b'\): config.sae.kk: There is no such setting. Did you mean k\? Correct the file\."),
    (_file({"name": "a", "config": {"from_later": 1}}, package="99.1.0"),
     r"config.from_later: There is no such setting. It was written by saewidgets 99.1.0; this is"),
    (_file({"name": "a", "config": {"trust_remote_code": True}}), "trust_remote_code: There is no such setting."),
    (_file({"name": "a", "config": {"epochs": float("nan")}}), "config.epochs: Epochs is nan"),
    (_file({"name": "a", "config": {"model": "\ud800"}}), "half a surrogate pair"),
    (_file({"name": " \n", "config": {}}), "A template's name has 1 to 120 characters."),
    (_file({"name": "a", "config": 5}), "config"),
    (_file({"name": "a", "config": {}, "description": "x" * 5_000}), "Description has 5,000 characters."),
    (_file({"name": "a", "config": {}, "description": "\0"}), "null character"),
    (_file({"name": "a", "config": {"corpus": {"kind": "text", "strings": ["x" * 70_000]}}}),
     r"config.corpus.strings: This holds 70,000 characters"),
    (_file(5, [], None), r"templates\[0\]"),
]  # fmt: skip


def test_files_that_are_refused_leave_nothing(ws: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    for raw, said in BAD:
        path.write_bytes(raw)
        with pytest.raises(FormatError, match=said) as caught:
            ws.templates.import_json(path)
        assert str(caught.value).startswith("in.json")
        assert len(str(caught.value)) < 1_500
    assert not ws.templates.list()
    assert ws.suggestions()["model"] == ("demo",)


def test_names_of_strangers_are_text(ws: Workspace) -> None:
    name = "<img src=x onerror=alert(1)>\u202e\x1b[2J"
    (record,) = ws.templates.import_text(_file({"name": name, "config": {}}))
    assert record.name == "<img src=x onerror=alert(1)> [2J"
    assert "<img" not in ws.templates.list()._repr_html_()


def test_files_that_are_not_there(ws: Workspace, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(NotFoundError, match="no such file"):
            ws.templates.import_json(path)
    ws.templates.save("a", CONFIG)
    with pytest.raises(NotFoundError, match="no template 'b'"):
        ws.templates.export_json(["a", "b"], tmp_path / "a.json")
    with pytest.raises(StorageError, match="This is a folder"):
        ws.templates.export_json("a", tmp_path)
    assert not (tmp_path / "a.json").exists()


def test_what_cannot_be_kept(ws: Workspace, tiny_model_folder: Path) -> None:
    with pytest.raises(ConfigError, match="70,000 characters of text in memory") as caught:
        ws.templates.save("a", CONFIG.replace(corpus=TextCorpus(strings=["x" * 70_000])))
    assert caught.value.where == "config.corpus.strings"
    run = ws.trainings.create(small_config(tiny_model_folder, corpus=TextCorpus(strings=["a b c d " * 20_000])))
    run.cancel()
    with pytest.raises(ConfigError, match=r"Use run\.config"):
        ws.templates.save("a", run.record.config)
    with pytest.raises(ConfigError, match="There is no such setting") as caught:
        ws.templates.save("a", {"modl": "gpt2"})
    assert caught.value.where == "modl"
    assert not ws.templates.list()


def test_another_versions_settings_are_named_when_loaded(ws: Workspace) -> None:
    record = ws.templates.save("a", CONFIG)
    rows = ws.catalog._database
    rows.write(lambda s: s.connection().exec_driver_sql(
        "UPDATE training_templates SET config = '{\"model\":\"gpt2\",\"another_time\":1}'"
    ))  # fmt: skip
    assert ws.templates.list()[0].model == "gpt2"
    with pytest.raises(ConfigError, match=r"There is no such setting\. Another version") as caught:
        ws.templates.load(record.id)
    assert caught.value.where == "a: another_time"
