"""Defines `ProgressMeter`: at most ten `Progress` events a second, with the recent rate and the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from saewidgets.events import Emit, Progress
from saewidgets.render import numbers

INTERVAL = 0.1  # seconds between two events of the same phase
RECENT = 15.0  # seconds over which the rate is measured
EVALUATING = "evaluating"  # the phase


class ProgressMeter:
    """Emits `Progress` in tokens.

    Time outside training (evaluating, saving) does not count into the rate but does into the clock a reader sees: the
    time left is that of the training still to be done, and of the evaluations to come, once one has been measured.

    Of trainings that take turns the position is the mean of all that go on, whoever reports his own. So the rate is
    that of every one of them while all go on (the forward and all their steps), from the first step of the first, and
    the time left that of all. After one of them has ended it is that of before until there is another, so that what is
    kept of a group whose trainings all end is how fast they were.

    Args:
        emit: where events go.
        total: tokens of the whole run.
        clock: seconds; replaceable by tests.
        to_come: how many evaluations will follow, but for the one that may be under way.
        going: of trainings that take turns, the tokens that each of those that go on has trained on.
    """

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
        """Take another length of the run: it is known only once its text is, where epochs decide."""
        self._total = tokens

    @property
    def training_seconds(self) -> float:
        """Seconds spent in the phase "training" so far."""
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
        """For a phase before training that takes long: what is returned is told how far it is, of how much (None:
        nobody knows), and says so in the words of the phase."""
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
