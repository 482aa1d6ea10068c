"""Progress and log of a run: `ProgressMeter` sends at most ten `Progress` events a second with the recent rate and the
time left; `RunLog` writes its lines to `log.txt`, too; `Narrator` describes the run's course in it."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from saewidgets.events import CheckpointSaved, Emit, Event, LogLine, Metrics, Progress
from saewidgets.render import numbers

INTERVAL = 0.1  # seconds between two events of the same phase
RECENT = 15.0  # seconds over which the rate is measured
EVALUATING = "evaluating"  # the phase


class ProgressMeter:
    """Emits `Progress` in tokens.

    Time outside training (evaluating, saving) does not count into the rate but does into the clock a reader sees: the
    time left is that of the training still to be done, and of the evaluations `to_come`, once one has been measured.

    Of trainings that take turns (`going`: their tokens) the position is the mean of all that go on, so the rate is that
    of every one of them. After one of them has ended it is that of before until there is another, so that what is kept
    of a group whose trainings all end is how fast they were."""

    def __init__(
        self,
        emit: Emit,
        total: int,
        clock: Callable[[], float] = time.monotonic,
        to_come: Callable[[], int] = lambda: 0,
        going: Callable[[], Sequence[int]] | None = None,
    ) -> None:
        self._emit, self._total, self._clock, self._to_come, self._going = emit, total, clock, to_come, going
        self._number = 0
        self._before: float | None = None
        self._recent: deque[tuple[float, int]] = deque()  # (seconds of training, tokens)
        self._busy = 0.0  # seconds of training so far
        self._since: float | None = None  # when training was entered last
        self._last_emit = -INTERVAL
        self._phase = "starting"
        self._done, self._step = 0, 0
        self._entered = clock()
        self._evaluations = 0
        self._spent = [0.0, 0.0]  # seconds of the first, which also measures the model alone, and of the others
        self._evaluated_at = -1  # tokens; trainings that run together are evaluated at the same

    def set_total(self, tokens: int) -> None:
        self._total = tokens

    @property
    def training_seconds(self) -> float:
        return self._busy + (self._clock() - self._since if self._since is not None else 0.0)

    @property
    def rate(self) -> float | None:
        """Tokens per second of training over the recent past; None while there is nothing to measure."""
        if len(self._recent) < 2:
            return self._before
        (t0, n0), (t1, n1) = self._recent[0], self._recent[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 and n1 > n0 else self._before

    def enter(self, phase: str) -> str:
        """Switch to another phase and say so at once. Returns the phase that was left."""
        left = self._phase
        now = self._clock()
        if left == EVALUATING:
            self._evaluations += self._evaluated_at != self._done
            self._evaluated_at = self._done
            self._spent[min(self._evaluations, 2) - 1] += now - self._entered
        self._entered = now
        if self._since is not None:
            self._busy += now - self._since
            self._since = None
        if phase == "training":
            self._since = now
        self._phase = phase
        self._send(now)
        return left

    def share_of(self, phase: str) -> Callable[[int, int | None], None]:
        """For a long phase before training: a function that takes how far it is and the total (None: unknown), and
        reports both in the words of the phase."""
        began: tuple[float, int] | None = None

        def at(done: int, total: int | None) -> None:
            nonlocal began
            now = self._clock()
            began = began or (now, done)
            if now - self._last_emit < INTERVAL:
                return
            words = f"{phase}, {numbers.tokens(done)} tokens"
            if total:
                words = f"{phase}, {min(99, 100 * done // total)} %"
                if now - began[0] > 1 and done > began[1]:
                    left = (now - began[0]) * max(0, total - done) / (done - began[1])
                    words += f", {numbers.duration(left)} left"
            self.enter(words)

        return at

    def at(self, tokens: int, step: int) -> None:
        """Report the position; an event goes out if the last one is old enough."""
        if self._going is not None:
            done = self._going()
            if len(done) != self._number:  # the mean jumps, and fewer are faster
                self._number, self._before = len(done), self.rate
                self._recent.clear()
            tokens = sum(done) // len(done) if done else tokens
        self._done, self._step = tokens, step
        seconds = self.training_seconds
        self._recent.append((seconds, tokens))
        while len(self._recent) > 2 and self._recent[1][0] < seconds - RECENT:
            self._recent.popleft()
        now = self._clock()
        if now - self._last_emit >= INTERVAL:
            self._send(now)

    def _send(self, now: float) -> None:
        rate = self.rate
        eta = (self._total - self._done) / rate + self._until_evaluated() if rate else None
        self._last_emit = now
        self._emit(
            Progress(
                done=self._done,
                total=self._total,
                unit="tokens",
                rate=rate,
                eta_seconds=eta,
                phase=self._phase,
                step=self._step,
            )
        )

    def _until_evaluated(self) -> float:
        """Seconds of the evaluations to come, each as long as those after the first so far; 0 before the first."""
        first, others = self._spent
        each = others / (self._evaluations - 1) if self._evaluations > 1 else first
        begins = self._phase == EVALUATING and self._evaluated_at != self._done
        return each * (self._to_come() + begins)


MAX_BYTES = 1_000_000  # per file; there are two at most


class Log:
    """A log to write to: one run's, or those of several at once."""

    def info(self, message: str) -> None:
        self.write(LogLine(message))

    def warning(self, message: str) -> None:
        self.write(LogLine(message, "warning"))

    def error(self, message: str) -> None:
        self.write(LogLine(message, "error"))

    def write(self, line: LogLine) -> None:
        raise NotImplementedError


