"""What a running job is told, and interactive work that shares its lane."""

from __future__ import annotations

import threading
import time

import pytest

from saewidgets.events import Interruption, Request
from saewidgets.jobs.control import InteractiveQueue, JobControl


@pytest.fixture
def control() -> JobControl:
    return JobControl(InteractiveQueue("box/cpu", 5.0), lambda: None)


def test_check_raises_what_was_asked(control: JobControl) -> None:
    control.ask(Request.PAUSE)
    with pytest.raises(Interruption) as caught:
        control.check()
    assert caught.value.request is Request.PAUSE
    with pytest.raises(Interruption):  # and again, until it has unwound
        control.check()


def test_a_weaker_request_does_not_replace_a_stronger_one(control: JobControl) -> None:
    control.ask(Request.STOP)
    control.ask(Request.PAUSE)
    assert not control.withdraw()
    assert control.request() is Request.STOP
    control.ask(Request.CANCEL)
    assert control.request() is Request.CANCEL


def test_a_pause_can_be_taken_back_until_it_was_seen(control: JobControl) -> None:
    control.ask(Request.PAUSE)
    assert control.withdraw()
    control.check()
    control.ask(Request.PAUSE)
    assert control.request() is Request.PAUSE
    assert not control.withdraw()


def test_a_checkpoint_is_asked_for_once(control: JobControl) -> None:
    assert not control.take_checkpoint_request()
    control.ask_checkpoint()
    assert control.take_checkpoint_request()
    assert not control.take_checkpoint_request()
    control.check()  # it interrupts nothing


def test_at_once_in_a_worker_when_the_lane_is_free() -> None:
    queue = InteractiveQueue("box/cpu", patience=60.0)
    assert queue.submit(lambda: threading.current_thread().name).result(10) == "saewidgets-interactive-box/cpu"
    assert queue.submit(lambda: 2).result(10) == 2


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


def test_an_error_reaches_only_the_caller() -> None:
    queue = InteractiveQueue("box/cpu", patience=60.0)
    queue.enter()
    failing, good = queue.submit(lambda: 1 / 0), queue.submit(lambda: 1)
    queue.drain()
    with pytest.raises(ZeroDivisionError):
        failing.result(0)
    assert good.result(0) == 1
    queue.leave()


def test_cancelled_work_is_not_run() -> None:
    queue = InteractiveQueue("box/cpu", patience=60.0)
    queue.enter()
    ran: list[int] = []
    future = queue.submit(lambda: ran.append(1))
    assert future.cancel()
    queue.drain()
    assert ran == []
    queue.leave()
