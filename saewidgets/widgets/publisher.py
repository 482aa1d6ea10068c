"""One thread per panel that writes its synced traits: newest state only, and never enough to slow a run down.

Colab shows only what is sent while it waits for an answer. There a publisher has no thread: every request of a page
publishes what is wanted (`publish_wanted`).
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from weakref import WeakSet

logger = logging.getLogger("saewidgets.widgets")

_REST = 60  # a call is followed by a rest this many times as long as it took …
_LONGEST = 3.0  # … but not of more seconds than this
_PULLED: WeakSet[Publisher] = WeakSet()


def publish_wanted() -> None:
    """A page asks something and waits: publish now what could not be pushed to it."""
    for publisher in list(_PULLED):
        publisher.publish_wanted()


class Publisher:
    """Calls `publish()` soon after every `wake()`, never more often than `interval` allows, never twice at once.

    ipywidgets guards a widget's traits with plain flags and no lock, so all writes to them go through one thread. That
    thread shares the interpreter with the runs it shows: between two calls it rests in proportion to what a call cost,
    so that being watched takes a run no more than about one part in sixty. What the user just asked for does not wait.
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
        self._changed = threading.Condition()
        self._wanted = self._urgent = self._closed = False
        self._rests_until = 0.0
        self._thread = threading.Thread(target=self._run, name=f"saewidgets-{name}", daemon=True)
        if "google.colab.output" in sys.modules:
            _PULLED.add(self)
        else:
            self._thread.start()

    def wake(self, *, urgent: bool = False) -> None:
        """Something changed. Returns at once; any number of calls during a rest lead to one `publish`.

        `urgent`: the user waits for it; only `interval` is kept.
        """
        with self._changed:
            self._wanted = True
            self._urgent = self._urgent or urgent
            self._changed.notify_all()

    def close(self, timeout: float = 2.0) -> None:
        """Stop the thread; a `publish` under way is finished first. Safe to call twice and from `publish` itself."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def publish_wanted(self) -> None:
        """Publish on the calling thread, if something changed and the rest is over."""
        with self._changed:
            rests = time.monotonic() < self._rests_until and not self._urgent
            if not self._wanted or self._closed or rests:
                return
            self._wanted = self._urgent = False
        self._rests_until = time.monotonic() + max(self._interval, self._call())

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                if self._closed:
                    return
                self._wanted = self._urgent = False
            started = time.monotonic()
            rest = self._call()
            with self._changed:
                self._changed.wait_for(lambda: self._closed, max(0.0, started + self._interval - time.monotonic()))
                left = max(0.0, started + rest - time.monotonic())
                self._changed.wait_for(lambda: self._closed or self._urgent, left)

    def _call(self) -> float:
        """Publish; the seconds of rest that this asks for."""
        started = time.monotonic()
        try:
            self._publish()
        except Exception as error:  # the thread must outlive any one failure; it is logged and shown
            if getattr(threading, "_SHUTTING_DOWN", False):  # the interpreter ends, and thread pools before this
                self._closed = True
                return 0.0
            logger.exception("Publishing the state of a widget failed")
            if self._on_error is not None:
                self._on_error(error)
        return min(_LONGEST, _REST * (time.monotonic() - started)) if self._interval else 0.0
