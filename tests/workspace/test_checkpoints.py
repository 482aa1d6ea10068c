"""What a process that was killed left on the disk and in the catalog, brought to agree when the run goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from saewidgets.events import JobStatus
from saewidgets.workspace import Run, Workspace
from saewidgets.workspace.training.checkpoints import reconcile
from saewidgets.workspace.training.job import take_back
from tests.workspace.conftest import PATIENCE, small_config, wait_for_step


@pytest.fixture
def paused(ws: Workspace, tiny_model_folder: Path) -> Run:
    """A run with a checkpoint at every fourth step."""
    changes = {"checkpoints.keep_every": True, "evaluation.every_steps": 100_000, "tokens": 64 * 100_000}
    run = ws.trainings.create(small_config(tiny_model_folder, **changes))
    wait_for_step(ws, run, 12)
    run.pause()
    assert run.wait(PATIENCE) is JobStatus.PAUSED, run.error
    return run


def _disk(run: Run) -> list[str]:
    return sorted(str(path) for path in (run.folder / "checkpoints").iterdir())


def test_a_checkpoint_without_its_row_is_taken_in(ws: Workspace, paused: Run) -> None:
    before = list(paused.checkpoints())
    ws.catalog.checkpoints.delete(before[-1].id)
    ws.catalog.checkpoints.delete(before[0].id)
    assert reconcile(ws.catalog, paused.id, paused.folder) == before[-1].step
    after = list(paused.checkpoints())
    assert [(c.step, c.path, c.tokens, c.size_bytes) for c in after] == [
        (c.step, c.path, c.tokens, c.size_bytes) for c in before
    ]
    assert [c.step for c in after if "latest" in c.kinds] == [before[-1].step]
    assert dict(after[-1].metrics) == dict(before[-1].metrics)
    assert paused.record.last_checkpoint_step == before[-1].step


def test_a_row_without_its_checkpoint_is_forgotten(ws: Workspace, paused: Run) -> None:
    before = list(paused.checkpoints())
    shutil.rmtree(before[-1].path)
    step = reconcile(ws.catalog, paused.id, paused.folder)
    assert step == before[-2].step
    assert [c.path for c in paused.checkpoints()] == _disk(paused)


def test_metrics_are_cut_where_the_run_really_goes_on(ws: Workspace, paused: Run) -> None:
    """The newest checkpoint has the right size and the wrong bytes: the run continues from the one before."""
    before = list(paused.checkpoints())
    weights = Path(before[-1].path, "weights.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    step = reconcile(ws.catalog, paused.id, paused.folder)
    assert step == before[-2].step
    take_back(ws, paused.id, paused.folder)
    assert max(paused.metrics(["loss"])["step"]) <= before[-2].step
    assert before[-1].step not in [c.step for c in paused.checkpoints()]


def test_without_a_checkpoint_or_a_whole_one(ws: Workspace, paused: Run) -> None:
    rows = len(paused.checkpoints())
    for path in _disk(paused):
        Path(path, "state.json").write_text("{")
    assert reconcile(ws.catalog, paused.id, paused.folder) is None
    assert len(paused.checkpoints()) == rows
    shutil.rmtree(paused.folder / "checkpoints")
    assert reconcile(ws.catalog, paused.id, paused.folder) == 0
    assert not paused.checkpoints()


def test_stopping_takes_in_what_it_exports(ws: Workspace, paused: Run) -> None:
    newest = list(paused.checkpoints())[-1]
    ws.catalog.checkpoints.delete(newest.id)
    paused.stop()
    assert paused.record.last_checkpoint_step == newest.step
    assert paused.sae().metadata["training_tokens"] == newest.tokens
