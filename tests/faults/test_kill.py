"""`kill -9` at random moments, of one training and of a group: the catalog opens, they read `interrupted`, and resuming
(of any one of a group) ends in the weights of a run that was never disturbed. One kill in the ordinary suite, twenty
with ``make faults``."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.workspace import Run, TrainingGroup, Workspace
from tests.workspace.conftest import PATIENCE, same_weights, small_config

WORKER = """
import os, signal, sys
from saewidgets.config import TrainingConfig
from saewidgets.evaluation.evaluate import Batches
from saewidgets.workspace import Workspace
folder, what, kind, forward = sys.argv[1:]
left = [int(forward)]
def run_check(self):  # kill -9 in the middle of an evaluation, at its n-th forward
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
Batches.run_check = run_check
ws = Workspace(folder)
if what.startswith("train_"):
    work = ws.trainings.get(what)
    work.resume()
elif what.startswith("group_"):
    work = ws.trainings.group(what)
    work[1].resume()
else:
    config = TrainingConfig.model_validate_json(open(what).read())
    work = ws.trainings.create(config) if kind == "run" else ws.trainings.create_many(
        config, {"hook_name, checkpoints.every_steps": [
            ["blocks.0.hook_resid_post", 20], ["blocks.1.hook_mlp_out", 7], ["blocks.1.hook_resid_post", 31]]})
