"""Reading ahead: in order, errors behind what came before them, and whoever waits can be interrupted."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from saewidgets.activations.packing import read_ahead


def _take(items: Iterator[int], found: list[int]) -> None:
    for item in items:
        found.append(item)


def test_items_come_in_order_and_errors_behind_them() -> None:
    def items() -> Iterator[int]:
        yield from range(20)
        raise OSError("gone")

    found: list[int] = []
    with pytest.raises(OSError, match="gone"):
        _take(read_ahead(items(), lambda: None), found)
    assert found == list(range(20))
    assert list(read_ahead(iter("abc"), lambda: None)) == ["a", "b", "c"]


def test_who_waits_for_a_silent_hub_can_be_interrupted() -> None:
    never, asked = threading.Event(), 0

    def items() -> Iterator[int]:
        yield 1
        never.wait()

    class Cancelled(Exception):  # noqa: N818 - not an error
        pass

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise Cancelled

    found: list[int] = []
    with pytest.raises(Cancelled):
        _take(read_ahead(items(), check), found)
    assert found == [1]
    never.set()


def test_no_more_is_read_ahead_than_a_few_and_nothing_after_the_end() -> None:
    made: list[int] = []
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            for number in range(10_000):
                made.append(number)
                yield number
        finally:
            closed.set()

    ahead = read_ahead(items(), lambda: None)
    assert next(ahead) == 0
    ahead.close()  # type: ignore[attr-defined] # a generator
    assert closed.wait(60)
    assert len(made) < 10
