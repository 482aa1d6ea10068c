"""Watching from a terminal: what is shown, Ctrl-C as Pause, and nobody left waiting."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import typer

from saewidgets.cli.follow import Kind, failure, follow, phase
from saewidgets.cli.session import FAILED, NOT_FOUND, PAUSED, USAGE, session
from saewidgets.errors import StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.records import ErrorInfo, JobRecord

GOING = JobRecord("job_1", "download", JobStatus.RUNNING, "here/hub", Progress(500, 2000, rate=100.0, eta_seconds=15.0))
KIND = Kind(("resume",), lost="it goes on.")


class Job:
    """Goes through `statuses`, one a look, and stays in the last; Ctrl-C comes at the looks named."""

    def __init__(self, statuses: list[JobStatus], ctrl_c_at: tuple[int, ...] = ()) -> None:
        self._statuses, self._ctrl_c_at, self._looks = statuses, ctrl_c_at, 0
        self.id = "job_1"
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
    return follow(job, KIND)


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
    assert "Pausing (Ctrl-C again to leave at once) …" in err
    assert "Paused: 500 of 2,000 tokens.\nResume it with: " in err
    assert err.splitlines()[-1].endswith(" resume job_1")


def test_a_second_ctrl_c_leaves_without_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    job = Job([JobStatus.RUNNING], ctrl_c_at=(1, 3))
    with pytest.raises(typer.Exit):
        _watch(job)
    assert job.pauses == 1, "it was asked, although nobody waits for it"
    assert "Left without waiting; it goes on.\nResume it with: " in capsys.readouterr().err


def test_a_job_that_ends_during_a_pause_request_has_ended() -> None:
    job = Job([JobStatus.RUNNING, JobStatus.RUNNING, JobStatus.COMPLETED], ctrl_c_at=(1,))
    job.refuses = True
    assert _watch(job).status is JobStatus.COMPLETED
    job = Job([JobStatus.RUNNING], ctrl_c_at=(1,))
    job.refuses = True
    with pytest.raises(StateError, match="ended"):
        _watch(job)


@dataclass(frozen=True)
class Record:
    status: JobStatus
    id: str = "job_1"
    progress: Progress | None = None
    queue_position: int | None = None
    error: ErrorInfo | None = None


def test_a_phase_falls_back_to_the_status() -> None:
    at_work = Progress(1, 2, phase="reading")
    assert phase(Record(JobStatus.RUNNING, progress=at_work)) == "reading"
    assert phase(Record(JobStatus.PAUSED, progress=at_work)) == "paused"
    assert phase(Record(JobStatus.QUEUED, queue_position=2)) == "queued, number 2"


@pytest.mark.parametrize(("kind", "code"), [("config", USAGE), ("not_found", NOT_FOUND), ("error", FAILED)])
def test_a_failure_prints_its_hint_and_sets_the_exit_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str, code: int
) -> None:
    error = ErrorInfo(kind=kind, what="It is not here.", where="model", hint="Name it.", traceback="Traceback: line 7")
    record = Record(JobStatus.FAILED, error=error)
    assert failure(record, "train_1").exit_code == code
    assert capsys.readouterr().err == "Error: train_1 failed. model: It is not here. Name it.\n"
    monkeypatch.setattr(session, "debug", True)
    failure(record, "train_1")
    assert capsys.readouterr().err.endswith("Name it.\nTraceback: line 7\n")


def test_a_cancelled_job_has_no_reason(capsys: pytest.CaptureFixture[str]) -> None:
    leave = failure(Record(JobStatus.CANCELLED), "job_1")
    assert (leave.exit_code, capsys.readouterr().err) == (FAILED, "Error: job_1 cancelled.\n")
