"""``saewidgets pipeline``."""

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from saewidgets.cli.follow import CAPTURE, RUN, Kind, follow
from saewidgets.cli.session import FAILED, PAUSED
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
    (store,) = captured.json()
    assert store["hook_names"] == ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    out = tmp_path / "out"
    silent = base[: base.index("--num-tokens")]  # how many were captured need not be said again
    more = ["--save-dir", str(out), "--import", "--interpret", "--texts", str(tmp_path / "text.txt")]
    done = invoke(*silent, "--layers", "0,1", "--train-only", *more)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == [
        "Layer", "Reconstruction", "Active", "per", "token", "Dead", "share", "Convergence",
        "Interpretations", "saved", "Result",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:3]] == ["0", "1"]
    assert f"({store['id']}), 1,024 tokens, captured before." in done.err
    assert {path.name for path in out.iterdir()} == {
        "interpretations",
        *(f"sae_layer_{layer}_{what}" for layer in (0, 1) for what in ("best", "final", "history.json")),
    }
    again = invoke(*base, "--layers", "1", *more, "--json")
    assert again.code == 0, again.err
    assert "1 layer trained before: train_" in again.err
    assert "1 layer read before: ext_train_" in again.err
    assert "Training" not in again.err
    (row,) = again.json()
    assert (row["layer"], row["status"], row["interpretations_saved_passed"]) == (1, "completed", True)
    assert sorted(path.name for path in (out / "interpretations").iterdir()) == [
        "layer_0_interpretations.json", "layer_1_interpretations.json",
    ]  # fmt: skip
    assert [len(invoke(*words, "list", "--json").json()) for words in ((), ("saes",), ("extractions",))] == [2, 2, 2]


def test_a_missing_text_is_named_before_anything_runs(invoke: Invoke, base: list[str], tmp_path: Path) -> None:
    done = invoke(*base, "--interpret", "--texts", str(tmp_path / "missing.txt"))
    assert done.code == 3
    assert f"--texts {tmp_path / 'missing.txt'}: There is no such file" in done.err
    assert "Traceback" not in done.err


def test_a_changed_text_is_captured_again_with_a_notice(invoke: Invoke, base: list[str], tmp_path: Path) -> None:
    assert invoke(*base, "--layers", "0", "--extract-only", "--dtype", "bfloat16").code == 0
    (tmp_path / "text.txt").write_text("\n".join(reversed(TINY_TEXT)))
    for is_new in (True, False):
        again = invoke(*base, "--layers", "0,1", "--extract-only", "--dtype", "bfloat16", "--json")
        assert ("The text has changed since" in again.err, "Capturing 2 layers" in again.err) == (is_new, is_new)
        assert [(store["dtype"], len(store["hook_names"])) for store in again.json()] == [("bfloat16", 2)]
        os.utime(tmp_path / "text.txt", (1e9, 1e9))  # copied: what it says is what counts


def test_results_are_reported_if_files_cannot_be_written(
    invoke: Invoke, base: list[str], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sae_layer_0_best").write_text("mine")
    done = invoke(*base, "--layers", "0,1", "--save-dir", str(tmp_path / "out"), "--json")
    assert done.code == FAILED
    assert "Other files have the names of layer 0. Choose another folder." in done.err
    assert [row["layer"] for row in done.json()] == [0, 1]
    assert (tmp_path / "out" / "sae_layer_1_final").is_dir()


def test_cache_dir_is_the_workspace(invoke: Invoke, base: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    done = invoke(*base, "--layers", "0", "--cache-dir", str(cache))
    assert done.code == 0, done.err
    assert (cache / "catalog.sqlite").is_file()
    assert (cache / "pipeline" / "sae_layer_0_final" / "cfg.json").is_file()


def test_ctrl_c_names_the_pipeline_itself(
    invoke: Invoke, base: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, ...]] = []

    def pausing(kind: Kind) -> Callable[..., Any]:
        def paused(job: Any, of: Kind, *, resume: tuple[str, ...]) -> Any:
            if of is not kind:
                return follow(job, of, resume=resume)
            told.append(resume)
            raise typer.Exit(PAUSED)

        return paused

    out, home = str(tmp_path / "my saes"), str(tmp_path / "w")
    asked = [*base, "--layers", "0,1", "--set", "sae.k=8", "--set", "seed=3", "--save-dir", out, "--cache-dir", home]
    for kind in (CAPTURE, RUN):
        with monkeypatch.context() as patch:
            patch.setattr("saewidgets.cli.pipeline.follow", pausing(kind))
            patch.setattr("sys.argv", ["/bin/saewidgets", *asked])
            ended = invoke(*asked, "-q")
        assert (ended.code, Path(out).exists()) == (PAUSED, False), ended.err
    assert told == [tuple(map(shlex.quote, asked))] * 2
