"""`kill -9` at random moments: the catalog opens, the run reads `interrupted`, and resuming it ends in the weights of a
run that was never disturbed. Three kills in the ordinary suite, twenty with ``make faults``."""

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
from saewidgets.workspace import Run, Workspace
from tests.workspace.conftest import PATIENCE, small_config

STEPS = 240
WORKER = """
import sys
from saewidgets.config import TrainingConfig
from saewidgets.workspace import Workspace
ws = Workspace(sys.argv[1])
run = ws.trainings.get(sys.argv[2]) if sys.argv[2].startswith("train_") else ws.trainings.create(
    TrainingConfig.model_validate_json(open(sys.argv[2]).read()))
if sys.argv[2].startswith("train_"):
    run.resume()
print(run.id, flush=True)
print(run.wait(600), flush=True)
ws.close()
"""


def _start(folder: Path, what: str) -> tuple[subprocess.Popen[str], str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SAEWIDGETS_HOST": "box"}
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), what], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def _kill_later(process: subprocess.Popen[str], run: Run, after_step: int, delay: float) -> None:
    """Wait until the run has passed a step, a little longer, then kill -9."""
    deadline = time.monotonic() + PATIENCE
    while run.record.step < after_step and process.poll() is None:
        assert time.monotonic() < deadline, run.record
        time.sleep(0.02)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()


def _settled(run: Run) -> JobStatus:
    """Its status once somebody has looked for its owner: that is done ten times a second at most."""
    deadline = time.monotonic() + 5
    while (status := run.record.status).is_active and time.monotonic() < deadline:
        time.sleep(0.05)
    return status


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_killed_runs_resume_to_identical_weights(tmp_path: Path, tiny_model_folder: Path, kills: int) -> None:
    chance = random.Random(20_251)
    config = small_config(
        tiny_model_folder, tokens=64 * STEPS, log_every_steps=5,
        **{"checkpoints.every_steps": 20, "evaluation.every_steps": 100},
    )  # fmt: skip
    settings = tmp_path / "config.json"
    settings.write_text(config.model_dump_json())
    straight, straight_id = _start(tmp_path / "straight", str(settings))
    assert straight.communicate(timeout=PATIENCE)[0].strip() == "completed"

    folder = tmp_path / "killed"
    process, run_id = _start(folder, str(settings))
    done = 0
    while done < kills:
        with Workspace(folder) as ws:
            run = ws.trainings.get(run_id)
            left = STEPS - run.record.step
            goal = run.record.step + chance.randrange(max(1, min(left, 2 * STEPS // (kills + 1)) - 10))
            _kill_later(process, run, goal, chance.random() * 0.1)
            status = _settled(run)
            if status is JobStatus.COMPLETED:
                break
            assert status is JobStatus.INTERRUPTED
            done += 1
        process, _ = _start(folder, run_id)
    out, _ = process.communicate(timeout=PATIENCE)
    assert done >= min(kills, 3) or out.strip() == "completed"
    with Workspace(folder) as ws, Workspace(tmp_path / "straight") as other:
        run = ws.trainings.get(run_id)
        assert run.status is JobStatus.COMPLETED
        assert done >= 1
        found, expected = run.sae().state_dict(), other.trainings.get(straight_id).sae().state_dict()
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert torch.equal(tensor, found[name]), f"{name} differs after {done} kills"
        steps = run.metrics(["loss"])["step"].tolist()
        assert steps == sorted(set(steps)), "a step was recorded twice"
        assert not list((run.folder / "checkpoints").glob(".tmp*"))
