"""`Sinks` passes the events of a run to other places: a function, `WandbSink` (``pip install saewidgets[wandb]``) or
`TrackioSink` (``pip install saewidgets[trackio]``). Used by `ws.trainings`.

Sinks are subscribers of the pump, like widgets, each with a bounded queue and a thread of its own. None of them can
stop or slow a run: one that raises is named in the log once, one that is slow or hangs loses events (`Progress` first).
"""

from __future__ import annotations

import importlib.util
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.events import Emit, Event, Facts, JobStatus, Metrics, Progress
from saewidgets.records import JobRecord, TrainingRecord
from saewidgets.training.progress import RunLog
from saewidgets.workspace.tasks import News

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

log = logging.getLogger(__name__)

CAPACITY = 2_000  # events that wait for a sink; of more the oldest `Progress` goes, then the oldest of all
PATIENCE = 20  # errors in a row after which a sink gets no more events
CLOSING = 5.0  # seconds that a workspace that is closed waits for what its sinks have not taken
_SECRET = re.compile(r"[A-Za-z0-9_-]{32,}")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The training that events are of."""

    id: str
    name: str
    config: Mapping[str, Any]  # text that was given in memory is only referred to
    group: str | None = None  # what the runs of one job share


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


OnEvent = Callable[[Event], None] | Sink | Sequence[Any] | None
"""What `on_event` takes: a function of an event, an object with ``open(run)`` such as `WandbSink`, or several."""


def as_sinks(on_event: OnEvent) -> list[Any]:
    """`on_event` as a list."""
    if on_event is None:
        return []
    given = list(on_event) if isinstance(on_event, list | tuple) else [on_event]
    for each in given:
        if not (callable(getattr(each, "open", None)) or callable(each)):
            raise ConfigError(
                f"Not a receiver of events: {type(each).__name__}.", where="on_event",
                hint="Give a function of one event, a WandbSink or a TrackioSink, or a list of these.",
            )
    return given


class Sinks:
    """The sinks of the trainings that this process has started."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._kept: dict[str, list[Any]] = {}  # training → its sinks: a resumed run gets them again
        self._open: dict[str, list[Feed]] = {}  # training → of its run in this process
        self._closing: list[Feed] = []  # the runs have left
        self._unfollow: Callable[[], None] | None = None

    def keep(self, training_id: str, sinks: list[Any]) -> None:
        if sinks:
            self._kept[training_id] = sinks

    def forget(self, training_id: str) -> None:
        self._kept.pop(training_id, None)

    def open(self, records: Iterable[TrainingRecord], emitter: Callable[[str], Emit]) -> None:
        """What these trainings emit goes to their sinks from now on, until their run leaves this process."""
        for record in records:
            run = RunInfo(record.id, record.name, record.config, record.group_id)
            warn = RunLog(Path(record.folder), emitter(record.id)).warning
            if feeds := [Feed(_opener(each, run), _name_of(each), warn) for each in self._kept.get(record.id, ())]:
                with self._lock:
                    self._open[record.id] = feeds
                    self._unfollow = self._unfollow or self._workspace.trainings.follow(self._on_news)

    def _on_news(self, training_id: str | None, news: Sequence[News]) -> None:
        feeds, has_left = self._open.get(training_id or "", []), False
        for each in news:
            if isinstance(each, JobRecord) or (isinstance(each, Facts) and not each.values):
                has_left = True  # maybe: its row knows
            else:
                for feed in feeds:
                    feed.put(each)
        if training_id is None or not (feeds and has_left):
            return
        try:
            status = self._workspace.catalog.trainings.get(training_id).status
        except NotFoundError:  # deleted
            status = JobStatus.CANCELLED
        if status.is_active or status is JobStatus.QUEUED:
            return
        for feed in feeds:
            feed.end(status.value)
        with self._lock:
            self._closing = [feed for feed in self._closing if not feed.join(0)] + self._open.pop(training_id)
            if not self._open and self._unfollow is not None:
                self._unfollow()
                self._unfollow = None

    def close(self) -> None:
        """Wait a moment until what was emitted is handed over; the logs of the runs name what was not done by then."""
        self._workspace.manager.flush()
        end = time.monotonic() + CLOSING
        with self._lock:
            feeds = [*self._closing, *(feed for each in self._open.values() for feed in each)]
        for feed in [feed for feed in feeds if not feed.join(end - time.monotonic())]:
            feed.give_up(CLOSING)


