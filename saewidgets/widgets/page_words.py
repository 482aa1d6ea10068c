"""What errors of the library say on a page: their hints name Python's methods, a page has buttons."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import wraps
from typing import Any

from saewidgets.errors import NotFoundError, SAEWidgetsError
from saewidgets.widgets.messages.wire import Refresh

# what a hint holds → what to do on the page
_HINTS = (
    ("ws.saes.locate(", "If they were moved, press Locate files and say where to."),
    ("ws.saes.list(", "It was deleted, maybe by another notebook."),
    ("(locate)", "Locate whole files, or download or import it again."),
    ("tags=[", "Write them with commas between."),
    ("ExtractionConfig(model=", "Enter it under Model: a Hugging Face id or a folder."),
    ("with hook_name=", "Add it to the library again and fill in Hook name."),
    ("Start an extraction: ws.", "Press Start extraction."),
)
_IN_USE = re.compile(r" is in use: a job of kind (\w+) \((\w+)\) reads it\.")


# names of arguments: on a page the form they were typed into says where
_ARGUMENTS = frozenset({"a", "b", "files", "name", "notes", "path", "sae_id", "tags"})


def in_page_words(error: SAEWidgetsError) -> SAEWidgetsError:
    """The same error with what to do on the page instead of in Python."""
    if error.where in _ARGUMENTS:
        error.where = None
    error.what = _IN_USE.sub(lambda found: _in_use(*found.groups()), error.what)
    for part, words in _HINTS:
        if error.hint and part in error.hint:
            error.hint = words
    return error


def _in_use(kind: str, status: str) -> str:
    noun = kind.replace("_", " ")
    article = "an" if noun[:1] in "aeiou" else "a"
    return f" is in use: {article} {noun} that is {status} reads it."


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
