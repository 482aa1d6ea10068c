"""Keeps the gauge up to date while sliders move: asks for the newest settings only, and not for every one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from saewidgets.errors import SAEWidgetsError
from saewidgets.widgets.steering.state import SteeringModel

logger = logging.getLogger("saewidgets.widgets")

REST = 0.15  # seconds without a change before the model is asked


class GaugeFollower:
    """Measures how strong the settings are, soon after they have changed.

    Args:
        model: the widget's state.
        wake: called when the gauge was set.
    """

    def __init__(self, model: SteeringModel, wake: Callable[[], None]) -> None:
        self._model, self._wake = model, wake
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._number = 0  # of the run that was the last one when something was set
        self._stale = -1  # the run after which settings have changed: what the gauge shows then is of others

    def changed(self) -> None:
        """Something was set."""
        self._ask(stale=True)

    def possible(self) -> None:
        """It can be measured now; what is already shown stays."""
        self._ask(stale=False)

    def _ask(self, stale: bool) -> None:
        with self._lock:
            self._changed.set()
            self._number = self._model.number
            if stale:
                self._stale = self._number
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._follow, name="saewidgets-gauge", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Measure nothing more."""
        self._closed.set()

    def _follow(self) -> None:
        while True:
            with self._lock:
                if not self._changed.is_set() or self._closed.is_set():
                    self._thread = None
                    return
                self._changed.clear()
                number = self._number
            if self._closed.wait(REST):
                continue
            with self._lock:
                if self._changed.is_set():
                    continue
                replace = self._stale == number
            if self._model.number == number:  # else a run is under way or has ended, which measures more
                self._model.set_gauge(self._measure(), number, replace=replace)
                self._wake()

    def _measure(self) -> float | None:
        try:
            ratio: float | None = self._model.workspace.steering.probe(self._model.config())
        except SAEWidgetsError as error:  # said in full when it is generated
            logger.info("The size of the change is not known: %s", error)
            return None
        except Exception:
            logger.exception("Measuring the size of the change failed")
            return None
        return ratio