print(work.id, flush=True)
print(work.wait(600), flush=True)
ws.close()
"""


class Worker:
    """A process that makes, or resumes, the training or group `what`."""

    def __init__(self, folder: Path, what: str, kind: str, forward: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(folder), what, kind, str(forward)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "SAEWIDGETS_HOST": "box"},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.id = self.process.stdout.readline().strip()

    def complete(self) -> str:
        assert self.process.communicate(timeout=PATIENCE)[0].strip() == "completed"
        return self.id

    def await_step(self, run: Run | TrainingGroup, step: int, seconds: float | None = None) -> None:
        """Until `step` is done, or so many seconds are over."""
        end = time.monotonic() + (PATIENCE if seconds is None else seconds)
        while _step(run) < step and self.process.poll() is None:
            if time.monotonic() >= end:
                assert seconds is not None, _step(run)
                return
            time.sleep(0.005)

    def kill(self) -> None:
        assert self.process.poll() is None, "it was over before it could be killed: more steps are needed"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def _step(run: Run | TrainingGroup) -> int:
    return run.record.step if isinstance(run, Run) else max(record.step for record in run.records)


def _settled(run: Run | TrainingGroup) -> JobStatus:
    """Its status once somebody has looked for its owner: that is done ten times a second at most."""
    deadline = time.monotonic() + 5
    while (status := run.status).is_active and time.monotonic() < deadline:
        time.sleep(0.05)
    return status


@pytest.fixture
def settings(tmp_path: Path, tiny_model_folder: Path) -> Callable[..., str]:
    def write(**changes: Any) -> str:
        config: TrainingConfig = small_config(tiny_model_folder, log_every_steps=5, **changes)
        (tmp_path / "config.json").write_text(config.model_dump_json())
        return str(tmp_path / "config.json")

    return write


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_runs_resume_to_identical_weights(tmp_path: Path, settings: Callable[..., str], kills: int) -> None:
    chance = random.Random(20_251)
    steps = 300 * (kills + 1)  # about as many pass in this small run before a recorded step is seen and acted on
    config = settings(tokens=64 * steps, **{"checkpoints.every_steps": 20, "evaluation.every_steps": 100})
    straight = Worker(tmp_path / "straight", config, "run")
    started = time.monotonic()
    with Workspace(tmp_path / "straight") as ws:
        straight.await_step(ws.trainings.get(straight.id), 1)
    start_up = time.monotonic() - started
    straight.complete()

    folder = tmp_path / "killed"
    worker = Worker(folder, config, "run")
    for done in range(kills):
        with Workspace(folder) as ws:
            run = ws.trainings.get(worker.id)
            at = run.record.step
            share = (steps - at) // (kills - done + 1)  # of the steps that are left: each of the kills to come has one
            if chance.random() < 1 / 3:  # at any moment of the start: imports, loading, reading the checkpoint
                worker.await_step(run, at + share, chance.random() * start_up)  # it may start faster this time
            else:
                worker.await_step(run, at + chance.randrange(share))
            worker.kill()
            assert _settled(run) is JobStatus.INTERRUPTED
        worker = Worker(folder, worker.id, "run")
    worker.complete()
    with Workspace(folder) as ws, Workspace(tmp_path / "straight") as other:
        run = ws.trainings.get(worker.id)
        assert run.status is JobStatus.COMPLETED
        assert same_weights(other.trainings.get(straight.id), run)
        recorded = run.metrics(["loss"])["step"].tolist()
        assert recorded == sorted(set(recorded)), "a step was recorded twice"
        assert not list((run.folder / "checkpoints").glob(".tmp*"))


@pytest.mark.long
@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_groups_resume_to_identical_weights(tmp_path: Path, settings: Callable[..., str], kills: int) -> None:
    kills = max(1, kills // 3)  # single runs have the rest
    chance = random.Random(7)
    config = settings(tokens=64 * 150 * (kills + 1), **{"evaluation.every_steps": 100})
    straight = Worker(tmp_path / "straight", config, "group").complete()

    folder, what, spread = tmp_path / "killed", config, set()
    for _ in range(kills):
        worker = Worker(folder, what, "group")
        what = worker.id
        with Workspace(folder) as ws:
            group = ws.trainings.group(what)
            worker.await_step(group, _step(group) + chance.randrange(1, 75))
            worker.kill()
            _settled(group)
            assert [r.status for r in group.records] == [JobStatus.INTERRUPTED] * 3
            spread |= {record.last_checkpoint_step for record in group.records}
    assert len(spread) > 1  # trainings at different steps, which have to catch up
    Worker(folder, what, "group").complete()
    with Workspace(tmp_path / "straight") as one, Workspace(folder) as other:
        for a, b in zip(one.trainings.group(straight), other.trainings.group(what), strict=True):
            assert same_weights(a, b)
            steps = b.metrics(["loss"])["step"]
            assert steps.is_unique
            assert steps.tolist() == a.metrics(["loss"])["step"].tolist()


@pytest.mark.long
@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_in_the_middle_of_evaluations(tmp_path: Path, settings: Callable[..., str]) -> None:
    """Each evaluation is in the catalog once, with the numbers of a group that nobody killed; a run may be deleted."""
    config = settings(tokens=64 * 60, **{"evaluation.every_steps": 20})
    straight = Worker(tmp_path / "straight", config, "group").complete()

    folder, what = tmp_path / "killed", config
    for forward in (3, 5):  # in the first evaluation, and in the one that is made anew
        worker = Worker(folder, what, "group", forward)
        assert worker.process.wait(PATIENCE) == -signal.SIGKILL
        what = worker.id
        with Workspace(folder) as ws:
            group = ws.trainings.group(what)
            _settled(group)
            assert [r.status for r in group.records] == [JobStatus.INTERRUPTED] * 3
    with Workspace(folder) as ws:
        ws.trainings.delete(ws.trainings.group(what)[0].id)
    Worker(folder, what, "group").complete()
    names = ["val_fvu", "val_l0", "val_mse", "val_dead", "ce_loss_score"]
    with Workspace(tmp_path / "straight") as one, Workspace(folder) as other:
        for a, b in zip(one.trainings.group(straight).runs[1:], other.trainings.group(what), strict=True):
            expected, found = (run.metrics(names)[["step", "name", "value"]] for run in (a, b))
            assert expected["step"].unique().tolist() == [20, 40, 60]
            assert found.to_dict("records") == expected.to_dict("records")
            assert same_weights(a, b)
