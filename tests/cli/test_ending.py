"""How what is watched from a terminal tells its phase and its failure."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from saewidgets.cli.ending import failure, phase
from saewidgets.cli.session import FAILED, NOT_FOUND, USAGE, session
from saewidgets.events import JobStatus, Progress
from saewidgets.records import ErrorInfo


@dataclass(frozen=True)
class Record:
    status: JobStatus
    progress: Progress | None = None
    queue_position: int | None = None
    error: ErrorInfo | None = None


def test_a_phase_is_what_it_does_else_where_it_stands() -> None:
    at_work = Progress(1, 2, phase="reading")
    assert phase(Record(JobStatus.RUNNING, at_work)) == "reading"
    assert phase(Record(JobStatus.PAUSED, at_work)) == "paused"
    assert phase(Record(JobStatus.QUEUED, queue_position=2)) == "queued, number 2"


@pytest.mark.parametrize(("kind", "code"), [("config", USAGE), ("not_found", NOT_FOUND), ("error", FAILED)])
def test_a_failure_is_told_with_its_hint_and_ends_with_its_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str, code: int
) -> None:
    error = ErrorInfo(kind=kind, what="It is not here.", where="model", hint="Name it.", traceback="Traceback: line 7")
    record = Record(JobStatus.FAILED, error=error)
    assert failure(record, otherwise="The job is failed.").exit_code == code
    assert capsys.readouterr().err == "Error: model: It is not here. Name it.\n"
    monkeypatch.setattr(session, "debug", True)
    failure(record, first="train_1 failed.")
    assert capsys.readouterr().err == "Error: train_1 failed. model: It is not here. Name it.\nTraceback: line 7\n"
