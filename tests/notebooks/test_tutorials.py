"""The tutorials run as they are (but on fewer tokens), in a home of their own, and are kept without output."""

import json
import os
import re
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
# What cells show: tutorial → part of a cell's source → pattern of its outputs.
_LATENT = r"<b>latent \d+</b>.*?<table>.*?<td"
_PAIR = r"\(\d+, \d+, -?[\d.]+\)"
DISPLAYS = {
    "01-train": {
        "run.wait()": "Completed", ".tail()": r"<table.*fvu.*l0.*loss", "ws.evaluate(": r"'fvu': 0\.\d+",
        "ws.read_features(": rf"(?:{_LATENT}.*?){{5}}", "W_dec.shape": r"1024, 256",
    },
    "02-library": {
        "browser.selected_record": r"SAERecord.*library-topk", "architecture=\"topk\"": r"<table.*library-topk",
        'statistics["decoder_norms"]': r"\(\d", "found.matches": rf"{_PAIR}(?:.*?{_PAIR}){{4}}",
        "detect_format": "sparsify", "hub.known()": "gemma-scope", "len(ws.saes.list())": r"\d",
    },
    "03-features": {
        "record.top_tokens": "every", "table[[": r"<table.*</tr>", "ws.features.examples(": "(?i)every|each",
        "ws.features.run_on(": r"<table.*(?i:every)", "ws.features.label(": "each one of many.*user",
        "extraction.record": "'n_tokens'", "labelled.labels": r"\(\d+, ", "ws.features.similar(": r"\(\d+, .*\(\d+, ",
        "page.name": "features.html", "print_feature_summary": "908", "ws.steer(None": "The old man looked at",
    },
    "04-architectures": {
        "while not group.wait": r"(?:✓ Completed.*){8}", "curves.tail": "<table", "ws.evaluate_many(": r"(?:<tr.*?){9}",
        "pairs[:2]": r"latent \d+.*»", "[(pair.a": _PAIR,
    },
    "05-many-gpus": {"group.to_df()": r"(?:completed.*){4}", "by_data.wait()": "two by latents"},
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
    texts = {source: "\n".join(map(_text_of, outputs[source])) for source in outputs}
    for part, pattern in DISPLAYS[path.stem].items():
        assert any(re.search(pattern, text, re.S) for source, text in texts.items() if part in source), (part, texts)
    for source, text in texts.items():
        assert " object at 0x" not in text, source


def _text_of(output: Any) -> str:
    data = output.get("data", {})
    return "".join((output.get("text", ""), data.get("text/html", data.get("text/plain", ""))))
