"""Events go into the store in order, a few times a second, and then to subscribers; nothing is lost in silence."""

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from saewidgets.errors import CatalogError
from saewidgets.events import SAVING, JobStatus, LogLine, Metrics, Progress
from saewidgets.jobs.job_store import Recorded
from saewidgets.jobs.pump import Pump, Update
from saewidgets.records import JobRecord
from tests.jobs.conftest import wait_until


class Sink:
    """Stands in for a store: only `record` is called."""

    def __init__(self) -> None:
        self.batches: list[list[Recorded]] = []
        self.errors: list[Exception] = []
        self.poison: object = None

    def record(self, owner: str, batch: Sequence[Recorded]) -> None:
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
def pump(sink: Sink) -> Iterator[Pump]:
    pump = Pump(sink, "me", 0.05, 0.5)  # type: ignore[arg-type]
    yield pump
    pump.close()


def _state(status: JobStatus, job_id: str = "job") -> JobRecord:
    return JobRecord(id=job_id, kind="count", status=status, lane="box/cpu")


def test_all_is_written_in_order_and_of_several_progress_the_last_behind_the_rest(pump: Pump, sink: Sink) -> None:
    for i in range(100):
        pump.emit("job", None, Metrics(i, i, {"loss": 1.0}))
        pump.emit("job", None, Progress(i, 100))
    assert pump.flush()
    assert [e.step for e in sink.events if isinstance(e, Metrics)] == list(range(100))
    progress = [e.done for e in sink.events if isinstance(e, Progress)]
    assert progress[-1] == 99
    assert len(progress) < 100
    assert isinstance(sink.batches[-1][-1][2], Progress)


def test_subscribers_hear_of_stored_events_before_the_status(pump: Pump, sink: Sink) -> None:
    told: list[tuple[Update, bool]] = []
    pump.subscribe(lambda job_id, updates: told.extend((each, each[1] in sink.events) for each in updates))
    events = [LogLine("a"), Metrics(1, 1, {}), Progress(1, 2)]
    for event in events:
        pump.emit("job", "train_1", event)
    assert pump.flush()
    pump.tell(_state(JobStatus.COMPLETED))
    wait_until(lambda: len(told) == 4)
    assert told[:3] == [(("train_1", event), True) for event in events]
    assert told[3][0] == (None, _state(JobStatus.COMPLETED))


def test_what_was_measured_is_written_before_a_checkpoint_is(sink: Sink) -> None:
    pump = Pump(sink, "me", 60.0, 60.0)  # type: ignore[arg-type]
    pump.emit("other", None, LogLine("the first batch is written at once"))
    wait_until(lambda: sink.batches)
    pump.emit("job", None, Metrics(7, 448, {"loss": 1.0}))
    assert len(sink.batches) == 1
    pump.emit("job", None, Progress(448, 640, phase=SAVING))
    assert [type(event).__name__ for event in sink.events] == ["LogLine", "Metrics", "Progress"]
    pump.emit("job", None, Progress(448, 640, phase=SAVING))  # another run of the group: all is written
    assert len(sink.batches) == 2
    pump.close()


def test_an_event_that_cannot_be_written_is_reported_and_takes_no_other_with_it(
    pump: Pump, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    bad = Metrics(2, 2, {"loss": 0.0})
    sink.poison = bad
    with caplog.at_level(logging.ERROR):
        for event in (Metrics(1, 1, {}), bad, Metrics(3, 3, {})):
            pump.emit("job", None, event)
        assert pump.flush()
        wait_until(lambda: len(sink.events) == 2)
    assert [e.step for e in sink.events] == [1, 3]
    assert pump.lost == {"job": 1}
    assert "is lost" in caplog.text


def test_rounds_come_at_once_when_woken_and_go_on_after_an_error(sink: Sink, caplog: pytest.LogCaptureFixture) -> None:
    rounds: list[float] = []

    def tick() -> None:
        rounds.append(time.monotonic())
        if len(rounds) == 2:
            raise RuntimeError("a bug")

    pump = Pump(sink, "me", 0.01, 0.05, tick, lambda: False)  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        pump.wake()
        wait_until(lambda: len(rounds) >= 4)
    assert "a bug" in caplog.text
    pump.close()


def test_a_broken_subscriber_does_not_stop_the_others(pump: Pump, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Any] = []

    def broken(job_id: str, updates: Any) -> None:
        raise RuntimeError("broken view")

    ends = [pump.subscribe(broken), pump.subscribe(lambda job_id, updates: seen.append(job_id))]
    with caplog.at_level(logging.ERROR):
        pump.tell(_state(JobStatus.QUEUED, "a"))
        wait_until(lambda: seen == ["a"])
        pump.tell(_state(JobStatus.QUEUED, "b"))
        wait_until(lambda: seen == ["a", "b"])
    assert "broken view" in caplog.text
    for end in ends:
        end()
    pump.tell(_state(JobStatus.QUEUED, "c"))
    assert not pump.has_subscribers


def test_a_subscriber_may_flush_and_close(pump: Pump, sink: Sink) -> None:
    seen: list[bool] = []
    pump.subscribe(lambda job_id, updates: (seen.append(pump.flush()), pump.close()))
    pump.emit("job", None, LogLine("x"))
    wait_until(lambda: seen)
    assert seen[0]


def test_a_store_that_is_never_reached_does_not_fill_the_memory(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saewidgets.jobs.pump.MAX_PENDING", 10)
    sink.errors = [CatalogError("busy")] * 10_000
    pump = Pump(sink, "me", 0.01, 0.5)  # type: ignore[arg-type]
    pump.emit("job", None, LogLine("kept"))
    for step in range(30):
        pump.emit("job", None, Metrics(step, step, {}))
    sink.errors = []
    assert pump.flush()
    assert len(sink.events) + pump.lost["job"] == 31
    assert len(sink.events) <= 22  # ten that wait, and as many that its thread was writing
    assert [event.step for event in sink.events[-5:]] == [*range(25, 30)]
    pump.close()
