"""How far an extraction is: at most ten events a second, with the rate over the recent past and the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from saewidgets.events import Emit, Progress

_INTERVAL = 0.1  # seconds between two events
_RECENT = 15.0  # seconds over which the rate is measured


class ReadingProgress:
    """Emits `Progress` in tokens; `clock` gives seconds."""

    def __init__(self, emit: Emit, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._emit, self._total, self._clock = emit, total, clock
        self._recent: deque[tuple[float, int]] = deque()
        self._last = float("-inf")
        self._done = 0

    def at(self, done: int, phase: str = "reading") -> None:
        """`done` tokens were read; a change of phase is told at once."""
        now = self._clock()
        if phase != "reading":
            self._recent.clear()  # other work does not count into the rate
        else:
            self._recent.append((now, done))
            while len(self._recent) > 2 and self._recent[1][0] < now - _RECENT:
                self._recent.popleft()
        self._done = done
        if phase == "reading" and done < self._total and now - self._last < _INTERVAL:
            return
        self._last = now
        rate = None
        if len(self._recent) > 1:
            (t0, n0), (t1, n1) = self._recent[0], self._recent[-1]
            rate = (n1 - n0) / (t1 - t0) if t1 > t0 and n1 > n0 else None
        eta = (self._total - done) / rate if rate else None
        self._emit(Progress(done=done, total=self._total, unit="tokens", rate=rate, eta_seconds=eta, phase=phase))

    def phase(self, phase: str) -> None:
        """Another kind of work at the same place."""
        self.at(self._done, phase)
