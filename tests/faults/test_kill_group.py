"""`kill -9` of a group of trainings: all read `interrupted`, and resuming one of them resumes all, to the same bits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from saewidgets.events import JobStatus
from saewidgets.workspace import TrainingGroup, Workspace
from tests.workspace.conftest import PATIENCE, small_config

STEPS_PER_KILL = 150
WORKER = """
import sys
from saewidgets.config import TrainingConfig
from saewidgets.workspace import Workspace
if len(sys.argv) > 3:  # kill -9 in the middle of an evaluation, at its n-th forward
    import os, signal
    from saewidgets.evaluation.evaluate import Batches
    left = [int(sys.argv[3])]
    def run_check(self):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
    Batches.run_check = run_check
ws = Workspace(sys.argv[1])
if sys.argv[2].startswith("group_"):
    group = ws.trainings.group(sys.argv[2])
    group[1].resume()
else:
    config = TrainingConfig.model_validate_json(open(sys.argv[2]).read())
    group = ws.trainings.create_many(
        config, {"hook_name, checkpoints.every_steps": [
            ["blocks.0.hook_resid_post", 20], ["blocks.1.hook_mlp_out", 7], ["blocks.1.hook_resid_post", 31]]})
print(group.id, flush=True)
print(group.wait(600), flush=True)
ws.close()
"""


def _start(folder: Path, what: str, *more: str) -> tuple[subprocess.Popen[str], str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SAEWIDGETS_HOST": "box"}
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), what, *more], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _steps(group: TrainingGroup) -> int:
    return max(record.step for record in group.records)


def _await_step(process: subprocess.Popen[str], group: TrainingGroup, step: int) -> None:
    end = time.monotonic() + PATIENCE
    while _steps(group) < step and process.poll() is None:
        assert time.monotonic() < end, group.records
        time.sleep(0.005)


@pytest.mark.long
@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_groups_resume_to_identical_weights(tmp_path: Path, tiny_model_folder: Path, kills: int) -> None:
    kills = max(1, kills // 3)  # single runs have the rest: test_kill.py
    chance = random.Random(7)
    config = small_config(
        tiny_model_folder, tokens=64 * STEPS_PER_KILL * (kills + 1), log_every_steps=5,
        **{"evaluation.every_steps": 100},
    )  # fmt: skip
    settings = tmp_path / "config.json"
    settings.write_text(config.model_dump_json())
    straight, straight_id = _start(tmp_path / "straight", str(settings))
    assert straight.communicate(timeout=PATIENCE)[0].strip() == "completed"

    folder, what, spread = tmp_path / "killed", str(settings), set()
    for _ in range(kills):
        process, what = _start(folder, what)
        with Workspace(folder) as ws:
            group = ws.trainings.group(what)
            _await_step(process, group, _steps(group) + chance.randrange(1, STEPS_PER_KILL // 2))
            assert process.poll() is None, "it was over before it could be killed: more steps are needed"
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            deadline = time.monotonic() + 5
            while group.status.is_active and time.monotonic() < deadline:
                time.sleep(0.05)
            assert [r.status for r in group.records] == [JobStatus.INTERRUPTED] * 3
            spread |= {record.last_checkpoint_step for record in group.records}
    assert len(spread) > 1  # trainings at different steps, which have to catch up
    process, _ = _start(folder, what)
    assert process.communicate(timeout=PATIENCE)[0].strip() == "completed"
    with Workspace(tmp_path / "straight") as one, Workspace(folder) as other:
        for a, b in zip(one.trainings.group(straight_id), other.trainings.group(what), strict=True):
            expected, found = a.sae().state_dict(), b.sae().state_dict()
            assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
            steps = b.metrics(["loss"])["step"]
            assert steps.is_unique
            assert steps.tolist() == a.metrics(["loss"])["step"].tolist()


@pytest.mark.long
@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_in_the_middle_of_evaluations(tmp_path: Path, tiny_model_folder: Path) -> None:
    """Each evaluation is in the catalog once, with the numbers of a group that nobody killed; a run may be deleted."""
    config = small_config(tiny_model_folder, tokens=64 * 60, log_every_steps=5, **{"evaluation.every_steps": 20})
    settings = tmp_path / "config.json"
    settings.write_text(config.model_dump_json())
    straight, straight_id = _start(tmp_path / "straight", str(settings))
    assert straight.communicate(timeout=PATIENCE)[0].strip() == "completed"

    folder, what = tmp_path / "killed", str(settings)
    for forward in ("3", "5"):  # in the first evaluation, and in the one that is made anew
        process, what = _start(folder, what, forward)
        assert process.wait(PATIENCE) == -signal.SIGKILL
        with Workspace(folder) as ws:
            group = ws.trainings.group(what)
            deadline = time.monotonic() + 5
            while group.status.is_active and time.monotonic() < deadline:
                time.sleep(0.05)
            assert [r.status for r in group.records] == [JobStatus.INTERRUPTED] * 3
    with Workspace(folder) as ws:
        ws.trainings.delete(ws.trainings.group(what)[0].id)
    process, _ = _start(folder, what)
    assert process.communicate(timeout=PATIENCE)[0].strip() == "completed"
    names = ["val_fvu", "val_l0", "val_mse", "val_dead", "ce_loss_score"]
    with Workspace(tmp_path / "straight") as one, Workspace(folder) as other:
        for a, b in zip(one.trainings.group(straight_id).runs[1:], other.trainings.group(what), strict=True):
            expected, found = (run.metrics(names)[["step", "name", "value"]] for run in (a, b))
            assert expected["step"].unique().tolist() == [20, 40, 60]
            assert found.to_dict("records") == expected.to_dict("records")
            weights, same = a.sae().state_dict(), b.sae().state_dict()
            assert [name for name in weights if not torch.equal(weights[name], same[name])] == []
