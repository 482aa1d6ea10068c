"""The thread that keeps a process's jobs alive in the store: heartbeats, commands of others, its turn on a lane."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from saewidgets.errors import SAEWidgetsError
from saewidgets.jobs.thread import LazyThread

log = logging.getLogger(__name__)


class Keeper(LazyThread):
    """Calls `tick` every `poll` seconds and at once after `wake`; ends while `idle` says so."""

    def __init__(self, tick: Callable[[], None], idle: Callable[[], bool], poll: float) -> None:
        super().__init__("keeper")
        self._tick = tick
        self._idle = idle
        self._poll = poll
        self._woken = False

    def wake(self) -> None:
        """Do a round now (in the keeper's thread)."""
        with self._changed:
            self._woken = True
            self._start()
            self._changed.notify_all()

    def _work(self) -> None:
        complained = 0.0
        while True:
            with self._changed:
                if self._closed:
                    return
                self._woken = False
            try:
                self._tick()
            except SAEWidgetsError as error:  # the store is busy or away: the next round tries again
                if time.monotonic() - complained > 30:
                    complained = time.monotonic()
                    log.warning("The state of background jobs could not be kept up to date: %s", error)
            except Exception:  # a bug here must not end the heartbeat of all jobs; the traceback says where
                log.exception("A round of the job keeper failed.")
            idle = self._idle()
            with self._changed:
                if idle and not self._woken:
                    self._thread = None
                    return
                self._changed.wait_for(lambda: self._woken or self._closed, self._poll)
