"""The tutorials run as they are, in a home of their own, and are kept without output."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STATIC = ROOT / "saewidgets" / "widgets" / "static" / "saewidgets.js"


@pytest.mark.parametrize("path", TUTORIALS, ids=[path.stem for path in TUTORIALS])
def test_tutorials_are_kept_without_output(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", TUTORIALS, ids=[path.stem for path in TUTORIALS])
def test_tutorials_run_as_they_are(path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert STATIC.exists(), "the frontend is not built: npm run build"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=800, kernel_name="python3", resources={"metadata": {"path": str(home.parent)}}
    ).execute()
    outputs = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    panel = next(found for source, found in outputs.items() if "TrainingPanel" in source)
    assert "application/vnd.jupyter.widget-view+json" in panel[0]["data"]
    assert "Static copy of the training panel" in panel[0]["data"]["text/html"]
    assert (home / "catalog.sqlite").exists()