class Feed:
    """The queue and the thread of one sink of one run. `warn` is called there with a line for the run's log."""

    def __init__(self, open_sink: Callable[[], OpenSink], name: str, warn: Callable[[str], None]) -> None:
        self._open, self._name, self._warn = open_sink, name, warn
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._status: str | None = None
        self._errors = self._lost = 0
        self._warned = False
        self._busy = False  # the sink is at work
        self._thread = threading.Thread(target=self._work, name=f"saewidgets-sink-{name}", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Never waits for the sink, never raises."""
        with self._changed:
            if self._status is not None or self._errors >= PATIENCE:
                return
            if len(self._waiting) >= CAPACITY:  # drop the least important one, which may be this
                if isinstance(event, Progress):
                    return
                oldest = next((i for i, each in enumerate(self._waiting) if isinstance(each, Progress)), 0)
                self._lost += not isinstance(self._waiting[oldest], Progress)
                del self._waiting[oldest]
            self._waiting.append(event)
            self._changed.notify()

    def end(self, status: str) -> None:
        with self._changed:
            self._status = self._status or status
            self._changed.notify()

    def give_up(self, seconds: float) -> None:
        """Log that the process goes on, or ends, without it, unless it is idle."""
        if self._waiting or self._busy:
            left = f"{len(self._waiting):,} events were not handed over"
            self._say(f"{self._name} was not done after {seconds:g} s: {left}.")

    def join(self, seconds: float) -> bool:
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()

    # ------------------------------------------------------------------------------------------------ its threads

    def _call(self, failing: str, weight: int, function: Callable[..., Any], *given: Any) -> Any:
        """What `function` returns; None where it raises, which is its own affair, an exit too."""
        self._busy = True
        try:
            found = function(*given)
            self._errors = 0
            return found
        except BaseException as error:  # noqa: BLE001
            with self._changed:
                self._errors += weight
            if not self._warned:
                self._warned = True
                text = _SECRET.sub("…", (str(error).splitlines() or [""])[0])[:200]  # a message may quote a key
                detail = f"{type(error).__name__}: {text}" if text else type(error).__name__
                self._say(f"{self._name} {failing} ({detail}). The run goes on.")
            return None
        finally:
            self._busy = False

    def _work(self) -> None:
        sink: OpenSink | None = self._call("could not be opened", PATIENCE, self._open)
        while sink is not None and self._errors < PATIENCE:
            with self._changed:
                while not self._waiting and self._status is None:
                    self._changed.wait()
                if not self._waiting:
                    break
                event = self._waiting.popleft()
            self._call("failed", 1, sink, event)
        with self._changed:
            self._waiting.clear()
            while self._status is None:  # it gave up: close once the run has left
                self._changed.wait()
        if self._lost:
            self._warn(f"{self._name} is slower than the run: {self._lost:,} of its events were left out.")
        if sink is not None:
            self._call("could not be closed", 1, sink.close, self._status)

    def _say(self, message: str) -> None:
        log.warning("%s", message)
        self._warn(message)


@dataclass(frozen=True)
class _FunctionSink:
    """An `OpenSink` of two functions."""

    take: Callable[[Event], None]
    close: Callable[[str], None] = lambda status: None

    def __call__(self, event: Event) -> None:
        self.take(event)


def _opener(sink: Any, run: RunInfo) -> Callable[[], OpenSink]:
    return lambda: sink.open(run) if callable(getattr(sink, "open", None)) else _FunctionSink(sink)


def _name_of(sink: Any) -> str:
    return str(getattr(sink, "label", None) or getattr(sink, "__name__", None) or type(sink).__name__)


# ------------------------------------------------------------------------------------------------ trackers

LOST = frozenset({"failed", "cancelled", "interrupted"})


def _require(extra: str, label: str) -> None:
    if importlib.util.find_spec(extra) is None:
        raise ConfigError(f"{label} is not installed.", where="on_event", hint=f"pip install 'saewidgets[{extra}]'")


@dataclass(frozen=True)
class WandbSink:
    """Sends a run's metrics to Weights & Biases: ``ws.trainings.create(config, on_event=WandbSink("my-saes"))``.

    Metrics have the names of docs/training.md and are drawn against `tokens`; the configuration is the run's config. A
    run that is paused and resumed goes on as the same one there. `name` and `group` None take those of the training;
    `mode` ``"offline"`` writes to disk only (``wandb sync`` sends it later). Raises `ConfigError` if the library is not
    installed.
    """

    project: str = "saewidgets"
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    tags: Sequence[str] = ()
    mode: Literal["online", "offline", "disabled"] | None = None
    label = "Weights & Biases"

    def __post_init__(self) -> None:
        _require("wandb", self.label)

    def open(self, run: RunInfo) -> OpenSink:
        """Begin the run there, or go on with it."""
        import wandb  # an extra, and seconds to import

        # "create_new": runs beside each other, and none that a user has open is finished. The console stays the user's.
        settings = wandb.Settings(console="off", disable_git=True, disable_code=True, silent=True)
        begun = wandb.init(
            project=self.project, entity=self.entity, name=self.name or run.name, group=self.group or run.group,
            tags=list(self.tags) or None, id=run.id, resume="allow", reinit="create_new", mode=self.mode,
            config=dict(run.config), settings=settings,
        )
        begun.define_metric("tokens")
        begun.define_metric("*", step_metric="tokens")

        def take(event: Event) -> None:
            if isinstance(event, Metrics):
                begun.log({**event.values, "tokens": event.tokens, "step": event.step})
            elif isinstance(event, Facts):
                plain = {k: v for k, v in event.values.items() if isinstance(v, bool | int | float | str)}
                begun.config.update(plain, allow_val_change=True)

        def close(status: str) -> None:
            begun.summary["status"] = status
            begun.finish(exit_code=1 if status in LOST else 0)

        return _FunctionSink(take, close)


@dataclass(frozen=True)
class TrackioSink:
    """Sends a run's metrics to Trackio: ``ws.trainings.create(config, on_event=TrackioSink("my-saes"))``.

    They stay on this machine unless `space_id` names a Space (``user/space``); ``trackio show`` draws them. A run that
    is paused and resumed goes on as the same one there. `name` None takes that of the training. Raises `ConfigError` if
    the library is not installed.
    """

    project: str = "saewidgets"
    name: str | None = None
    space_id: str | None = None
    label = "Trackio"

    def __post_init__(self) -> None:
        _require("trackio", self.label)

    def open(self, run: RunInfo) -> OpenSink:
        """Begin the run there, or go on with it."""
        import trackio  # an extra, and seconds to import

        # Names are what Trackio knows runs by: with the id, two runs of one name stay two.
        begun = trackio.init(
            project=self.project, name=self.name or f"{run.name} {run.id[-6:]}", group=run.group,
            space_id=self.space_id, config=dict(run.config), resume="allow", embed=False,
        )

        def take(event: Event) -> None:
            if isinstance(event, Metrics):
                begun.log({**event.values, "tokens": event.tokens}, step=event.step)

        return _FunctionSink(take, lambda status: begun.finish())
