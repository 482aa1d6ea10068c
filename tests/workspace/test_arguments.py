"""Whatever a public method is given: an error of this package that names the argument, never one of Python's own."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import saewidgets as sw
from saewidgets import formats
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.records import SAERecord
from saewidgets.workspace import Workspace
from saewidgets.workspace.checked import _of as checks_of
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.hub import Hub
from saewidgets.workspace.reading.evaluation_report import EvaluationReport
from saewidgets.workspace.saes import SAEs
from saewidgets.workspace.templates import Templates
from tests.hub.server import Hub as Server
from tests.workspace.hub import SAELENS, cache, repositories, server
from tests.workspace.library.saes import saelens

__all__ = ["cache", "repositories", "server"]  # fixtures

FIRST = "blocks.0.hook_resid_pre"
REPORT = EvaluationReport(
    "a", None, None, "gpt2", FIRST, None, "topk", 4, 4, 8, "text", False, 100, 10, False, {"fvu": 0.5}, {}
)
# What hardly any argument takes; `_taken` says which do.
TEXTS = ("\ud800", "a\0b", "x" * 5_000, "")
DEEP: list[Any] = []
for _ in range(1_000):
    DEEP = [DEEP]
WRONG: tuple[Any, ...] = (5, 0.5, True, None, b"bytes", ["a list"], {"a": 1}, object(), DEEP, *TEXTS)

# method → good arguments, where annotations alone do not say what it takes; ids and so on are put in by the test
SAES: dict[str, dict[str, Any]] = {
    "list": dict.fromkeys(("source", "model", "layer", "architecture", "format", "tag", "search"))
    | {"sort": "newest", "limit": None, "offset": 0},
    "to_df": {"search": None, "limit": 5}, "count": {"search": None, "layer": 1}, "facets": {"tag": None},
    "folder_of": {"record": "RECORD"}, "load": {"sae_id": "ID", "device": "cpu"}, "find": {"wanted": "ID"},
    "export": {"sae_id": "ID", "dest": "DEST", "format": "saelens"},
    "compare": {"a": "ID", "b": "ID", "top": 3}, "keep_evaluation": {"sae_id": "ID", "report": "REPORT"},
    "add_local": {"path": "SAE", "name": "a", "model": None, "hook_name": None, "apply_b_dec_to_input": None},
    "add_upload": {
        "files": {"cfg.json": b"{}"}, "name": None, "model": None, "hook_name": None, "apply_b_dec_to_input": None,
    },
    "update": {"sae_id": "ID", "name": "new", "notes": "", "tags": []},
    "push_to_hub": {"sae_id": "ID", "repo_id": "a/b", "token": "", "private": True, "path": "", "license": "mit"},
}  # fmt: skip
TEMPLATES: dict[str, dict[str, Any]] = {
    "save": {"name": "b", "config": {"model": "demo"}, "description": "", "favorite": False, "replace": True},
    "export_json": {"ids": None, "path": "DEST"}, "to_json": {"ids": None},
    "import_text": {"raw": b"[]", "name": "file"},
}  # fmt: skip
HUB: dict[str, dict[str, Any]] = {
    "facets": {"text": SAELENS, "token": None},
    "preview": {"text": SAELENS, "path": FIRST, "token": None, "device": None, "revision": None},
    "download": {
        "text": SAELENS, "path": FIRST, "revision": None, "token": None, "name": None, "apply_b_dec_to_input": None,
    },
    "resume": {"job_id": "none"},
}  # fmt: skip
FUNCTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "load_sae": (sw.load_sae, {"path_or_repo": "SAE", "device": "cpu", "dtype": None, "token": None}),
    "save_sae": (sw.save_sae, {"sae": "MODULE", "path": "DEST", "format": "saelens"}),
    "convert": (formats.convert, {"path": "SAE", "dest": "DEST", "format": "saelens"}),
    "validate": (formats.validate, {"path": "SAE"}), "detect_format": (sw.detect_format, {"path": "SAE"}),
    "describe": (formats.describe, {"path": "SAE"}),
}  # fmt: skip


@pytest.fixture
def sae(ws: Workspace, tmp_path: Path) -> SAERecord:
    return ws.saes.add_local(saelens(tmp_path / "sae"))


def _cases() -> Iterator[Any]:
    for owner, methods in (("saes", SAES), ("hub", HUB), ("templates", TEMPLATES)):
        yield from (pytest.param(owner, name, id=f"{owner}.{name}") for name in methods)
    yield from (pytest.param("", name, id=name) for name in FUNCTIONS)


def test_every_argument_is_checked_by_its_annotation_or_here() -> None:
    for of, here in ((SAEs, SAES), (Hub, HUB), (Templates, TEMPLATES)):
        unchecked(of, here)


def unchecked(of: type, here: dict[str, dict[str, Any]], besides: Collection[str] = ()) -> None:
    for name, value in inspect.getmembers(of, inspect.isfunction):
        kinds = inspect.signature(value).parameters.values()
        named = {one.name for one in kinds if one.kind is not one.VAR_KEYWORD} - {"self"}
        known = {*here.get(name, ()), *besides, *(["token"] if name == "resume" else [])}
        assert name.startswith("_") or named <= known | set(checks_of(value)), name


def test_what_an_annotation_says_is_what_is_taken(tmp_path: Path) -> None:
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
        if type(wrong) is not fits.get(argument) and wrong is not None:
            assert isinstance(refused, ConfigError), (argument, wrong)
            assert refused.where == argument
    assert _refused(Sample().take, {"n": 0})
    assert _refused(Sample().take, {"path": "a\0b"})
    assert "secret" not in str(_refused(Sample().take, {"token": b"hf_secret"}))


@pytest.mark.parametrize(("owner", "name"), list(_cases()))
def test_what_cannot_be_an_argument_is_refused_by_its_name(
    owner: str, name: str, ws: Workspace, sae: SAERecord, server: Server, tmp_path: Path
) -> None:
    tables = {"saes": SAES, "hub": HUB, "templates": TEMPLATES}
    good = tables[owner][name] if owner else FUNCTIONS[name][1]
    puts = {
        "ID": sae.id, "RECORD": sae, "SAE": str(tmp_path / "sae"), "DEST": str(tmp_path / "dest"),
        "MODULE": formats.load_sae(tmp_path / "sae"), "REPORT": REPORT,
    }  # fmt: skip
    filled = {key: puts.get(value, value) if isinstance(value, str) else value for key, value in good.items()}
    call = getattr(getattr(ws, owner), name) if owner else FUNCTIONS[name][0]
    for argument, wrong in itertools.product(good, WRONG):
        refused = _refused(call, filled | {argument: wrong})
        if refused is None:
            assert _taken(argument, wrong), f"{name}({argument}={wrong!r}) was taken"
            continue
        assert len(str(refused)) < 7_000
        names_setting = argument == "config" and isinstance(wrong, dict)
        if not isinstance(wrong, str) and not names_setting and isinstance(refused, ConfigError):
            assert argument in f"{refused.where} {refused.what}", f"{wrong!r}: {refused}"


def _refused(call: Callable[..., Any], given: dict[str, Any]) -> SAEWidgetsError | None:
    """This package's error, if there was one. Any other goes on and fails the test."""
    try:
        call(**given)
    except SAEWidgetsError as error:
        return error
    return None


