"""Several real processes on one catalog: lanes, kill -9, takeover, a normal end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from saewidgets.catalog import Catalog
from saewidgets.events import JobStatus as S
from saewidgets.jobs import JobManager, JobSettings
from saewidgets.jobs.manager import CLOSED, ENDED
from tests.jobs.conftest import wait_until

SCRIPT = Path(__file__).with_name("worker.py")
ROOT = Path(__file__).parents[2]
FOREVER = "1000000"


class Worker:
    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment,
        )  # fmt: skip

    def ready(self) -> Worker:
        assert self._answer() == "ready"
        return self

    def __call__(self, *words: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def end(self) -> int:
        self("exit")
        return self.process.wait(20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Worker]]:
    workers: list[Worker] = []

    def make() -> Worker:
        workers.append(Worker(folder))
        return workers[-1]

    yield make
    for worker in workers:
        if worker.process.poll() is None:
            worker.kill()
        for pipe in (worker.process.stdin, worker.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def here(folder: Path) -> Iterator[JobManager]:
    with Catalog(folder, host="box") as catalog:
        settings = JobSettings(host="box", poll=0.05, heartbeat=0.2, timeout=20.0)
        with JobManager(catalog.jobs, settings) as manager:
            yield manager


def _steps(folder: Path, job_id: str) -> int:
    file = folder / f"{job_id}.steps"
    return int(file.read_text()) if file.exists() else 0


def _status(manager: JobManager, job_id: str) -> S:
    return manager.get(job_id).status


def test_one_lane_for_two_processes(folder: Path, start: Callable[..., Worker], here: JobManager) -> None:
    a, b = start(), start()
    a.ready()("submit", "job_1", FOREVER)
    b.ready()("submit", "job_2", "5")
    a("submit", "job_3", "5")
    wait_until(lambda: _status(here, "job_1") is S.RUNNING)
    assert [here.get(i).queue_position for i in ("job_2", "job_3")] == [1, 2]
    assert _steps(folder, "job_2") == 0
    here.request("job_1", "cancel")
    assert [here.wait(i, 15) for i in ("job_1", "job_2", "job_3")] == [S.CANCELLED, S.COMPLETED, S.COMPLETED]
    ended, began = here.get("job_2").finished_at, here.get("job_3").started_at
    assert ended is not None
    assert began is not None
    assert ended <= began + 0.01


def test_a_killed_owner_reads_interrupted_at_once_and_another_resumes(
    folder: Path, start: Callable[..., Worker], here: JobManager
) -> None:
    a, b = start(), start()
    a.ready()("submit", "job_1", FOREVER)
    a("submit", "job_2", "3")
    b.ready()
    wait_until(lambda: _status(here, "job_1") is S.RUNNING and _steps(folder, "job_1") > 5)
    a.kill()
    wait_until(lambda: _status(here, "job_1") is S.INTERRUPTED)  # the heartbeat would take 20 s
    assert here.get("job_1").note == ENDED
    assert _status(here, "job_2") is S.INTERRUPTED  # it waited for a process that is no more
    reached = _steps(folder, "job_1")
    assert b("resume", "job_2") == "ok"
    assert here.wait("job_2", 15) is S.COMPLETED  # the dead one's lane is free
    assert b("resume", "job_1") == "ok"
    wait_until(lambda: _status(here, "job_1") is S.RUNNING and _steps(folder, "job_1") > reached)


@pytest.mark.parametrize("by_signal", [False, True])
def test_a_normal_end_pauses_first_and_so_does_sigterm(
    folder: Path, start: Callable[..., Worker], here: JobManager, by_signal: bool
) -> None:
    a = start().ready()
    a("submit", "job_1", FOREVER)
    a("submit", "job_2", "3")
    wait_until(lambda: _status(here, "job_1") is S.RUNNING)
    if by_signal:
        a.process.terminate()
        assert a.process.wait(20) == -signal.SIGTERM
    else:
        assert a.end() == 0
    assert [_status(here, i) for i in ("job_1", "job_2")] == [S.PAUSED, S.PAUSED]
    assert here.get("job_1").note == CLOSED
    progress = here.get("job_1").progress
    assert progress is not None
    assert progress.done == _steps(folder, "job_1")  # the writer was flushed
