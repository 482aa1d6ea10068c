"""What the commands of a widget with a list do alike: pulling the state, errors in the words of the page, slow work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from typing import Any

from saewidgets.errors import NotFoundError, SAEWidgetsError
from saewidgets.widgets.messages.wire import Refresh
from saewidgets.widgets.page_words import in_page_words


class ListCommands:
    """Handlers of a widget whose model reads a list again when it was marked as changed.

    Args:
        model: the widget's state.
        wake: asks the publisher thread to show what changed.
    """

    def __init__(self, model: Any, wake: Callable[[], None]) -> None:
        self._list = model
        self._wake = wake

    def _changed(self) -> None:
        self._list.mark_changed()
        self._wake()

    def _told(self, do: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """`do` with errors in the words of the page; what is not there any more leaves the list."""

        @wraps(do)
        def run(command: Any) -> Any:
            try:
                return do(command)
            except SAEWidgetsError as error:
                if isinstance(error, NotFoundError):
                    self._changed()
                in_page_words(error)
                raise

        return run

    def refresh(self, command: Refresh) -> Any:
        """The page pulls: other processes and pages that miss updates are covered by this."""
        if self._list.may_look_again:
            self._list.mark_changed()
        try:
            self._list.read()
        finally:
            self._wake()  # what is new is published; what failed is met there again, and said
        state = self._list.state()
        return state if state.revision > command.revision else None


def on_threads(pool: Callable[[], ThreadPoolExecutor], do: Callable[..., Any]) -> Callable[..., Future[Any]]:
    """`do` on a thread of `pool`, for slow work; a command is answered when that is done."""

    @wraps(do)
    def later(*arguments: Any) -> Future[Any]:
        return pool().submit(do, *arguments)

    return later
