"""A sink is fed by a thread of its own: nothing it does reaches the run."""

import threading

import pytest

from saewidgets.events import LogLine, Metrics, Progress
from saewidgets.workspace.sinks import feed as module
from saewidgets.workspace.sinks.feed import CAPACITY, Feed

WAIT = 10.0


class Collecting:
    def __init__(self, raises=None):
        self.events, self.status, self.raises = [], None, raises

    def __call__(self, event):
        self.events.append(event)
        if self.raises is not None:
            raise self.raises

    def close(self, status):
        self.status = status


def _metrics(step):
    return Metrics(step, step * 10, {"loss": 1.0})


def test_events_arrive_in_order_and_the_end_closes_it():
    sink, warned = Collecting(), []
    feed = Feed(lambda: sink, "mine", warned.append)
    events = [_metrics(step) for step in range(50)]
    for event in events:
        feed.put(event)
    feed.end("completed")
    feed.put(_metrics(99))  # after the end: nobody
    assert feed.join(WAIT)
    assert sink.events == events
    assert (sink.status, warned) == ("completed", [])


def test_a_sink_that_raises_is_named_once_and_still_gets_events():
    sink, warned = Collecting(ValueError("no route to host")), []
    feed = Feed(lambda: sink, "mine", warned.append)
    for step in range(5):
        feed.put(_metrics(step))
    feed.end("failed")
    assert feed.join(WAIT)
    assert len(sink.events) == 5
    assert sink.status == "failed"
    assert warned == ["mine failed (ValueError: no route to host). The run goes on."]


def test_a_sink_that_cannot_be_opened_costs_nothing():
    def broken():
        raise OSError("bad key 0123456789abcdef0123456789abcdef01234567 for you")

    warned = []
    feed = Feed(broken, "mine", warned.append)
    feed.end("completed")
    assert feed.join(WAIT)
    feed.put(_metrics(1))
    assert warned == ["mine could not be opened (OSError: bad key … for you). The run goes on."]  # no key in a log


def test_a_sink_that_hangs_loses_progress_first_and_never_blocks_the_run():
    entered, release = threading.Event(), threading.Event()
    seen, warned = [], []

    class Hanging(Collecting):
        def __call__(self, event):
            entered.set()
            release.wait(WAIT)
            seen.append(event)

    feed = Feed(Hanging, "mine", warned.append)
    feed.put(LogLine("first"))
    assert entered.wait(WAIT)
    feed.put(Progress(1, 10))
    for step in range(CAPACITY + 2):  # one makes room by the progress, two by the oldest metrics
        feed.put(_metrics(step))
    feed.put(Progress(2, 10))  # no room for it
    assert not feed.join(0)
    feed.end("completed")
    release.set()
    assert feed.join(WAIT)
    assert [event.step for event in seen[1:]] == list(range(2, CAPACITY + 2))
    assert warned == ["mine is slower than the run: 2 of its events were left out."]


@pytest.mark.parametrize("leaves", [SystemExit(3), KeyboardInterrupt("stop"), GeneratorExit()])
def test_a_sink_that_wants_to_leave_is_named_like_any_other(leaves):
    sink, warned = Collecting(leaves), []
    feed = Feed(lambda: sink, "mine", warned.append)
    for step in range(3):
        feed.put(_metrics(step))
    feed.end("completed")
    assert feed.join(WAIT)
    assert (len(sink.events), sink.status) == (3, "completed")
    assert warned == [f"mine failed ({_shown(leaves)}). The run goes on."]


def _shown(error):
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class Stuck:
    """Waits to be released where it is told to."""

    def __init__(self, where):
        self.where, self.entered, self.release = where, threading.Event(), threading.Event()

    def open(self):
        self._wait("open")
        return self

    def __call__(self, event):
        self._wait("event")

    def close(self, status):
        self._wait("close")

    def _wait(self, where):
        if where == self.where:
            self.entered.set()
            self.release.wait(WAIT)


@pytest.mark.parametrize("where", ["open", "event", "close"])
def test_a_sink_that_hangs_is_named_although_nothing_was_lost(where, monkeypatch):
    monkeypatch.setattr(module, "HANGS", 0.2)
    sink, told = Stuck(where), threading.Event()
    warned = []
    feed = Feed(sink.open, "mine", lambda message: (warned.append(message), told.set()))
    feed.put(_metrics(1))
    feed.end("completed")  # a short run: no event comes that would show it
    assert sink.entered.wait(WAIT)
    assert told.wait(WAIT)
    feed.give_up(5)
    sink.release.set()
    assert feed.join(WAIT)
    waiting = 1 if where == "open" else 0
    assert warned == [
        "mine has not answered for 0.2 s. The run goes on without waiting for it.",
        f"mine was not done after 5 s: {waiting} events were not handed over.",
    ]
    feed.give_up(5)
    assert len(warned) == 2  # at rest
