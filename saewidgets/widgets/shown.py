"""What every widget that a person makes does alike: its arguments checked, its workspace found, its static copy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from anywidget import AnyWidget
from IPython import get_ipython

from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.render import Html, tag
from saewidgets.widgets.base import BaseWidget
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.publisher import Publisher

LEAST_HEIGHT = 80  # pixels
COPY_EVERY = 5.0  # least seconds between two static copies of a widget in a notebook
_CLOSING = threading.Lock()  # held for a moment: one for all widgets is enough


def check_look(theme: Any, height: Any) -> None:
    """Raise `ConfigError` unless `theme` is auto, light or dark and `height` a whole number of pixels, 80 or more."""
    if theme not in ("auto", "light", "dark"):
        raise ConfigError(f"There is no theme {theme!r}.", where="theme", hint='Use "auto", "light" or "dark".')
    if not isinstance(height, int) or isinstance(height, bool) or height < LEAST_HEIGHT:
        raise ConfigError(
            f"A height of {height!r} pixels cannot work.", where="height", hint=f"Use a whole number ≥ {LEAST_HEIGHT}."
        )


def workspace_or_default(ws: Any, part: str) -> Any:
    """`ws`, or the default workspace for None. Raises `ConfigError` if it has no `part`, so is no workspace."""
    if ws is not None:
        if not hasattr(ws, part):
            raise ConfigError(f"A {type(ws).__name__} is no workspace.", where="ws", hint="Give a `Workspace`.")
        return ws
    from saewidgets.workspace import default_workspace  # opens a catalog: only when no workspace was given

    return default_workspace()


def code_of(workspace: Any) -> str:
    """What a widget over this workspace is given in code: ``sw.Workspace('/path')``; ``""`` for the default one."""
    return "" if workspace.is_default else f"sw.Workspace({str(workspace.folder)!r})"


def name_of_workspace(workspace: Any) -> str:
    """What code in a widget's state calls its workspace: ``"ws"``, as the documentation does; ``""`` for the default.

    The state is saved with the notebook, and no folder of this machine goes there.
    """
    return "" if workspace.is_default else "ws"


def closes_now(widget: Any) -> bool:
    """True for the one call of `close` that has to do the work: the page and a script may close a widget at once.

    `widget._closed` is true as well while the widget is not built: ipywidgets closes what its constructor left.
    """
    with _CLOSING:
        first = not widget._closed
        widget._closed = True
    return first


def error_note(error: BaseException) -> Note:
    """An error as the line at the top of a widget."""
    if isinstance(error, SAEWidgetsError):
        return Note(what=error.what, where=error.where, hint=error.hint)
    return Note(what=f"{type(error).__name__}: {error}")


def first_read(read: Callable[[], object], say: Callable[[Note], object]) -> None:
    """Read what a widget shows first. It is drawn all the same if it fails, says so, and its publisher tries again."""
    try:
        read()
    except SAEWidgetsError as error:
        say(error_note(error))


def page_at(document: str, path: str | Path | None) -> Path | str:
    """Write `document` to `path` and return that; None returns the document."""
    if path is None:
        return document
    target = Path(path)
    target.write_text(document, "utf-8")
    return target


class StaticCopy:
    """Mixin of the five widgets: in a notebook, a static copy stands beside the live view and follows it.

    The copy is an output of its own, which the page hides while the view is there (`js/src/lib/entry.ts`): an update
    of the view's own output would draw the widget a second time.
    """

    _ipython_display_ = None  # that of ipywidgets 7 goes before the mime bundle and leaves nothing but the view
    _outputs: Any = None  # what publishes the notebook's outputs, once the widget was displayed
    _copying: Publisher | None = None

    def _static(self) -> Html:
        raise NotImplementedError

    def _copied(self) -> BaseWidget:
        """The part whose state the copy follows."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        # Not that of `super()`: the boxes of ipywidgets 7 have none, and anywidget's adds what Colab needs.
        data, metadata = cast(Any, AnyWidget._repr_mimebundle_)(self)
        outputs = getattr(get_ipython(), "display_pub", None)
        if not hasattr(outputs, "pub_socket"):  # a script, or a cell whose outputs are captured
            return {**data, "text/html": str(self._static())}, metadata
        self._outputs = outputs
        self._leave_copy(update=False)
        if self._copying is None:
            copying = self._copying = Publisher(self._leave_copy, name="copy", interval=COPY_EVERY)
            self._copied().observe(lambda _: copying.wake(), "state")
        return {**data, "text/html": ""}, metadata

    def _leave_copy(self, update: bool = True) -> None:
        name = self._copied().copy_name
        html = tag("div", self._static(), class_=name)
        self._outputs.publish({"text/html": html}, {}, transient={"display_id": name}, update=update)

    def close(self) -> None:
        """Remove the widget from the page. Its static copy stays, as it was last."""
        super().close()  # type: ignore[misc]
        if self._copying is not None:
            self._copying.close()
            self._leave_copy()
