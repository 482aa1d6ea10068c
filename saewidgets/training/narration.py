"""The course of a run as lines of its log: numbers now and then, every evaluation, every checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from saewidgets.events import CheckpointSaved, Emit, Event, LogLine, Metrics
from saewidgets.render.numbers import metric, size, tokens
from saewidgets.training.runlog import RunLog

EVERY = 10.0
"""Seconds between lines with the numbers of training."""
LINES = 200
"""A run of hours has about so many more of them each time its length doubles, not one for every ten seconds."""

_TRAINING = {"loss": "loss", "l0": "L0", "fvu": "FVU", "dead": "dead"}
_HELD_OUT = {"val_fvu": "FVU", "val_l0": "L0", "ce_loss_score": "CE recovered"}


class Narrator:
    """Passes on what a trainer emits, and writes the log that tells its course.

    Args:
        emit: where events go.
        log: of the run.
        clock: seconds that only grow.
        evaluated: what evaluations read.
    """

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
            reasons = ", ".join(kind for kind in event.kinds if kind not in ("latest", "every"))
            self._log.info(
                f"Step {event.step:,}: checkpoint saved ({', '.join(filter(None, [size(event.size_bytes), reasons]))})."
            )
        elif isinstance(event, Metrics):
            self._measured(event)

    def _measured(self, event: Metrics) -> None:
        place = f"Step {event.step:,} ({tokens(event.tokens)} tokens)"
        if words := _words(event.values, _HELD_OUT):
            self._log.info(f"{place}, {self._evaluated}: {words}.")
        elif (words := _words(event.values, _TRAINING)) and self._is_time():
            self._log.info(f"{place}: {words}.")

    def _is_time(self) -> bool:
        now = self._clock()
        if self._said is not None and now - self._said < max(EVERY, (now - self._began) / LINES):
            return False
        self._said = now
        return True


def _words(values: Mapping[str, float], names: Mapping[str, str]) -> str:
    known = [(name, words) for name, words in names.items() if name in values]
    return ", ".join(f"{words} {metric(name.removeprefix('val_'), values[name])}" for name, words in known)
