from __future__ import annotations

import pytest

from saewidgets.events import Interruption, Request
from saewidgets.jobs.control import JobControl
from saewidgets.jobs.interactive import InteractiveQueue


@pytest.fixture
def checks() -> list[str]:
    return []


@pytest.fixture
def control(checks: list[str]) -> JobControl:
    return JobControl(InteractiveQueue("box/cpu", 5.0), lambda: checks.append("first"))


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


def test_a_stop_cannot_be_taken_back(control: JobControl) -> None:
    control.ask(Request.STOP)
    assert not control.withdraw()
    assert control.request() is Request.STOP
