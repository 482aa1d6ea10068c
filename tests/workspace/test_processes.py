"""Jobs in child processes: they outlive the workspace that queued them, and are found again."""

import os
import signal
from pathlib import Path

import pytest

from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus
from saewidgets.workspace import Workspace
from tests.jobs.conftest import wait_until
from tests.workspace.conftest import ENDLESS, PATIENCE, completed, same_weights, small_config


def _pid(ws: Workspace, run_id: str) -> int:
    owner = ws.jobs.get(str(ws.trainings.get(run_id).record.job_id)).record.owner
    assert owner is not None
    return int(owner.partition(".")[0])


def test_a_run_in_a_process_is_the_same_and_what_lives_here_is_refused(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    config = small_config(tiny_model_folder)
    with Workspace(tmp_path / "ws", runner="process") as ws:
        there = completed(ws.trainings.create(config))
        wait_until(lambda: not list((ws.folder / "logs").iterdir()))
        with pytest.raises(ConfigError, match="What receives events stays in this process") as caught:
            ws.trainings.create(config, on_event=print)
        assert caught.value.where == "on_event"
        with Workspace(tmp_path / "ws", runner="thread") as same:
            here = completed(same.trainings.create(config))
        assert same_weights(there, here)
    with pytest.raises(ConfigError, match="There is no runner 'ray'"):
        Workspace(tmp_path / "ws", runner="ray")


def test_a_closed_workspace_leaves_its_runs_running_and_another_steers_them(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAEWIDGETS_RUNNER", "process")
    with Workspace(tmp_path / "ws") as ws:
        run_id = ws.trainings.create(small_config(tiny_model_folder, **ENDLESS)).id
        wait_until(lambda: ws.trainings.get(run_id).status is JobStatus.RUNNING, PATIENCE)
    with Workspace(tmp_path / "ws") as ws:
        run = ws.trainings.get(run_id)
        pid, step = _pid(ws, run_id), run.record.step
        assert pid != os.getpid()
        wait_until(lambda: run.record.step > step, PATIENCE)
        run.pause()
        assert run.wait(PATIENCE) is JobStatus.PAUSED
        run.resume()
        wait_until(lambda: run.status is JobStatus.RUNNING, PATIENCE)
        assert _pid(ws, run_id) != pid
        os.kill(_pid(ws, run_id), signal.SIGKILL)
        assert run.wait(PATIENCE) is JobStatus.INTERRUPTED
        run.resume()
        wait_until(lambda: run.status is JobStatus.RUNNING, PATIENCE)
        run.stop()
        assert run.wait(PATIENCE) is JobStatus.STOPPED


def test_a_process_that_does_not_come_up_is_a_failure(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workspace(tmp_path / "ws", runner="process") as ws:
        monkeypatch.setattr("saewidgets.jobs.executor.sys.executable", "/bin/false")
        run = ws.trainings.create(small_config(tiny_model_folder))
        assert run.wait(PATIENCE) is JobStatus.FAILED
        assert run.error is not None
        assert "ended with status 1" in run.error.what
        monkeypatch.setattr("saewidgets.jobs.executor.sys.executable", str(tmp_path / "no python"))
        run.resume()
        assert run.wait(PATIENCE) is JobStatus.FAILED
        assert run.error is not None
        assert "could not be started" in run.error.what
        monkeypatch.undo()
        run.resume()
        completed(run)
