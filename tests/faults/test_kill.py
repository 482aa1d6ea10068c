"""`kill -9` at random moments: the catalog opens, the run reads `interrupted`, and resuming it ends in the weights of a
run that was never disturbed. One kill in the ordinary suite, twenty with ``make faults``."""

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

STEPS_PER_KILL = 300  # about as many pass, at the rate of this small run, before a recorded step is seen and acted on
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


def _wait_for_step(process: subprocess.Popen[str], run: Run, step: int, seconds: float | None = None) -> None:
    """Until `step` is done, or so many seconds are over."""
    end = time.monotonic() + (PATIENCE if seconds is None else seconds)
    while run.record.step < step and process.poll() is None:
        if time.monotonic() >= end:
            assert seconds is not None, run.record
            return
        time.sleep(0.005)


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
    steps = STEPS_PER_KILL * (kills + 1)
    config = small_config(
        tiny_model_folder, tokens=64 * steps, log_every_steps=5,
        **{"checkpoints.every_steps": 20, "evaluation.every_steps": 100},
    )  # fmt: skip
    settings = tmp_path / "config.json"
    settings.write_text(config.model_dump_json())
    straight, straight_id = _start(tmp_path / "straight", str(settings))
    started = time.monotonic()
    with Workspace(tmp_path / "straight") as ws:
        _wait_for_step(straight, ws.trainings.get(straight_id), 1)
    start_up = time.monotonic() - started
    assert straight.communicate(timeout=PATIENCE)[0].strip() == "completed"

    folder = tmp_path / "killed"
    process, run_id = _start(folder, str(settings))
    for done in range(kills):
        with Workspace(folder) as ws:
            run = ws.trainings.get(run_id)
            at = run.record.step
            share = (steps - at) // (kills - done + 1)  # of the steps that are left: each of the kills to come has one
            if chance.random() < 1 / 3:  # at any moment of the start: imports, loading, reading the checkpoint
                _wait_for_step(process, run, at + share, chance.random() * start_up)  # it may start faster this time
            else:
                _wait_for_step(process, run, at + chance.randrange(share))
            assert process.poll() is None, f"the run ended before kill {done + 1}"
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert _settled(run) is JobStatus.INTERRUPTED
        process, _ = _start(folder, run_id)
    assert process.communicate(timeout=PATIENCE)[0].strip() == "completed"
    with Workspace(folder) as ws, Workspace(tmp_path / "straight") as other:
        run = ws.trainings.get(run_id)
        assert run.status is JobStatus.COMPLETED
        found, expected = run.sae().state_dict(), other.trainings.get(straight_id).sae().state_dict()
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert torch.equal(tensor, found[name]), f"{name} differs after {kills} kills"
        recorded = run.metrics(["loss"])["step"].tolist()
        assert recorded == sorted(set(recorded)), "a step was recorded twice"
        assert not list((run.folder / "checkpoints").glob(".tmp*"))