class RunLog(Log):
    """Writes lines to `folder/log.txt` and emits them. At `MAX_BYTES` the file becomes `log.old.txt`.

    A line is one open-append-close, so nothing is lost when the process is killed and nobody holds the file. A log that
    cannot be written (the disk is full, say) is reported once as an event and never ends the run.
    """

    def __init__(self, folder: Path, emit: Emit) -> None:
        self.path = folder / "log.txt"
        self._emit = emit
        self._broken = False

    def write(self, line: LogLine) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(line.time))
        self._emit(line)
        try:
            if self.path.exists() and self.path.stat().st_size > MAX_BYTES:
                self.path.replace(self.path.with_name("log.old.txt"))
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{stamp} {line.level.upper():7} {line.message}\n")
        except OSError as error:
            if not self._broken:
                self._broken = True
                self._emit(LogLine(f"{self.path} cannot be written: {error.strerror}.", "warning"))


class Logs(Log):
    """What concerns all runs of a group is in the log of each."""

    def __init__(self, logs: Sequence[RunLog]) -> None:
        self._logs = logs

    def write(self, line: LogLine) -> None:
        for log in self._logs:
            log.write(line)


EVERY = 10.0
"""Seconds between lines with the numbers of training."""
LINES = 200
"""A run of hours has about so many more of them each time its length doubles, not one for every ten seconds."""

_TRAINING = {"loss": "loss", "l0": "L0", "fvu": "FVU", "dead": "dead"}
_HELD_OUT = {"val_fvu": "FVU", "val_l0": "L0", "ce_loss_score": "CE recovered"}


class Narrator:
    """Passes on what a trainer emits, and writes the log of its course; `evaluated` is what evaluations read."""

    def __init__(
        self, emit: Emit, log: RunLog, clock: Callable[[], float] = time.monotonic, evaluated: str = "held-out text"
    ) -> None:
        self._emit, self._log, self._clock, self._evaluated = emit, log, clock, evaluated
        self._began = clock()
        self._said: float | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, LogLine):
            self._log.write(event)
            return
        self._emit(event)
        if isinstance(event, CheckpointSaved):
            reasons = [kind for kind in event.kinds if kind not in ("latest", "every")]
            about = ", ".join([numbers.size(event.size_bytes), *reasons])
            self._log.info(f"Step {event.step:,}: checkpoint saved ({about}).")
        elif isinstance(event, Metrics):
            self._measured(event)

    def _measured(self, event: Metrics) -> None:
        place = f"Step {event.step:,} ({numbers.tokens(event.tokens)} tokens)"
        if words := _words(event.values, _HELD_OUT):
            number, ce_tokens = (event.values.get(name) for name in ("val_tokens", "ce_tokens"))
            read = self._evaluated if number is None else f"{self._evaluated} ({number:,.0f} tokens)"
            if ce_tokens not in (None, number):
                words += f" ({ce_tokens:,.0f} tokens)"
            self._log.info(f"{place}, {read}: {words}.")
        elif words := _words(event.values, _TRAINING):
            now = self._clock()
            if self._said is None or now - self._said >= max(EVERY, (now - self._began) / LINES):
                self._said = now
                self._log.info(f"{place}: {words}.")


def _words(values: Mapping[str, float], names: Mapping[str, str]) -> str:
    known = [(name, words) for name, words in names.items() if name in values]
    return ", ".join(f"{words} {numbers.metric(name, values[name])}" for name, words in known)
