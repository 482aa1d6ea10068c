"""One thread per panel that writes its synced traits: at most ten times a second, newest state only."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("saewidgets.widgets")


class Publisher:
    """Calls `publish()` soon after every `wake()`, never more often than `interval` allows, never twice at once.

    ipywidgets guards a widget's traits with plain flags and no lock, so all writes to them go through one thread.
    A `publish` that raises is logged with its traceback and given to `on_error`; the thread goes on.

    Args:
        publish: writes the newest state.
        name: for the thread's name.
        interval: least seconds between two calls.
        on_error: is given what `publish` raised.
    """

    def __init__(
        self,
        publish: Callable[[], None],
        *,
        name: str,
        interval: float = 0.1,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._publish = publish
        self._on_error = on_error
        self._interval = interval
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"saewidgets-{name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something changed. Returns at once; any number of calls within `interval` lead to one `publish`."""
        self._wanted.set()

    def close(self, timeout: float = 2.0) -> None:
        """Stop the thread; a `publish` under way is finished first. Safe to call twice and from `publish` itself."""
        self._closed.set()
        self._wanted.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            if self._closed.is_set():
                return
            self._wanted.clear()
            started = time.monotonic()
            try:
                self._publish()
            except Exception as error:  # the thread must outlive any one failure; it is logged and shown
                logger.exception("Publishing the state of a widget failed")
                if self._on_error is not None:
                    self._on_error(error)
            self._closed.wait(max(0.0, self._interval - (time.monotonic() - started)))
