"""Whatever a public method is given: an error of this package that names the argument, never one of Python's own."""

import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import saewidgets as sw
from saewidgets import formats
from saewidgets.config import SteeringConfig
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.records import SAERecord
from saewidgets.workspace import Workspace
from saewidgets.workspace.checked import _NOUNS, _of, checks_arguments
from tests.workspace.library.saes import saelens

WRONG: tuple[Any, ...] = (5, 0.5, True, b"bytes", ["a list"], {"a": 1}, object(), "\ud800", "a\0b", "x" * 5_000, "")
OWNERS = ("saes", "hub", "templates", "features", "extractions", "steering", "steering.presets")
# What only this package hands in, and what the methods that these go to refuse.
OURS = {"callback", "label", "view", "labels", "with_evidence", "folders", "stop", "on_token", "on_phase"}
OTHERWISE = {
    ("extractions.has_logits", "record"), ("features.open_live", "model"), ("features.open_live", "tokenizer"),
    ("steering.presets.load", "name"), ("steering.presets.delete", "name"),
    ("steering.attached", "model"), ("steering.attached", "tokenizer"), ("steering.attached", "features"),
}  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "load_sae": sw.load_sae, "save_sae": sw.save_sae, "convert": formats.convert, "validate": formats.validate,
    "detect_format": sw.detect_format, "describe": formats.describe, "analyze_sae": sw.analyze_sae,
    "print_feature_summary": sw.print_feature_summary,
}  # fmt: skip
# method, what it is given, the argument that is wrong, how the error goes on; everything that no annotation checks
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("saes.add_upload", {"files": 5}, "files", ""),
    ("saes.add_local", {"path": 5}, "path", "Expected a file or folder, got 5. Give a path"),
    ("saes.add_local", {"path": "x" * 5_000}, "path", "This path has 5,000 characters, more than this machine takes."),
    ("saes.add_local", {"path": "~nobody here/x"}, "path", "'~nobody here/x' is not a path"),
    ("saes.add_local", {"path": "SAE", "apply_b_dec_to_input": 5}, "apply_b_dec_to_input", ""),
    ("saes.compare", {"a": "ID", "b": "ID", "top": 0.5}, "top", ""),
    ("saes.folder_of", {"record": 5}, "record", ""),
    ("saes.keep_evaluation", {"sae_id": "ID", "report": 5}, "report", ""),
    ("saes.list", {"layer": "a"}, "layer", ""),
    ("saes.list", {"sort": "a"}, "sort", ""),
    ("saes.load", {"sae_id": "ID", "device": "gpu"}, "device", "There is no device 'gpu' here"),
    ("saes.export", {"sae_id": "ID", "dest": "DEST", "format": "a"}, "format", ""),
    ("saes.update", {"sae_id": "ID", "name": 5}, "name", "Expected a string, got 5."),
    ("saes.update", {"sae_id": "ID", "tags": "abc"}, "tags", "Expected a list of tags, got 'abc'."),
    ("templates.export_json", {"ids": 5, "path": "DEST"}, "ids", ""),
    ("templates.import_text", {"raw": 5, "name": "file"}, "raw", ""),
    ("templates.save", {"name": "b", "config": 5}, "config", ""),
    ("templates.to_json", {"ids": 5}, "ids", ""),
    ("hub.variants", {"text": None}, "text", "Expected a string, got None."),
    ("hub.preview", {"text": 7}, "text", "Expected a string, got 7."),
    ("hub.resume", {"job_id": 5}, "job_id", ""),
    ("extractions.create", {"sae_id": "ID", "config": 5}, "config", ""),
    ("extractions.create", {"sae_id": "ID", "config": {"corpus": "demo"}, "model": 5, "tokenizer": 5}, "tokenizer", ""),
    ("extractions.create", {"sae_id": "ID", "spread": -1}, "spread", ".*a number of jobs"),
    ("extractions.estimate", {"sae_id": "ID", "config": 5}, "config", ""),
    ("extractions.list", {"status": 5}, "status", ""),
    ("features.export", {"wanted": "ID", "what": 5, "path": "DEST"}, "what", ""),
    ("features.label", {"feature_id": "FEATURE", "name": "a", "source": 5}, "source", ""),
    ("features.on_feature", {"wanted": "ID", "index": 5, "text": "The", "model": 5, "tokenizer": 5}, "tokenizer", ""),
    ("features.run_on", {"sae_id": "ID", "text": "The king", "model": 5, "tokenizer": 5}, "tokenizer", ""),
    ("features.import_labels", {"sae_id": "ID", "source": 5}, "source", ""),
    ("features.judged", {"wanted": "ID", "index": 5, "score_at": "a"}, "score_at", "There is no such score"),
    ("steering.tokens", {"sae_id": "ID", "prompt": 5}, "prompt", ""),
    ("features.logits", {"wanted": "ID", "index": 397, "n": -1}, "n", "Expected a count, got -1"),
    *(
        (f"features.{method}", {name: "ID", **more, "llm": 5}, "llm", "Expected a language model to ask, got 5.")
        for method, name, more in (
            ("auto_label", "sae_id", {"indices": [5]}), ("plan_labels", "sae_id", {}), ("score", "sae_id", {}),
            ("start_labels", "sae_id", {}), ("unlabelled", "wanted", {}),
            ("suggest", "wanted", {"index": 5}),
        )
    ),
    *(
        ("features.auto_label", {"sae_id": "ID", "indices": [5], "concurrency": value}, "concurrency",
         ".*to ask at once")
        for value in (0, -1, True, 1.5, 257)
    ),
    ("saes.list", {"limit": -1}, "limit", ".*0 to 2,147,483,647"),
    ("saes.list", {"offset": None}, "offset", ".*whole number"),
    ("extractions.list", {"limit": 10**30}, "limit", ".*0 to"),
    ("extractions.list", {"offset": True}, "offset", ".*whole number"),
    ("features.auto_label", {"sae_id": "ID", "limit": 0}, "limit", ".*got 0"),
    ("features.auto_label", {"sae_id": "ID", "limit": True}, "limit", ".*got True"),
    ("features.auto_label", {"sae_id": "ID", "price": (1, True)}, "price.tokens_out", ".*price of a"),
    ("features.auto_label", {"sae_id": "ID", "price": 3}, "price", ".*two numbers"),
    ("features.auto_label", {"sae_id": "ID", "indices": ["5"]}, "indices", ".*a feature, got '5'."),
    ("steering.resolve", {"features": 5}, "features", ""),
    ("steering.run", {"config": 5}, "config", ""),
    ("steering.run", {"config": SteeringConfig(prompt="The"), "model": 5, "tokenizer": 5}, "tokenizer", ""),
    ("steering.steer", {"model": None, "features": 5, "prompt": "The"}, "features", ""),
    ("steering.steer", {"model": 5, "tokenizer": 5, "features": [], "prompt": "The"}, "tokenizer", ""),
    ("load_sae", {"path_or_repo": 3}, "path_or_repo",
     "Expected a repository of the hub or the path of an SAE, got 3."),
    ("load_sae", {"path_or_repo": "x" * 5_000}, "path", "This path has 5,000 characters"),
    ("load_sae", {"path_or_repo": "SAE", "dtype": torch.int8}, "dtype", "Expected a floating-point number format"),
    ("load_sae", {"path_or_repo": "SAE", "device": 5}, "device", ""),
    ("save_sae", {"sae": 5, "path": "DEST"}, "sae", ""),
    ("convert", {"path": "SAE", "dest": 5}, "dest", ""),
    ("validate", {"path": None}, "path", "Expected the path of an SAE, got None."),
    ("detect_format", {"path": 5}, "path", ""),
    ("describe", {"path": 5}, "path", ""),
    ("analyze_sae", {"sae": "ID", "model": None, "texts": 5}, "texts", ""),
    ("analyze_sae", {"sae": "ID", "model": None, "texts": ["The king"], "config": 5}, "config", ""),
    ("print_feature_summary", {"interpretation": 5}, "interpretation", ""),
    ("print_feature_summary", {"interpretation": {}}, "interpretation", ".*not the interpretation of a feature"),
]  # fmt: skip
# Texts that are kept, sent or looked for: no annotation says which of them can be.
TEXTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "saes.list": ({}, ("source", "model", "architecture", "format", "tag", "search")),
    "saes.load": ({"sae_id": "ID"}, ("device",)),
    "saes.add_local": ({"path": "SAE"}, ("path", "name", "model", "hook_name")),
    "saes.update": ({"sae_id": "ID"}, ("name", "notes")),
    "saes.push_to_hub": ({"sae_id": "ID", "repo_id": "a/b", "token": ""}, ("repo_id", "path", "license")),
    "saes.model_card": ({"sae_id": "ID", "repo_id": "a/b"}, ("repo_id", "path", "license")),
    "templates.save": ({"name": "b", "config": {"model": "demo"}}, ("name", "description")),
    "templates.import_text": ({"raw": b"[]", "name": "file"}, ("name",)),
    "extractions.list": ({}, ("source_type", "search")),
    "features.list": ({"sae_id": "ID"}, ("search", "show", "sort")),
    "features.import_labels": ({"sae_id": "ID", "source": "none.csv"}, ("source",)),
    "steering.tokens": ({"sae_id": "ID"}, ("prompt",)),
    "steering.presets.save": ({"config": SteeringConfig(prompt="The")}, ("name",)),
    "steering.presets.load": ({}, ("name",)),
}


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    with Workspace(tmp_path_factory.mktemp("ws")) as workspace:
        workspace.extractions.demo()
        yield workspace


