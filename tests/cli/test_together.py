"""Several runs from one command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from saewidgets.cli.configfile import taken_over
from tests.cli.conftest import Invoke
from tests.conftest import TINY_TEXT

pytestmark = pytest.mark.timeout(480)


def test_what_changes_comes_from_a_file_and_from_flags() -> None:
    data = {"model": "demo", "over": {"sae": {"k": [4, 8]}, "sae.d_sae": [64], "optimizer": {"lr": [1e-3]}}}
    found = taken_over(data, ["sae.k=16,32", "hook_name=blocks.0.hook_resid_post, blocks.1.hook_mlp_out", "name=[1]"])
    assert found == {
        "sae.k": [16, 32], "sae.d_sae": [64], "optimizer.lr": [1e-3], "name": [1],
        "hook_name": ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"],
    }  # fmt: skip
    assert data == {"model": "demo"}
    assert taken_over({}, ["hook_name, hook_name_out=[[\"a\", \"b\"]]"]) == {"hook_name, hook_name_out": [["a", "b"]]}
    assert taken_over({}, []) == {}


@pytest.fixture
def settings(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A file with a small run and what changes in it."""
    data: dict[str, Any] = {
        "model": str(tiny_model_folder), "corpus": {"kind": "text", "strings": TINY_TEXT}, "context_size": 16,
        "hook_name": "blocks.0.hook_resid_post", "sae": {"d_sae": 64, "k": 4}, "tokens": 768, "batch_size": 64,
        "device": "cpu", "evaluation": {"tokens": 256},
        "activations": {"model_batch_size": 8, "shuffle_tokens": 256, "norm_tokens": 256, "validation_share": 0.1},
        "over": {"sae.k": [2, 4]},
    }  # fmt: skip
    path = tmp_path / "run.json"
    path.write_text(json.dumps(data))
    return path


def test_a_file_that_trains_two(settings: Path, invoke: Invoke) -> None:
    done = invoke("train", "-c", str(settings), "--name", "pair", "--json")
    assert done.code == 0, done.err
    records = done.json()
    assert [(r["name"], r["status"], r["config"]["sae"]["k"]) for r in records] == [
        ("pair-k2", "completed", 2), ("pair-k4", "completed", 4)
    ]  # fmt: skip
    assert len({r["group_id"] for r in records}) == 1
    assert "Training 2 together: pair" in done.err
    assert done.err.count("SAE: ") == 2


def test_transcoders_of_several_layers_as_the_page_says(invoke: Invoke) -> None:
    pairs = [[f"blocks.{layer}.mlp.hook_in", f"blocks.{layer}.hook_mlp_out"] for layer in (0, 3)]
    done = invoke(
        "train", "--model", "demo", "--architecture", "transcoder", "--d-sae", "64", "--dry-run",
        "--over", f"hook_name, hook_name_out={json.dumps(pairs)}",
    )  # fmt: skip
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["over"] == {"hook_name, hook_name_out": pairs}
    assert [found["hook_name"], found["hook_name_out"]] == pairs[0]
