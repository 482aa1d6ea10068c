"""What a running job is told, and interactive work that shares its lane."""

import time

import pytest

from saewidgets.jobs.control import InteractiveQueue, JobControl


@pytest.fixture
def control() -> JobControl:
    return JobControl(InteractiveQueue("box/cpu", 5.0), lambda: None)


def test_a_checkpoint_is_asked_for_once(control: JobControl) -> None:
    assert not control.take_checkpoint_request()
    control.ask_checkpoint()
    assert control.take_checkpoint_request()
    assert not control.take_checkpoint_request()
    control.check()  # it interrupts nothing


def test_between_two_batches_of_the_holder_in_order() -> None:
    queue = InteractiveQueue("box/cpu", patience=60.0)
    queue.enter()
    done: list[int] = []
    futures = [queue.submit(lambda i=i: done.append(i)) for i in range(3)]
    assert not any(f.done() for f in futures)
    queue.drain()
    assert done == [0, 1, 2]
    assert all(f.done() for f in futures)
    queue.leave()


def test_what_waits_when_the_holder_leaves_runs_in_the_worker() -> None:
    queue = InteractiveQueue("box/cpu", patience=60.0)
    queue.enter()
    future = queue.submit(lambda: "ran")
    queue.leave()
    assert future.result(10) == "ran"


def test_beside_a_holder_that_reaches_no_pause_point() -> None:
    queue = InteractiveQueue("box/cpu", patience=0.05)
    queue.enter()
    started = time.monotonic()
    assert queue.submit(lambda: "ran").result(10) == "ran"
    assert time.monotonic() - started >= 0.04


def test_cancelled_work_is_not_run() -> None:
    queue = InteractiveQueue("box/cpu", patience=60.0)
    queue.enter()
    ran: list[int] = []
    future = queue.submit(lambda: ran.append(1))
    assert future.cancel()
    queue.drain()
    assert ran == []
    queue.leave()