@pytest.fixture(scope="module")
def sae(ws: Workspace, tmp_path_factory: pytest.TempPathFactory) -> SAERecord:
    return ws.saes.add_local(saelens(tmp_path_factory.mktemp("sae") / "sae"))


def _called(ws: Workspace, method: str) -> Callable[..., Any]:
    found: Any = ws
    for name in method.split("."):
        found = FUNCTIONS.get(method) or getattr(found, name)
    return found  # type: ignore[no-any-return]


def _filled(ws: Workspace, sae: SAERecord, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    sae_id = str(ws.extractions.demo().record.sae_id)
    puts = {"ID": sae_id, "FEATURE": f"feat_{sae_id}_5", "SAE": sae.path, "DEST": str(folder / "dest")}
    filled = {name: puts.get(value, value) if isinstance(value, str) else value for name, value in given.items()}
    return filled | ({"features": [(sae_id, 5, 0.1)]} if filled.get("features") == [("ID", 5, 0.1)] else {})


def _refused(call: Callable[..., Any], given: dict[str, Any]) -> SAEWidgetsError | None:
    """This package's error, if there was one. Any other goes on and fails the test."""
    try:
        call(**given)
    except SAEWidgetsError as error:
        return error
    return None


def test_every_argument_is_checked_by_its_annotation_or_here(ws: Workspace) -> None:
    here = {(method, argument) for method, given, _, _ in REFUSED for argument in given} | OTHERWISE
    for owner in OWNERS:
        nouns = _NOUNS | getattr(type(_called(ws, owner)), "NAMED", {})
        for name, value in inspect.getmembers(type(_called(ws, owner)), inspect.isfunction):
            kinds = inspect.signature(value).parameters.values()
            named = {one.name for one in kinds if one.kind is not one.VAR_KEYWORD} - {"self"} - OURS
            unchecked = named - set(_of(value, nouns))
            left = {argument for argument in unchecked if (f"{owner}.{name}", argument) not in here}
            assert name.startswith("_") or not left, name


def test_arguments_are_checked_against_their_annotations(tmp_path: Path) -> None:
    @checks_arguments
    class Sample:
        def take(
            self, name: str | None = None, on: bool = True, path: str | Path = tmp_path, limit: int | None = None,
            sae_id: str = "sae_1", n: int = 1, index: int = 0, indices: list[int] | None = None,
            token: str | None = None,
        ) -> None:
            pass  # the decorator refuses

    fits = {"name": str, "on": bool, "path": str, "sae_id": str, "token": str, "limit": int, "n": int, "index": int}
    for argument, wrong in itertools.product([*fits, "indices"], WRONG):
        refused = _refused(Sample().take, {argument: wrong})
        if type(wrong) is not fits.get(argument):
            assert isinstance(refused, ConfigError), (argument, wrong)
            assert refused.where == argument
    assert _refused(Sample().take, {"n": 0})
    assert _refused(Sample().take, {"path": "a\0b"})
    assert "secret" not in str(_refused(Sample().take, {"token": b"hf_secret"}))


def test_what_no_annotation_checks_is_refused_by_its_name(ws: Workspace, sae: SAERecord, tmp_path: Path) -> None:
    for method, given, where, words in REFUSED:
        refused = _refused(_called(ws, method), _filled(ws, sae, tmp_path, given))
        assert refused is not None, (method, given)
        assert re.match(f"{where}: {words}", str(refused)), (method, given, str(refused))


def test_a_text_that_cannot_be_kept_is_refused_or_found_nowhere(ws: Workspace, sae: SAERecord, tmp_path: Path) -> None:
    for method, (given, arguments) in TEXTS.items():
        for argument, wrong in itertools.product(arguments, ("\ud800", "a\0b", "x" * 5_000, "")):
            refused = _refused(_called(ws, method), _filled(ws, sae, tmp_path, given | {argument: wrong}))
            assert len(str(refused)) < 7_000


def test_what_names_nothing_is_refused(ws: Workspace) -> None:
    for wrong in (*WRONG, " ".join(map(str, range(1_000)))):
        for get in (ws.trainings.get, ws.trainings.delete, ws.jobs.get, ws.extractions.get, ws.activations.get):
            refused = _refused(get, {next(iter(inspect.signature(get).parameters)): wrong})
            assert 0 < len(str(refused or "")) < 7_000
        for part in (ws.trainings, ws.extractions, ws.activations, ws.templates):
            refused = _refused(part.list, {"search": wrong})  # type: ignore[attr-defined]
            assert (refused is None) == (wrong in ("\ud800", "a\0b", "")), wrong
        _refused(ws.trainings.list, {"status": wrong})
        _refused(ws.trainings.list, {"model": wrong})
