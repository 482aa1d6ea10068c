"""Value types that cross layers: `Event`, what a job reports, and `Control`, which asks it to pause or stop.

The trainer knows no job, table or widget. It emits `Event` values to a callable and asks a `Control` what to do;
the job manager supplies both. Nothing here imports torch.
"""

import enum
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


class JobStatus(enum.StrEnum):
    """The states of everything that runs in the background (one enum for all kinds of job)."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    STOPPING = "stopping"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        """Nothing more happens unless the user resumes, retries or deletes it."""
        return self in _FINAL

    @property
    def is_active(self) -> bool:
        """A live owner process is (or should be) working on it."""
        return self in _ACTIVE


_FINAL = frozenset(
    {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELLED, JobStatus.INTERRUPTED}
)
_ACTIVE = frozenset({JobStatus.STARTING, JobStatus.RUNNING, JobStatus.PAUSING, JobStatus.STOPPING})


class Request(enum.StrEnum):
    """A request to a running job."""

    RUN = "run"  # no request
    PAUSE = "pause"  # checkpoint, free the lane and the memory, keep the job
    STOP = "stop"  # end early and keep what was learned
    CANCEL = "cancel"  # end early and keep nothing new


class Interruption(Exception):  # noqa: N818 - control flow, not an error
    """Raised by `Control.check` inside nested work so that it unwinds to the last safe point."""

    def __init__(self, request: Request) -> None:
        self.request = request
        super().__init__(request.value)


class Control(Protocol):
    """How a job is steered from outside. All methods are cheap and safe to call once per microbatch."""

    def request(self) -> Request:
        """The pending request; `Request.RUN` when there is none."""

    def check(self) -> None:
        """Run interactive work that waits for this lane, then raise `Interruption` if anything was requested."""

    def take_checkpoint_request(self) -> bool:
        """True once after a checkpoint was requested; the job goes on."""


class NullControl:
    """Never asks for anything: for scripts and tests."""

    def request(self) -> Request:
        return Request.RUN

    def check(self) -> None:
        return None

    def take_checkpoint_request(self) -> bool:
        return False


SAVING = "saving"
"""The `phase` of a training that is about to write a checkpoint."""


UNIT_ROWS = "unit_rows_step"
"""The fact of a training that names the step from which decoder rows are kept at norm one."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. `done` and `total` are in `unit`; `rate` is units per second over the recent past.

    A training counts tokens. A download counts bytes (`unit` is ``"bytes"``, `rate` bytes per second); what it does is
    in `phase`: ``"looking"``, ``"downloading"``, ``"checking"``, ``"converting"``; ``"retrying"`` after a failure that
    may pass: `attempt` says which repetition comes (1 is the first) and `wait_seconds` how long until then (0: it is
    under way).
    """

    done: int
    total: int
    unit: str = "tokens"
    rate: float | None = None
    eta_seconds: float | None = None
    phase: str = "running"  # a short word for the reader: "loading model", "filling buffer", "training", "evaluating"
    step: int | None = None
    attempt: int | None = None
    wait_seconds: float | None = None

    @property
    def fraction(self) -> float:
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """Named values measured at one optimiser step. `time` is Unix seconds (UTC)."""

    step: int
    tokens: int
    values: Mapping[str, float]
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """A whole checkpoint is on disk. `path` is absolute; `kinds` says why it was kept."""

    step: int
    tokens: int
    path: str
    kinds: tuple[Literal["latest", "best", "every", "final", "manual"], ...]
    size_bytes: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    removed: tuple[str, ...] = ()  # absolute paths of checkpoints deleted because this one replaced them
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a run's log."""

    message: str
    level: Literal["info", "warning", "error"] = "info"
    time: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class Facts:
    """Things learned while starting (d_in, parameter counts, the estimated scale, …), merged into the run's record."""

    values: Mapping[str, Any]


Event = Progress | Metrics | CheckpointSaved | LogLine | Facts
Emit = Callable[[Event], None]


class Meter:
    """Emits `Progress`, at most ten times a second, with the rate since the first position and the time left."""

    def __init__(self, emit: Emit, total: int, unit: str = "tokens") -> None:
        self.total = total
        self._emit, self._unit = emit, unit
        self._phase, self._done, self._told = "", 0, 0.0
        self._began: tuple[float, int] | None = None  # what was there before it was resumed has taken no time now

    def enter(self, phase: str) -> None:
        """Go on to a phase in which the position stays as it is."""
        self._tell(time.monotonic(), phase)

    def at(self, done: int, phase: str) -> None:
        """How much is done. A change of phase, and the end, are sent at once."""
        now = time.monotonic()
        self._done, self._began = done, self._began or (now, done)
        if phase != self._phase or done >= self.total or now - self._told >= 0.1:
            self._tell(now, phase)

    def _tell(self, now: float, phase: str) -> None:
        since, first = self._began or (now, self._done)
        rate = (self._done - first) / (now - since) if now > since and self._done > first else None
        left = (self.total - self._done) / rate if rate else None
        self._phase, self._told = phase, now
        self._emit(Progress(self._done, self.total, self._unit, rate=rate, eta_seconds=left, phase=phase))


def ignore(event: Event) -> None:
    """An `Emit` that drops everything."""
