"""Checkpoints put to use: going on from one, an SAE of one, deleting one; a run written into a folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from saewidgets.config import TrainingConfig
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StateError, StorageError
from saewidgets.events import JobStatus
from saewidgets.training import list_checkpoints
from saewidgets.training.checkpoint import read_checkpoint, update_state
from saewidgets.workspace import Run, Workspace
from tests.workspace.conftest import PATIENCE, wait_for_step


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.sae().state_dict().items()}


def test_going_on_from_a_checkpoint_ends_where_the_run_ended(run: Run) -> None:
    (middle,) = [row for row in run.checkpoints() if row.step == 8]
    again = run.continue_from(middle.id)
    assert again.wait(PATIENCE) is JobStatus.COMPLETED, again.error
    record = again.record
    assert (record.name, record.retry_of, record.step, record.note) == ("first-from-8", run.id, 12, None)
    assert record.facts["continued_from"] == {"training_id": run.id, "step": 8, "tokens": middle.tokens}
    before, after = weights(run), weights(again)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert again.history("loss")["step"].min() == 8  # it measured nothing before
    assert [row.step for row in run.checkpoints()] == [4, 8, 12]  # the earlier run is as it was


def test_training_longer(ws: Workspace, run: Run) -> None:
    more = run.train_longer()
    assert more.wait(PATIENCE) is JobStatus.COMPLETED, more.error
    record = more.record
    assert (record.name, record.step, record.tokens_done) == ("first-longer", 24, 2 * 768)
    assert record.note is None  # who trains longer has asked for another number of tokens
    assert len(ws.trainings.list()) == 2


def test_a_run_cannot_end_before_its_checkpoint(ws: Workspace, run: Run) -> None:
    with pytest.raises(ConfigError, match="has seen 768 tokens, and the run ends at 768") as caught:
        run.continue_from()
    assert caught.value.where == "tokens"
    assert "at least 832" in str(caught.value.hint)
    assert len(ws.trainings.list()) == 1


def test_a_damaged_checkpoint_starts_nothing(ws: Workspace, run: Run) -> None:
    path = Path(run.checkpoints()[-1].path) / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    folders = set((ws.folder / "trainings").iterdir())
    for use in (run.train_longer, run.import_checkpoint):
        with pytest.raises(FormatError, match="SHA-256"):
            use()
    assert len(ws.trainings.list()) == 1
    assert set((ws.folder / "trainings").iterdir()) == folders
    assert len(ws.saes.list()) == 0


def test_what_is_not_there(run: Run) -> None:
    for use in (run.continue_from, run.import_checkpoint, run.delete_checkpoint):
        with pytest.raises(NotFoundError, match="first has no checkpoint 'nope'"):
            use("nope")


def test_the_sae_of_a_checkpoint(ws: Workspace, run: Run) -> None:
    first, *_, last = run.checkpoints()
    early, late = run.import_checkpoint(first.id), run.import_checkpoint(last.id)
    assert (early.name, early.hook_name, early.d_sae) == ("first-step-4", run.config.hook_name, 64)
    x = torch.randn(8, 32)
    final = run.sae()
    assert torch.equal(ws.saes.load(late.id)(x), final(x))
    assert not torch.equal(ws.saes.load(early.id)(x), final(x))
    assert sorted(path.name for path in run.folder.iterdir() if path.name.startswith(".")) == []


def test_deleting_a_checkpoint(run: Run) -> None:
    first = run.checkpoints()[0]
    assert run.delete_checkpoint(first.id) > 0
    assert not Path(first.path).exists()
    assert [row.step for row in run.checkpoints()] == [8, 12]


def test_what_is_left_takes_the_place_of_a_deleted_checkpoint(run: Run) -> None:
    """The newest that is left is the latest; the best that is left, by what was measured on held-out text, the best."""
    for number, row in enumerate(run.checkpoints()):  # the middle one is measured worse than the first
        disk = read_checkpoint(Path(row.path))
        metrics = {**disk.state["metrics"], "val_fvu": (0.3, 0.4, 0.2)[number]}
        update_state(disk, metrics=metrics, evaluated_at=row.step, best=0.2)
    last = run.checkpoints()[-1]
    assert {"latest", "best"} < set(last.kinds)
    run.delete_checkpoint(last.id)
    marks = {4: ("every", "best"), 8: ("latest", "every")}
    first, second = run.checkpoints()
    assert [first.kinds, second.kinds] == [marks[4], marks[8]]
    left = list_checkpoints(run.folder / "checkpoints")
    assert {c.step: c.kinds for c in left} == marks
    assert left[0].state["best"] == 0.3  # a run that goes on from here has this to beat
    run.delete_checkpoint(second.id)
    assert [row.kinds for row in run.checkpoints()] == [("latest", "every", "best")]


def test_a_run_that_works_keeps_the_checkpoint_it_goes_on_from(ws: Workspace, config: TrainingConfig) -> None:
    rare = {"evaluation.every_steps": 100_000, "checkpoints.every_steps": 100_000}
    run = ws.trainings.create(config.replace(tokens=64 * 100_000, **rare))
    wait_for_step(ws, run, 4)
    run.pause()
    run.wait(PATIENCE)
    (latest,) = run.checkpoints()
    run.resume()
    wait_for_step(ws, run, latest.step + 2)
    with pytest.raises(StateError, match="would go on from this checkpoint"):
        run.delete_checkpoint(latest.id)
    run.stop(save=False)
    run.wait(PATIENCE)
    assert run.delete_checkpoint(latest.id) > 0


def test_history_is_wide(run: Run) -> None:
    frame = run.history(["loss", "val_fvu"])
    assert list(frame.columns) == ["step", "tokens", "time", "loss", "val_fvu"]
    assert frame["step"].is_unique
    long = run.metrics("loss")
    merged = frame.dropna(subset=["loss"])
    assert np.array_equal(merged["loss"], long["value"])
    assert np.array_equal(merged["step"], long["step"])
    assert set(run.metrics()["name"]) == set(run.history().columns) - {"step", "tokens", "time"}


def test_export(ws: Workspace, run: Run, tmp_path: Path) -> None:
    folder = run.export(tmp_path / "out")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "log.txt", "metrics.csv", "sae"]
    assert TrainingConfig.from_data(json.loads((folder / "config.json").read_text("utf-8"))) == run.config
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    frame = run.history()
    assert [int(row["step"]) for row in rows] == frame["step"].tolist()
    assert [float(row["loss"]) for row in rows if row["loss"]] == frame["loss"].dropna().tolist()
    assert "Completed" in (folder / "log.txt").read_text("utf-8")
    assert ws.saes.add_local(folder / "sae").d_sae == 64
    with pytest.raises(StorageError, match="There is something already"):
        run.export(folder)


def test_an_export_that_fails_leaves_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "log", lambda self, limit: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="No space left"):
        run.export(tmp_path / "out" / "deep")
    assert list((tmp_path / "out").iterdir()) == []
