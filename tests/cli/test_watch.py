"""Watching from a terminal: what is shown, Ctrl-C as Pause, and nobody left waiting."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest
import typer

from saewidgets.cli.display import Look
from saewidgets.cli.session import PAUSED
from saewidgets.cli.watch import watch
from saewidgets.errors import StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.records import JobRecord

GOING = JobRecord("job_1", "download", JobStatus.RUNNING, "here/hub", Progress(500, 2000, rate=100.0, eta_seconds=15.0))
LOOK: Look[JobRecord] = Look(lambda record: record.progress and (record.progress.done, record.progress.total))


class Job:
    """Goes through `statuses`, one a look, and stays in the last; Ctrl-C comes at the looks named."""

    def __init__(self, statuses: list[JobStatus], ctrl_c_at: tuple[int, ...] = ()) -> None:
        self._statuses, self._ctrl_c_at, self._looks = statuses, ctrl_c_at, 0
        self.pauses = 0
        self.refuses = False

    @property
    def record(self) -> JobRecord:
        if self._looks in self._ctrl_c_at:
            os.kill(os.getpid(), signal.SIGINT)
        status = self._statuses[min(self._looks, len(self._statuses) - 1)]
        self._looks += 1
        return replace(GOING, status=status)

    def pause(self) -> None:
        self.pauses += 1
        if self.refuses:
            raise StateError("It has ended.")


def _watch(job: Job) -> JobRecord:
    return watch(
        job, LOOK, quiet=False, pausing="Pausing.", left="Left.", resume=("resume", "job_1"),
        paused=lambda record: f"Paused: {record.status.value}.",
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _ctrl_c_is_given_back() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def test_it_is_shown_until_it_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert _watch(Job([JobStatus.RUNNING, JobStatus.RUNNING, JobStatus.COMPLETED])).status is JobStatus.COMPLETED
    first, last = capsys.readouterr().err.splitlines()
    assert first == "running: 500 of 2,000 tokens, 100 tokens/s, 15 s left"
    assert last == "completed: 500 of 2,000 tokens"


def test_ctrl_c_pauses_once(capsys: pytest.CaptureFixture[str]) -> None:
    job = Job([JobStatus.RUNNING] * 4 + [JobStatus.PAUSED], ctrl_c_at=(1,))
    with pytest.raises(typer.Exit) as ended:
        _watch(job)
    assert ended.value.exit_code == PAUSED
    assert job.pauses == 1
    err = capsys.readouterr().err
    assert "Pausing." in err
    assert "Paused: paused.\nResume it with: " in err
    assert err.splitlines()[-1].endswith(" resume job_1")


def test_a_second_ctrl_c_leaves_without_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    job = Job([JobStatus.RUNNING], ctrl_c_at=(1, 3))
    with pytest.raises(typer.Exit):
        _watch(job)
    assert job.pauses == 1, "it was asked, although nobody waits for it"
    assert "Left.\nResume it with: " in capsys.readouterr().err


def test_what_ends_while_it_is_asked_to_pause_has_ended() -> None:
    job = Job([JobStatus.RUNNING, JobStatus.RUNNING, JobStatus.COMPLETED], ctrl_c_at=(1,))
    job.refuses = True
    assert _watch(job).status is JobStatus.COMPLETED
    job = Job([JobStatus.RUNNING], ctrl_c_at=(1,))
    job.refuses = True
    with pytest.raises(StateError, match="ended"):
        _watch(job)
