"""Templates from a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from saewidgets.cli.session import USAGE
from tests.cli.conftest import Invoke

SETTINGS = {"model": "gpt2", "sae": {"architecture": "topk", "d_sae": 64, "k": 4}, "tokens": 5_000}


@pytest.fixture
def saved(invoke: Invoke, tmp_path: Path) -> str:
    (tmp_path / "run.json").write_text(json.dumps(SETTINGS))
    done = invoke("templates", "save", "layer two", "-c", str(tmp_path / "run.json"), "--set", "sae.k=8",
                  "--description", "What we\nstart from.", "--json")  # fmt: skip
    assert done.code == 0, done.err
    return str(done.json()["id"])


def test_save_list_show(invoke: Invoke, saved: str) -> None:
    assert invoke("templates", "save", "Other", "--set", "model=pythia", "--favorite").out.startswith("Saved Other (tm")
    header, first, second = invoke("templates", "list").out.splitlines()
    assert header.split()[:3] == ["name", "model", "dataset"]
    assert first.split()[:3] == ["★", "Other", "pythia"]
    assert second.split()[:3] == ["layer", "two", "gpt2"]
    assert second.endswith("What we start from.")
    assert [one["name"] for one in invoke("templates", "list", "--search", "gpt2", "--json").json()] == ["layer two"]
    assert invoke("templates", "list", "--search", "none").out == "No templates match.\n"
    shown = invoke("templates", "show", "layer two").out.splitlines()
    assert f"id            {saved}" in shown
    assert "sae.k                               8" in shown
    assert "optimizer.lr                        0.0003" in shown
    assert "name                                null" in shown
    assert invoke("templates", "show", saved, "--json").json()["config"]["sae"]["k"] == 8


def test_change_and_delete(invoke: Invoke, saved: str) -> None:
    assert invoke("templates", "rename", "layer two", "two").out == f"Renamed to two ({saved})\n"
    assert invoke("templates", "favorite", "two", "--json").json()["favorite"]
    assert invoke("templates", "favorite", "two", "--off").out == f"Not a favourite any more: two ({saved})\n"
    assert invoke("templates", "delete", "two", "--yes", "--json").json() == {
        "id": saved, "name": "two", "deleted": True,
    }  # fmt: skip
    assert invoke("templates", "list").out == "No templates yet.\n"


def test_files(invoke: Invoke, saved: str, tmp_path: Path) -> None:
    path = tmp_path / "templates.json"
    assert invoke("templates", "export", str(path)).out == f"1 template written to {path}\n"
    assert invoke("templates", "export", str(path), "layer two", "--json").json() == {
        "path": str(path), "templates": 1,
    }  # fmt: skip
    assert invoke("templates", "import", str(path)).out == "Imported layer two (2)\n"
    assert len(invoke("templates", "list", "--json").json()) == 2


def test_a_name_that_is_taken(invoke: Invoke, saved: str) -> None:
    done = invoke("templates", "save", "layer two", "--set", "tokens=9000")
    assert done.code == USAGE
    assert "NAME: There is a template 'layer two'. Choose another name or say --replace." in done.err
    assert invoke("templates", "save", "other", "--set", "tokens=9000").code == 0
    done = invoke("templates", "rename", "other", "layer two")
    assert (done.code, "replace" in done.err) == (USAGE, False)
    description = invoke("templates", "show", "layer two", "--json").json()["description"]
    again = invoke("templates", "save", "layer two", "--set", "tokens=9000", "--replace", "--json").json()
    assert (again["id"], again["description"], again["config"]["tokens"]) == (saved, description, 9000)
    assert description
