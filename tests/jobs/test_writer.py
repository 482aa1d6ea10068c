from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from saewidgets.errors import CatalogError
from saewidgets.events import LogLine, Metrics, Progress
from saewidgets.jobs.store import Recorded
from saewidgets.jobs.writer import EventWriter
from tests.jobs.conftest import wait_until


class Sink:
    """Stands in for a store: only `record` is called."""

    def __init__(self) -> None:
        self.batches: list[list[Recorded]] = []
        self.errors: list[Exception] = []
        self.threads: set[str] = set()
        self.poison: object = None

    def record(self, owner: str, batch: Sequence[Recorded]) -> None:
        self.threads.add(threading.current_thread().name)
        if self.errors:
            raise self.errors.pop(0)
        if any(event == self.poison for _, _, event in batch):
            raise TypeError("this event cannot be written")
        self.batches.append(list(batch))

    @property
    def events(self) -> list[Any]:
        return [event for batch in self.batches for _, _, event in batch]


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def writer(sink: Sink) -> Iterator[EventWriter]:
    writer = EventWriter(sink, "me", 0.05)  # type: ignore[arg-type]
    yield writer
    writer.close()


def test_one_thread_writes_all_in_order(writer: EventWriter, sink: Sink) -> None:
    for i in range(100):
        writer.put("job", None, Metrics(i, i, {"loss": 1.0}))
    assert writer.flush(10)
    assert [e.step for e in sink.events] == list(range(100))
    assert sink.threads == {"saewidgets-writer"}


def test_of_several_progress_the_last_is_written_behind_the_rest(writer: EventWriter, sink: Sink) -> None:
    writer.put("warm-up", None, LogLine("x"))
    writer.flush(10)
    for i in range(50):
        writer.put("job", None, Progress(i, 50))
    writer.put("job", None, LogLine("after"))
    writer.flush(10)
    progress = [e.done for e in sink.events if isinstance(e, Progress)]
    assert progress[-1] == 49
    assert len(progress) < 50
    assert isinstance(sink.batches[-1][-1][2], Progress)


def test_who_is_told_of_an_event_finds_it_in_the_store(sink: Sink) -> None:
    told: list[tuple[str, bool]] = []
    writer = EventWriter(sink, "me", 0.01, lambda job_id, event: told.append((job_id, event in sink.events)))  # type: ignore[arg-type]
    events = [LogLine("a"), Progress(1, 2), Metrics(1, 1, {})]
    for event in events:
        writer.put("job", None, event)
    assert writer.flush(10)  # "flushed" means told, too
    assert told == [("job", True)] * 3
    writer.close()


def test_a_busy_store_is_tried_again(writer: EventWriter, sink: Sink) -> None:
    sink.errors = [CatalogError("busy"), CatalogError("busy")]
    writer.put("job", None, LogLine("kept"))
    assert writer.flush(10)
    assert sink.events == [LogLine("kept", time=sink.events[0].time)]
    assert writer.lost == {}


def test_an_event_that_cannot_be_written_is_reported_and_takes_no_other_with_it(
    writer: EventWriter, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    bad = Metrics(2, 2, {"loss": 0.0})
    sink.poison = bad
    with caplog.at_level(logging.ERROR):
        for event in (Metrics(1, 1, {}), bad, Metrics(3, 3, {})):
            writer.put("job", None, event)
        assert writer.flush(10)
    assert [e.step for e in sink.events] == [1, 3]
    assert writer.lost == {"job": 1}
    assert "is lost" in caplog.text


def test_close_writes_what_is_left_and_ends_the_thread(writer: EventWriter, sink: Sink) -> None:
    for i in range(10):
        writer.put("job", None, Metrics(i, i, {}))
    writer.close()
    assert len(sink.events) == 10
    wait_until(lambda: not any(t.name == "saewidgets-writer" and t.is_alive() for t in threading.enumerate()))
    assert writer.flush(0.1)
