"""Slow questions (a listing, a preview) on threads of their own, of which only the newest of a kind counts.

A hub may take seconds, or hang. The threads that do the commands of all widgets are few, and the one that receives
messages is one: neither may wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from saewidgets.errors import SAEWidgetsError, StateError

MOST = 12  # questions of one widget that may be without an answer: more would only wait for the same dead hub


class SupersededError(SAEWidgetsError):
    """A newer question took the place of this one."""


class Lookups:
    """The questions of one widget.

    `ask` returns at once. What has been superseded goes on in its thread until the network lets it, and its answer is
    dropped.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._newest: dict[str, Future[Any]] = {}
        self._running = 0
        self._closed = False

    def ask(self, kind: str, do: Callable[[], Any]) -> Future[Any]:
        """Call `do` on a thread of its own; an unanswered question of the same `kind` ends with `SupersededError`.

        Raises:
            StateError: too many questions wait for an answer, or it is closed.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._closed:
                raise StateError("The widget is closed.")
            if self._running >= MOST:
                raise StateError(
                    f"{self._running} earlier questions to the hub have no answer yet.",
                    hint="The hub or the network hangs. Wait a little and try again.",
                )
            self._running += 1
            before, self._newest[kind] = self._newest.get(kind), future
            self._newest = {k: f for k, f in self._newest.items() if not f.done()}
        if before is not None:
            _settle(before, error=SupersededError("A newer request took the place of this one."))
        name = f"saewidgets-{kind.partition(' ')[0]}"
        threading.Thread(target=self._run, args=(do, future), name=name, daemon=True).start()
        return future

    def close(self) -> None:
        """End whatever waits. Safe to call twice."""
        with self._lock:
            self._closed = True
            waiting, self._newest = list(self._newest.values()), {}
        for future in waiting:
            _settle(future, error=SupersededError("The widget was closed."))

    def _run(self, do: Callable[[], Any], future: Future[Any]) -> None:
        try:
            value = do()
        except BaseException as error:  # noqa: BLE001 - whatever it is, who asked must hear of it
            self._done()
            _settle(future, error=error)
        else:
            self._done()
            _settle(future, value=value)

    def _done(self) -> None:
        with self._lock:
            self._running -= 1


_settling = threading.Lock()


def _settle(future: Future[Any], *, value: Any = None, error: BaseException | None = None) -> None:
    """The first answer counts."""
    with _settling:
        if future.done() or future.running():
            return
        future.set_running_or_notify_cancel()
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
