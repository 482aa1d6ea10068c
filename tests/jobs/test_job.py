import threading
import time
from typing import Any

import pytest

from saewidgets.errors import SAEWidgetsError
from saewidgets.events import JobStatus
from saewidgets.jobs import JobManager
from saewidgets.records import ErrorInfo
from tests.jobs.conftest import Endless, submit, wait_until


def test_wait_gives_the_status_when_the_time_runs_out(manager: JobManager) -> None:
    job = submit(manager, Endless())
    started = time.monotonic()
    assert job.wait(0.05) in (JobStatus.QUEUED, JobStatus.STARTING, JobStatus.RUNNING)
    assert time.monotonic() - started < 5
    with pytest.raises(TimeoutError, match=job.id):
        job.result(0.01)


def test_the_error_of_a_job_that_failed_elsewhere(manager: JobManager, store: object) -> None:
    block = threading.Event()
    job = submit(manager, lambda _: block.wait(10))
    wait_until(lambda: job.status is JobStatus.STARTING)
    error = ErrorInfo("Loss became NaN.", hint="Lower the learning rate.")
    store.change(job.id, {"status": JobStatus.FAILED, "error": error}, when={JobStatus.STARTING})  # type: ignore[attr-defined]
    with pytest.raises(SAEWidgetsError, match=r"Loss became NaN\. Lower the learning rate"):
        job.result(5)
    block.set()


@pytest.mark.parametrize("fails", [False, True])
def test_the_result_is_available_once_the_row_is_written(
    manager: JobManager, store: Any, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    change = store.change

    def slow(job_id: str, changes: dict[str, Any], **conditions: Any) -> Any:
        changed = change(job_id, changes, **conditions)
        if "result" in changes:  # whoever looks sees the end; the thread that wrote it does not know yet
            time.sleep(0.3)
        return changed

    def run(_: Any) -> Any:
        if fails:
            raise ZeroDivisionError("own words")
        return value

    monkeypatch.setattr(store, "change", slow)
    value = object()
    job = submit(manager, run)
    if fails:
        with pytest.raises(ZeroDivisionError, match="own words"):
            job.result(10)
    else:
        assert job.result(10) is value
