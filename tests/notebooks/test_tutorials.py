"""The tutorials run as they are (but on fewer tokens), in a home of their own, and are kept without output."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import link_tokens

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FURTHER: list[Any] = [pytest.param(path, marks=pytest.mark.long) for path in TUTORIALS[1:]]
# What each tutorial shows, and the words of its fallback where no page is.
SHOWN = {
    "01-train": ("TrainingPanel", "Static copy of the training panel"),
    "02-library": ("SAEBrowser", "Static copy of the SAE browser"),
    "03-features": ("ExtractionViewer", "Static copy of the extraction viewer"),
    "04-architectures": ("TrainingPanel", "Static copy of the training panel"),
    "05-many-gpus": ("TrainingPanel", "Static copy of the training panel"),
}
# Settings that are smaller here: what a class reads in minutes, a test need not wait for.
SHORTER = {
    "01-train": {"tokens=300_000,": "tokens=40_000, evaluation=sw.EvaluationConfig(tokens=1024),"},
    "02-library": {'"tokens": 60_000,': '"tokens": 10_000, "evaluation": {"tokens": 1024},'},
    "03-features": {'"tokens": 60_000,': '"tokens": 20_000, "evaluation": {"tokens": 1024},'},
    "04-architectures": {
        "tokens=150_000,": "tokens=10_000,", "EvaluationConfig(tokens=4096": "EvaluationConfig(tokens=1024",
        "tokens=8192": "tokens=1024",
    },
    "05-many-gpus": {"tokens=150_000,": "tokens=10_000,", "EvaluationConfig(tokens=4096)": "EvaluationConfig(tokens=1024)"},
}
STATIC = ROOT / "saewidgets" / "widgets" / "static" / "saewidgets.js"


def _committed(path: Path) -> str:
    """What git has of it: `make lab` opens the very file, and saving it there must not fail a test."""
    shown = subprocess.run(["git", "show", f":./{path.name}"], cwd=path.parent, capture_output=True, text=True)
    return shown.stdout if shown.returncode == 0 else path.read_text(encoding="utf-8")


def _shorter(path: Path) -> str:
    """The notebook with smaller settings."""
    text = path.read_text(encoding="utf-8")
    for long, short in SHORTER[path.stem].items():
        written = json.dumps(long)[1:-1]  # as it stands in the file, which is JSON
        assert written in text, f"{path.name} has no {long!r}"
        text = text.replace(written, json.dumps(short)[1:-1])
    return text


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_are_kept_without_output(path: Path) -> None:
    notebook = nbformat.reads(_committed(path), as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", TUTORIALS[:1] + FURTHER, ids=lambda path: path.stem)
def test_tutorials_run_as_they_are(
    path: Path, home: Path, demo_tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert STATIC.exists(), "the frontend is not built: npm run build"
    link_tokens(demo_tokens, home)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.reads(_shorter(path), as_version=4)
    NotebookClient(
        notebook, timeout=800, kernel_name="python3", resources={"metadata": {"path": str(home.parent)}}
    ).execute()
    outputs = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    call, fallback = SHOWN[path.stem]
    copy, view, *_ = next(found for source, found in outputs.items() if call in source)
    assert "application/vnd.jupyter.widget-view+json" in view["data"]
    assert fallback in copy["data"]["text/html"]
    assert (home / "catalog.sqlite").exists()