def _taken(argument: str, wrong: Any) -> bool:
    """Whether the argument takes this after all."""
    if wrong is None:  # left out
        return True
    if isinstance(wrong, str):  # any text may be searched for, and is the name of nothing
        return argument in {"source", "model", "architecture", "format", "tag", "search", "name", "hook_name", "notes",
                            "text", "token", "path", "where", "revision", "license", "device", "wanted",
                            "description"}  # fmt: skip
    if argument == "tags":
        return isinstance(wrong, list | dict)
    if argument in ("layer", "limit", "offset", "top"):
        return type(wrong) is int
    return argument in ("private", "unfinished", "favorite", "replace") and isinstance(wrong, bool)


def test_what_names_nothing_is_refused(ws: Workspace) -> None:
    for wrong in (*WRONG, " ".join(map(str, range(1_000)))):
        for get in (ws.trainings.get, ws.trainings.delete, ws.jobs.get, ws.extractions.get, ws.activations.get):
            assert len(str(_refused(get, {next(iter(inspect.signature(get).parameters)): wrong}))) < 7_000
        for part in (ws.trainings, ws.extractions, ws.activations, ws.templates):
            refused = _refused(part.list, {"search": wrong})  # type: ignore[attr-defined]
            assert (refused is None) == (wrong in (None, "\ud800", "a\0b", "")), wrong
        _refused(ws.trainings.list, {"status": wrong})
        _refused(ws.trainings.list, {"model": wrong})


def test_examples(ws: Workspace, sae: SAERecord) -> None:
    said: list[tuple[Callable[[], object], str]] = [
        (lambda: ws.saes.add_local(5), "path: This is a file or folder, a path, not 5. Give a path"),  # type: ignore[arg-type]
        (lambda: ws.saes.add_local("x" * 5_000), "path: This path has 5,000 characters, more than this machine takes."),
        (lambda: ws.saes.add_local("~nobody here/x"), "path: '~nobody here/x' cannot be a path"),
        (lambda: ws.saes.update(sae.id, name=5), "name: This is the name, a text, not 5."),  # type: ignore[arg-type]
        (lambda: ws.saes.update(sae.id, tags="abc"), "tags: This is a list of words, not 'abc'."),
        (lambda: ws.saes.update(sae.id, tags=7), "tags: This is a list of words, not 7."),  # type: ignore[arg-type]
        (lambda: ws.saes.load(sae.id, device="gpu"), "device: There is no device 'gpu' here"),
        (lambda: ws.hub.variants(None), "text: This is a text, not None."),  # type: ignore[arg-type]
        (lambda: ws.hub.preview(7), "text: This is a text, not 7."),  # type: ignore[arg-type]
        (lambda: sw.load_sae(3), "path_or_repo: This is a repository of the hub or where an SAE is, a path, not 3."),  # type: ignore[arg-type]
        (lambda: sw.load_sae("x" * 5_000), "path: This path has 5,000 characters"),
        (lambda: sw.load_sae(sae.path, dtype=torch.int8), "dtype: This is a floating-point number format"),
        (lambda: formats.validate(None), "path: This is where an SAE is, a path, not None."),  # type: ignore[arg-type]
    ]
    for call, words in said:
        with pytest.raises(SAEWidgetsError) as caught:
            call()
        assert str(caught.value).startswith(words)


def test_a_token_is_not_repeated(ws: Workspace) -> None:
    with pytest.raises(ConfigError) as caught:
        ws.hub.variants(SAELENS, token=b"hf_secret")  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)
    assert caught.value.where == "token"
