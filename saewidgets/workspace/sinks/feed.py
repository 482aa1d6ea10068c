"""Hands the events of one run to one sink, in a thread of its own.

The run only puts events into a bounded queue and never waits: a sink that raises is named in the log once, one that is
slow or hangs loses events (`Progress` first), and both leave the run as it is.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from saewidgets.events import Event, Progress

log = logging.getLogger(__name__)

CAPACITY = 2_000
"""Events that wait for a sink; when there are more, the oldest `Progress` goes, then the oldest of all."""
PATIENCE = 20
"""Errors in a row after which a sink gets no more events."""
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
        """Take one event."""

    def close(self, status: str) -> None:
        """The run has left this process with this status (a `JobStatus` value, ``"paused"`` included)."""


class Sink(Protocol):
    """Something that opens a sink per run, such as `WandbSink`."""

    def open(self, run: RunInfo) -> OpenSink:
        """Begin; called in the sink's own thread."""


class Feed:
    """The queue and the thread of one sink of one run.

    Args:
        open_sink: begins the sink; called in the thread.
        name: what the sink is called in warnings.
        warn: told, from the thread, what the log of the run should say.
    """

    def __init__(self, open_sink: Callable[[], OpenSink], name: str, warn: Callable[[str], None]) -> None:
        self._open, self._name, self._warn = open_sink, name, warn
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._status: str | None = None
        self._errors = 0
        self._lost = 0
        self._warned = False
        self._thread = threading.Thread(target=self._work, name=f"saewidgets-sink-{name}", daemon=True)
        self._thread.start()

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
        oldest = next((i for i, each in enumerate(self._waiting) if isinstance(each, Progress)), None)
        if oldest is not None:
            del self._waiting[oldest]
        else:
            self._waiting.popleft()
            self._lost += 1
        return True

    def end(self, status: str) -> None:
        """No more events come. What is queued is still handed over; nobody waits for it."""
        with self._changed:
            if self._status is None:
                self._status = status
                self._changed.notify()

    def join(self, seconds: float) -> bool:
        """Wait at most so long until everything is handed over; whether it is."""
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    def _work(self) -> None:
        sink: OpenSink | None = None
        try:
            sink = self._open()
        except Exception as error:  # noqa: BLE001 - whatever a sink raises is its own affair
            self._failed("could not be opened", error, PATIENCE)
        while sink is not None:
            with self._changed:
                while not self._waiting and self._status is None:
                    self._changed.wait()
                if not self._waiting:
                    break
                event = self._waiting.popleft()
            try:
                sink(event)
                self._errors = 0
            except Exception as error:  # noqa: BLE001
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
                sink.close(self._status)
        except Exception as error:  # noqa: BLE001
            self._failed("could not be closed", error, 1)

    def _failed(self, what: str, error: Exception, weight: int) -> None:
        with self._changed:
            self._errors += weight
        if self._warned:
            return
        self._warned = True
        text = _SECRET.sub("…", (str(error).splitlines() or [""])[0])[:200]  # a message may quote a key
        detail = f"{type(error).__name__}: {text}" if text else type(error).__name__
        log.warning("The sink %s %s (%s).", self._name, what, detail)
        self._warn(f"{self._name} {what} ({detail}). The run goes on.")


def join_all(feeds: list[Feed], seconds: float) -> list[Feed]:
    """Wait at most `seconds` for all of them together. Returns those that are not done."""
    end = time.monotonic() + seconds
    return [feed for feed in feeds if not feed.join(end - time.monotonic())]
