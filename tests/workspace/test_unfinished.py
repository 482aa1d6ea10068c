"""Runs that have left no SAE or no checkpoint: what is said fits where they stand, and what it names works."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.errors import NotFoundError, StateError
from saewidgets.events import JobStatus as S
from saewidgets.workspace import Workspace
from saewidgets.workspace.training.checkpoints import no_checkpoint, no_sae
from tests.workspace.conftest import PATIENCE, small_config, wait_for_step

LONG = {"tokens": 64 * 100_000, "checkpoints.every_steps": 1000, "evaluation.every_steps": 100_000}


def test_a_run_that_was_stopped_before_its_first_step(
    ws: Workspace, config: TrainingConfig, tiny_model_folder: Path, tmp_path: Path
) -> None:
    first = ws.trainings.create(small_config(tiny_model_folder, **LONG))
    run = ws.trainings.create(config.replace(name="mine"))  # waits for the first
    run.stop()
    assert run.status is S.STOPPED
    for use in (run.sae, run.import_to_saes, run.evaluate):
        with pytest.raises(StateError, match=r"mine was stopped without an SAE\. Resume it"):
            use()
    for go_on in (run.train_longer, run.continue_from, run.export_checkpoint):
        with pytest.raises(NotFoundError, match=r"no checkpoint to go on from\. Resume it"):
            go_on()
    with pytest.warns(UserWarning, match="mine was stopped without an SAE") as told:
        folder = run.export(tmp_path / "out")
    assert told[0].filename == __file__
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "log.txt", "metrics.csv"]
    run.resume()
    first.cancel()
    assert run.wait(PATIENCE) is S.COMPLETED, run.error
    assert run.sae().d_sae == 64


def test_a_run_that_was_cancelled_behind_a_checkpoint(ws: Workspace, tiny_model_folder: Path) -> None:
    run = ws.trainings.create(small_config(tiny_model_folder, **LONG))
    wait_for_step(ws, run, 2)
    run.pause()
    assert run.wait(PATIENCE) is S.PAUSED
    with pytest.raises(StateError, match="Resume it, or stop it and keep"):
        run.sae()
    run.cancel()
    with pytest.raises(StateError, match=r"was cancelled without an SAE.*run\.export_checkpoint\(\)"):
        run.sae()
    run.export_checkpoint()
    assert run.sae().d_sae == 64


@pytest.mark.parametrize(
    ("status", "alone", "sae", "checkpoint"),
    [
        (S.QUEUED, False, "yet. Wait until it has completed, or stop it", "yet. Wait for its first"),
        (S.RUNNING, False, "yet. Wait until it has completed, or stop it", "yet. Wait for its first"),
        (S.STOPPING, False, "yet. Wait until it has ended.", "yet. Wait for its first"),
        (S.INTERRUPTED, False, "yet. Resume it.", "to go on from. Resume it, or start it again"),
        (S.FAILED, False, "failed without an SAE. Its error says why. Resume it, or", "Its error says why. Resume it"),
        (S.STOPPED, True, "was stopped without an SAE. Start it again", "to go on from. Start it again"),
        (S.COMPLETED, False, "has completed without an SAE. Start it again", "to go on from. Start it again"),
    ],
)
def test_the_way_out_fits_where_it_stands(ws: Workspace, status: S, alone: bool, sae: str, checkpoint: str) -> None:
    columns = {
        "id": "train_mine", "name": "mine", "config": {}, "model": "demo", "corpus": "demo", "hook_name": "h",
        "architecture": "topk", "d_sae": 1, "device": "cpu", "lane": "box/cpu", "tokens_total": 1,
        "folder": ws.folder / "trainings" / "mine",
    }  # fmt: skip
    ws.catalog.trainings.create_all([columns])
    record = replace(ws.catalog.trainings.get("train_mine"), status=status, ended_alone=alone)
    assert sae in str(no_sae(record))
    assert checkpoint in str(no_checkpoint(record))
