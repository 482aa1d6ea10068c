"""`Sinks`, `Feed`: hand the events of each run to its sinks, each in a thread of its own. Used by `ws.trainings`.

The run only puts events into a bounded queue and never waits: a sink that raises is named in the log once, one that is
slow loses events (`Progress` first), one that hangs is named, too, and all leave the run as it is.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from saewidgets.errors import ConfigError
from saewidgets.events import Emit, Event, Progress
from saewidgets.records import TrainingRecord
from saewidgets.training.runlog import RunLog

log = logging.getLogger(__name__)

CAPACITY = 2_000
"""Events that wait for a sink; when there are more, the oldest `Progress` goes, then the oldest of all."""
PATIENCE = 20
"""Errors in a row after which a sink gets no more events."""
HANGS = 30.0
"""Seconds that a sink may take over one event, to open or to close, before the log names it."""
_SECRET = re.compile(r"[A-Za-z0-9_-]{32,}")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The run that events are of.

    Attributes:
        id, name: of the training.
        config: its configuration as plain data; text that was given in memory is only referred to.
        group: what the runs of one job share; None for a run of its own.
    """

    id: str
    name: str
    config: Mapping[str, Any]
    group: str | None = None


class OpenSink(Protocol):
    """A sink for one run."""

    def __call__(self, event: Event) -> None:
        ...

    def close(self, status: str) -> None:
        """The run has left this process with this status (a `JobStatus` value, ``"paused"`` included)."""


class Sink(Protocol):
    """Something that opens a sink per run, such as `WandbSink`."""

    def open(self, run: RunInfo) -> OpenSink:
        """Begin; called in the sink's own thread."""


class Feed:
    """The queue and the thread of one sink of one run. `warn` is told, from there, what the run's log should say."""

    def __init__(self, open_sink: Callable[[], OpenSink], name: str, warn: Callable[[str], None]) -> None:
        self._open, self._name, self._warn = open_sink, name, warn
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._status: str | None = None
        self._errors = 0
        self._lost = 0
        self._warned = False
        self._began: float | None = None  # when the sink was called, while it is at work
        self._thread = threading.Thread(target=self._work, name=f"saewidgets-sink-{name}", daemon=True)
        self._thread.start()
        threading.Thread(target=self._watch, name=f"saewidgets-sink-{name}-watch", daemon=True).start()

    def put(self, event: Event) -> None:
        """Queue an event. Never waits for the sink, never raises."""
        with self._changed:
            if self._status is not None or self._errors >= PATIENCE:
                return
            if len(self._waiting) >= CAPACITY and not self._make_room(event):
                return
            self._waiting.append(event)
            self._changed.notify()

    def _make_room(self, event: Event) -> bool:
        """Drop the least important event; False where that is `event` itself."""
        if isinstance(event, Progress):
            return False
        oldest = next((i for i, each in enumerate(self._waiting) if isinstance(each, Progress)), 0)
        self._lost += not isinstance(self._waiting[oldest], Progress)
        del self._waiting[oldest]
        return True

    def end(self, status: str) -> None:
        """No more events come. What is queued is still handed over; nobody waits for it."""
        with self._changed:
            if self._status is not None:
                return
            self._status = status
            self._changed.notify()

    def give_up(self, seconds: float) -> None:
        """The process goes on, or ends, without it: say so, `seconds` after the end. Nothing is said of one at rest."""
        with self._changed:
            waiting, busy = len(self._waiting), self._began is not None
        if waiting or busy:
            self._say(f"{self._name} was not done after {seconds:g} s: {waiting:,} events were not handed over.")

    def _watch(self) -> None:
        """Name the sink, once, if it does not come back from a call."""
        while not self.join(HANGS / 4):
            began = self._began
            if began is not None and time.monotonic() - began >= HANGS:
                self._say(f"{self._name} has not answered for {HANGS:g} s. The run goes on without waiting for it.")
                return

    def join(self, seconds: float) -> bool:
        """Wait at most so long until everything is handed over; whether it is."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _call(self, function: Callable[..., Any], *given: Any) -> Any:
        self._began = time.monotonic()
        try:
            return function(*given)
        finally:
            self._began = None

    def _work(self) -> None:
        sink: OpenSink | None = None
        try:
            sink = self._call(self._open)
        except BaseException as error:  # noqa: BLE001 - whatever a sink raises is its own affair, an exit too
            self._failed("could not be opened", error, PATIENCE)
        while sink is not None:
            with self._changed:
                while not self._waiting and self._status is None:
                    self._changed.wait()
                if not self._waiting:
                    break
                event = self._waiting.popleft()
            try:
                self._call(sink, event)
                self._errors = 0
            except BaseException as error:  # noqa: BLE001
                self._failed("failed", error, 1)
                if self._errors >= PATIENCE:
                    break
        self._leave(sink)

    def _leave(self, sink: OpenSink | None) -> None:
        with self._changed:
            self._waiting.clear()
            while self._status is None:  # it gave up: close once the run has left
                self._changed.wait()
        if self._lost:
            self._warn(f"{self._name} is slower than the run: {self._lost:,} of its events were left out.")
        try:
            if sink is not None:
                self._call(sink.close, self._status)
        except BaseException as error:  # noqa: BLE001
            self._failed("could not be closed", error, 1)

    def _failed(self, what: str, error: BaseException, weight: int) -> None:
        with self._changed:
            self._errors += weight
        if self._warned:
            return
        self._warned = True
        text = _SECRET.sub("…", (str(error).splitlines() or [""])[0])[:200]  # a message may quote a key
        detail = f"{type(error).__name__}: {text}" if text else type(error).__name__
        self._say(f"{self._name} {what} ({detail}). The run goes on.")

    def _say(self, message: str) -> None:
        log.warning("%s", message)
        self._warn(message)


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
    """`on_event` as a list."""
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

    def keep(self, training_id: str, sinks: list[Any]) -> None:
        """Remember the sinks of a training (see `as_sinks`); a resumed run gets them again."""
        if sinks:
            with self._lock:
                self._kept[training_id] = sinks

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
        end = time.monotonic() + CLOSING
        with self._lock:
            feeds, self._feeds = self._feeds, []
        for feed in [feed for feed in feeds if not feed.join(end - time.monotonic())]:
            feed.give_up(CLOSING)


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
