"""Slow questions: on threads of their own, the newest of a kind counts."""

from __future__ import annotations

import threading
import time

import pytest

from saewidgets.errors import StateError
from saewidgets.widgets.download import lookups as module
from saewidgets.widgets.download.lookups import Lookups, SupersededError


def test_an_answer_and_an_error_arrive() -> None:
    lookups = Lookups()
    assert lookups.ask("list", lambda: 7).result(5) == 7

    def broken() -> None:
        raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError):
        lookups.ask("list", broken).result(5)


def test_a_newer_question_of_the_kind_ends_the_older_at_once() -> None:
    lookups, hang = Lookups(), threading.Event()
    old = lookups.ask("list a", lambda: hang.wait(10))
    other = lookups.ask("preview a", lambda: hang.wait(10))
    started = time.monotonic()
    new = lookups.ask("list a", lambda: "new")
    with pytest.raises(SupersededError):
        old.result(5)
    assert new.result(5) == "new"
    assert time.monotonic() - started < 8  # the older ones take 10
    assert not other.done()
    hang.set()
    assert other.result(5) is True


def test_the_late_answer_of_a_superseded_question_is_dropped() -> None:
    lookups, hang = Lookups(), threading.Event()
    old = lookups.ask("list", lambda: hang.wait(10) and "late")
    lookups.ask("list", lambda: "new").result(5)
    hang.set()
    time.sleep(0.05)
    with pytest.raises(SupersededError):
        old.result(0)


def test_a_hub_that_hangs_is_not_asked_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    lookups, hang = Lookups(), threading.Event()
    for _ in range(3):
        lookups.ask("list", lambda: hang.wait(10))
    with pytest.raises(StateError, match="3 earlier questions"):
        lookups.ask("list", lambda: None)
    hang.set()
    for _ in range(100):
        try:
            assert lookups.ask("list", lambda: 1).result(5) == 1
            break
        except StateError:
            time.sleep(0.02)
    else:
        pytest.fail("its threads never ended")


def test_close_ends_what_waits() -> None:
    lookups, hang = Lookups(), threading.Event()
    waiting = lookups.ask("list", lambda: hang.wait(10))
    lookups.close()
    lookups.close()
    with pytest.raises(SupersededError):
        waiting.result(5)
    with pytest.raises(StateError, match="closed"):
        lookups.ask("list", lambda: None)
    hang.set()
