"""The thread that keeps a process's jobs alive in the store: heartbeats, commands of others, its turn on a lane."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from saewidgets.errors import SAEWidgetsError

log = logging.getLogger(__name__)


class Keeper:
    """Calls `tick` every `poll` seconds and at once after `wake`; sleeps for good while `idle` says so."""

    def __init__(self, tick: Callable[[], None], idle: Callable[[], bool], poll: float) -> None:
        self._tick = tick
        self._idle = idle
        self._poll = poll
        self._woken = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()

    def wake(self) -> None:
        """Do a round now (in the keeper's thread)."""
        with self._changed:
            self._woken = True
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name="saewidgets-keeper", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self, timeout: float = 5.0) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

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
                self._changed.wait_for(lambda: self._woken or self._closed, None if idle else self._poll)
