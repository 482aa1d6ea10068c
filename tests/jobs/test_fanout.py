from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from saewidgets.events import JobStatus, Metrics, Progress
from saewidgets.jobs import fanout
from saewidgets.jobs.fanout import Fanout
from saewidgets.records import JobRecord
from tests.jobs.conftest import wait_until


def _state(status: JobStatus) -> JobRecord:
    return JobRecord(id="job", kind="count", status=status, lane="box/cpu")


@pytest.fixture
def fan() -> Iterator[Fanout]:
    fan = Fanout(0.05)
    yield fan
    fan.close()


def test_at_most_ten_times_a_second_and_the_last_progress_counts(fan: Fanout) -> None:
    calls: list[tuple[float, Any]] = []
    fan.subscribe(lambda job_id, updates: calls.append((time.monotonic(), updates)))
    until = time.monotonic() + 0.4
    i = 0
    while time.monotonic() < until:
        i += 1
        fan.put("job", Progress(i, 10_000))
        time.sleep(0.001)
    wait_until(lambda: calls[-1][1][-1].done == i)
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(calls)]
    assert min(gaps) > 0.04
    assert all(len(updates) == 1 for _, updates in calls)


def test_changes_of_status_come_at_once_and_none_is_dropped(fan: Fanout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "MAX_PENDING", 10)
    release, seen = threading.Event(), []

    def slow(job_id: str, updates: Any) -> None:
        release.wait(10)
        seen.extend(updates)

    fan.subscribe(slow)
    order = [JobStatus.QUEUED, JobStatus.STARTING, JobStatus.RUNNING, JobStatus.COMPLETED]
    for status in order:
        fan.put("job", _state(status))
        for step in range(30):
            fan.put("job", Metrics(step, step, {}))
        fan.put("job", Progress(1, 2))
    release.set()
    wait_until(lambda: [u.status for u in seen if isinstance(u, JobRecord)] == order)
    assert sum(isinstance(u, Metrics) for u in seen) < 120


def test_progress_keeps_its_place_before_a_change_of_status(fan: Fanout) -> None:
    seen: list[Any] = []
    hold = threading.Event()
    fan.subscribe(lambda job_id, updates: (hold.wait(10), seen.extend(updates)))
    fan.put("job", _state(JobStatus.RUNNING))
    fan.put("job", Progress(9, 9))
    fan.put("job", _state(JobStatus.COMPLETED))
    hold.set()
    wait_until(lambda: len(seen) == 3)
    assert [type(u).__name__ for u in seen] == ["JobRecord", "Progress", "JobRecord"]


def test_a_broken_subscriber_does_not_stop_the_others(fan: Fanout, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    def broken(job_id: str, updates: Any) -> None:
        raise RuntimeError("broken view")

    fan.subscribe(broken)
    fan.subscribe(lambda job_id, updates: seen.append(job_id))
    with caplog.at_level(logging.ERROR):
        fan.put("a", _state(JobStatus.QUEUED))
        wait_until(lambda: seen == ["a"])
        fan.put("b", _state(JobStatus.QUEUED))
        wait_until(lambda: seen == ["a", "b"])
    assert "broken view" in caplog.text
