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
STARTING = ("starting", "loading model", "compiling model", "opening store")
"""The phases before training that take as long in the next run; text that is packed stays packed."""


class ProgressMeter:
    """Emits `Progress` in tokens.

    Time outside training (evaluating, saving) does not count into the rate but does into the clock a reader sees: the
    time left is that of the training still to be done, and of the evaluations `to_come`, once one has been measured.

    Training alternates between filling a window of activations, which the language model computes, and the steps on it.
    Each has a cost per token of its own, and the time left counts both to the end: windows are filled whole. While a
    window is filled the position advances by the share of the time that this takes.

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
        self._recent: deque[tuple[float, int]] = deque()  # (seconds of steps, tokens)
        self._window, self._in_background = 0, False  # tokens, 0 if no window is known; filled beside the steps
        self._number_of_window, self._share = -1, 0.0  # the one that is filled now, or used; of its time to fill it
        self._begun, self._filled = 0, 0  # tokens in it: before it was waited for, now
        self._filling_since: float | None = None  # in seconds of training
        self._filling = 0.0  # seconds of training so far that went into windows
        self._fill_cost: float | None = None  # seconds per token
        self._filled_in_all = 0
        self._steps_from: int | None = None  # tokens
        self._before_training = 0.0  # seconds
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

    def set_window(self, tokens: int, *, in_background: bool) -> None:
        """Size of the windows, and whether the next is filled while one is used, so that only a rest is waited for."""
        self._window, self._in_background = tokens, in_background

    @property
    def training_seconds(self) -> float:
        return self._busy + (self._clock() - self._since if self._since is not None else 0.0)

    @property
    def _step_seconds(self) -> float:
        seconds = self.training_seconds if self._filling_since is None else self._filling_since
        return seconds - self._filling

    @property
    def _step_cost(self) -> float | None:
        """Seconds per token of the steps in the recent past."""
        if len(self._recent) < 2:
            return None
        (t0, n0), (t1, n1) = self._recent[0], self._recent[-1]
        return (t1 - t0) / (n1 - n0) if t1 > t0 and n1 > n0 else None

    @property
    def rate(self) -> float | None:
        """Tokens per second of training over the recent past, whole windows counted; None while there is nothing to
        measure."""
        cost = self._step_cost
        return self._before if cost is None else 1 / (cost + (self._fill_cost or 0.0))

    def position(self, tokens: int) -> int:
        """How far a training is that has trained on so many tokens: ahead of them, if their window is partly filled."""
        if not self._window or self._number_of_window != tokens // self._window:
            return tokens
        end = min(self._total, (self._number_of_window + 1) * self._window)
        return tokens + int(self._share * max(0, end - tokens) * (self._filled - self._begun) / self._window)

    @property
    def costs(self) -> dict[str, float]:
        """Seconds of this process before training, and per token that was trained on and that the model computed."""
        found = {"start": self._before_training}
        if (tokens := self._done - (self._steps_from or 0)) > 0:
            found["step"] = self._step_seconds / tokens
        if self._filled_in_all and self._filling:
            found["fill"] = self._filling / self._filled_in_all
        elif self._fill_cost is not None:
            found["fill"] = self._fill_cost
        return found

    def enter(self, phase: str) -> str:
        """Switch to another phase and say so at once. Returns the phase that was left."""
        left = self._phase
        now = self._clock()
        if left == EVALUATING:
            self._evaluations += self._evaluated_at != self._done
            self._evaluated_at = self._done
            self._spent[min(self._evaluations, 2) - 1] += now - self._entered
        if left.split(",")[0] in STARTING:
            self._before_training += now - self._entered
        self._entered = now
        if self._since is not None:
            self._busy += now - self._since
            self._since = None
        if phase == "training":
            self._since = now
        self._phase = phase
        self._send(now)
        return left

    def filling(self, phase: str, done: int, total: int) -> None:
        """Report how much of a window there is, between two steps; the last time that it is whole."""
        seconds, begins = self.training_seconds, self._filling_since is None
        if self._filling_since is None:
            if done >= total:
                return
            self._filling_since, self._begun = seconds, done
            self._number_of_window = self._done // total
            fill, step = self._fill_cost, self._step_cost
            self._share = 0.5 if fill is None or step is None else fill / (fill + step)
        self._filled = done
        computed = total * (done >= total) if self._in_background else done - self._begun
        if computed:
            self._fill_cost = (seconds - self._filling_since) / computed
        if done >= total:
            self._filled_in_all += computed
            self._filling, self._filling_since = self._filling + seconds - self._filling_since, None
        now = self._clock()
        if begins or now - self._last_emit >= INTERVAL:
            self._send(now, None if done >= total else f"{phase}, {100 * done // total} %")

    def settle(self) -> None:
        """Report the tokens trained on, when training ends in the middle of a window."""
        if self.position(self._done) > self._done:
            self._number_of_window = -1
            self._send(self._clock())

    def share_of(self, phase: str, *, fills: bool = False) -> Callable[[int, int | None], None]:
        """For a long phase before training: a function that takes how far it is and the total (None: unknown), and
        reports both in the words of the phase. With `fills` the model computes as it will to fill windows."""
        began: tuple[float, int] | None = None

        def at(done: int, total: int | None) -> None:
            nonlocal began
            now = self._clock()
            began = began or (now, done)
            if fills and done > began[1]:
                self._fill_cost = (now - began[0]) / (done - began[1])
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
        if step > self._step and self._window and (number := (tokens - 1) // self._window) != self._number_of_window:
            self._number_of_window, self._begun, self._filled = number, self._window, self._window  # without waiting
            self._fill_cost = 0.0 if self._in_background else self._fill_cost
        if self._steps_from is None:
            self._steps_from = tokens
        self._done, self._step = tokens, step
        seconds = self._step_seconds
        self._recent.append((seconds, tokens))
        while len(self._recent) > 2 and self._recent[1][0] < seconds - RECENT:
            self._recent.popleft()
        now = self._clock()
        if now - self._last_emit >= INTERVAL:
            self._send(now)

    def _send(self, now: float, phase: str | None = None) -> None:
        rate = self.rate
        eta = self._until_trained(rate) + self._until_evaluated() if rate else None
        self._last_emit = now
        self._emit(
            Progress(
                done=self.position(self._done),
                total=self._total,
                unit="tokens",
                rate=rate,
                eta_seconds=eta,
                phase=phase or self._phase,
                step=self._step,
            )
        )

    def _until_trained(self, rate: float) -> float:
        """Seconds of the steps to come and the windows that they need."""
        left, cost = self._total - self._done, self._step_cost
        if cost is None or not self._window or self._fill_cost is None:
            return left / rate
        number = self._done // self._window
        windows = -(-self._total // self._window) - number
        filled = self._filled if number == self._number_of_window else 0
        return cost * left + self._fill_cost * max(0, windows * self._window - filled)

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
