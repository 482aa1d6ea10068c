"""``saewidgets pipeline``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from saewidgets.cli.session import NOT_FOUND, USAGE
from tests.cli.conftest import Invoke
from tests.conftest import TINY_TEXT


@pytest.fixture
def base(tiny_model_folder: Path, tmp_path: Path) -> list[str]:
    """Arguments of a pipeline that takes seconds."""
    (tmp_path / "text.txt").write_text("\n".join(TINY_TEXT))
    path = tmp_path / "run.json"
    path.write_text(json.dumps({
        "model": str(tiny_model_folder), "corpus": str(tmp_path / "text.txt"), "context_size": 16, "batch_size": 64,
        "tokens": 512, "device": "cpu", "sae": {"architecture": "topk", "d_sae": 64, "k": 4},
        "activations": {"model_batch_size": 8, "shuffle_tokens": 256, "norm_tokens": 256, "validation_share": 0.1},
        "evaluation": {"tokens": 256},
    }))  # fmt: skip
    return ["pipeline", "--config", str(path), "--num-tokens", "1024", "--batch-size-extract", "8"]


def test_both_halves_then_everything_again(invoke: Invoke, base: list[str], tmp_path: Path) -> None:
    captured = invoke(*base, "--layers", "0,1", "--extract-only", "--json")
    assert captured.code == 0, captured.err
    assert captured.json()["hook_names"] == ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    out = tmp_path / "out"
    done = invoke(*base, "--layers", "0,1", "--train-only", "--save-dir", str(out))
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == [
        "Layer", "Reconstruction", "Active", "per", "token", "Dead", "share", "Convergence", "Result",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:3]] == ["0", "1"]
    assert "captured before" in done.err
    assert {path.name for path in out.iterdir()} == {
        f"sae_layer_{layer}_{what}" for layer in (0, 1) for what in ("best", "final", "history.json")
    }
    again = invoke(*base, "--layers", "1", "--save-dir", str(out), "--json")
    assert again.code == 0, again.err
    (row,) = again.json()
    assert (row["layer"], row["status"]) == (1, "completed")
    assert len(invoke("list", "--json").json()) == 2


def test_what_cannot_work(invoke: Invoke, base: list[str]) -> None:
    assert invoke(*base, "--extract-only", "--train-only").code == USAGE
    assert invoke(*base, "--layers", "one").code == USAGE
    assert "Layer 9 does not exist" in invoke(*base, "--layers", "9").err
    missing = invoke(*base, "--layers", "0", "--train-only")
    assert missing.code == NOT_FOUND
    assert "Run it without --train-only first" in missing.err


def test_cache_dir_is_the_workspace(invoke: Invoke, base: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    done = invoke(*base, "--layers", "0", "--cache-dir", str(cache))
    assert done.code == 0, done.err
    assert (cache / "catalog.sqlite").is_file()
    assert (cache / "pipeline" / "sae_layer_0_final" / "cfg.json").is_file()
