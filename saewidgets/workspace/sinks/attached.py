"""Which sinks belong to which training, while this process has them. They are code, so nothing of them is stored."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from saewidgets.errors import ConfigError
from saewidgets.events import Emit, Event
from saewidgets.records import TrainingRecord
from saewidgets.training.runlog import RunLog
from saewidgets.workspace.sinks.feed import Feed, OpenSink, RunInfo, Sink, join_all

CLOSING = 5.0
"""Seconds that a workspace that is closed waits for what its sinks have not taken."""
OnEvent = Callable[[Event], None] | Sink | Sequence[Any] | None
"""What `on_event` takes: a function of an event, an object with ``open(run)`` such as `WandbSink`, or several."""


class _Plain:
    """A function as a sink."""

    def __init__(self, function: Callable[[Event], None]) -> None:
        self._function = function

    def __call__(self, event: Event) -> None:
        self._function(event)

    def close(self, status: str) -> None:
        pass


def as_sinks(on_event: OnEvent) -> list[Any]:
    """`on_event` as a list.

    Raises:
        ConfigError: something in it is neither a function nor a sink.
    """
    if on_event is None:
        return []
    given = list(on_event) if isinstance(on_event, list | tuple) else [on_event]
    for each in given:
        if not (callable(getattr(each, "open", None)) or callable(each)):
            raise ConfigError(
                f"A {type(each).__name__} cannot take events.", where="on_event",
                hint="Give a function of one event, a WandbSink or a TrackioSink, or a list of these.",
            )
    return given


class Sinks:
    """The sinks of the trainings that this process has started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, list[Any]] = {}
        self._feeds: list[Feed] = []

    def keep(self, training_id: str, on_event: OnEvent) -> None:
        """Remember the sinks of a training; a resumed run gets them again.

        Raises:
            ConfigError: something in `on_event` is neither a function nor a sink.
        """
        if given := as_sinks(on_event):
            with self._lock:
                self._kept[training_id] = given

    def forget(self, training_id: str) -> None:
        """The training is gone."""
        with self._lock:
            self._kept.pop(training_id, None)

    def fed(self, record: TrainingRecord, emit: Emit) -> Feeds:
        """For the time that a run is in this process: what it emits goes to `emit` and to its sinks."""
        with self._lock:
            given = self._kept.get(record.id, [])
            self._feeds = [feed for feed in self._feeds if not feed.join(0)]
        feeds = Feeds(record, emit, given)
        with self._lock:
            self._feeds += feeds.all
        return feeds

    def close(self) -> None:
        """Wait a moment until what was emitted is handed over; the logs of the runs name what was not done by then."""
        seconds = CLOSING
        with self._lock:
            feeds, self._feeds = self._feeds, []
        for feed in join_all(feeds, seconds):
            feed.give_up(seconds)


class Feeds:
    """The sinks of one run while it is in this process; a context manager that ends them.

    Attributes:
        status: what the sinks are told at the end; ``"failed"`` where the block raises.
    """

    def __init__(self, record: TrainingRecord, emit: Emit, given: list[Any]) -> None:
        self.status = "completed"
        self._emit = emit
        self._log = RunLog(Path(record.folder), emit)
        info = RunInfo(record.id, record.name, record.config, record.group_id)
        self.all = [Feed(_opener(each, info), _name_of(each), self._log.warning) for each in given]

    def emit(self, event: Event) -> None:
        """Pass an event on."""
        self._emit(event)
        for feed in self.all:
            feed.put(event)

    def __enter__(self) -> Feeds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for feed in self.all:
            feed.end(self.status if kind is None else "failed")


def _opener(sink: Any, info: RunInfo) -> Callable[[], OpenSink]:
    if callable(getattr(sink, "open", None)):
        return lambda: sink.open(info)
    return lambda: _Plain(sink)


def _name_of(sink: Any) -> str:
    label = getattr(sink, "label", None) or getattr(sink, "__name__", None)
    return str(label) if label else type(sink).__name__
