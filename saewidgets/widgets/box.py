"""`Box`: a widget with one part and another widget below it, as the SAE browser and the extraction viewer are."""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import ipywidgets

from saewidgets.widgets.commands import Commands
from saewidgets.widgets.messages.wire import State
from saewidgets.widgets.model import ListModel
from saewidgets.widgets.shell import Part, Shell, Theme

S = TypeVar("S", bound=State)


class BoxModel(ListModel[S]):
    """A list, and which widget stands below it; "" for none."""

    below: str = ""

    def show_below(self, what: str, shown: bool) -> None:
        """Open or close one of the widgets below; opening one closes the others."""
        with self._lock:
            if shown or self.below == what:
                self.below = what if shown else ""


class Box(Shell, ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets carries no types
    """A list whose trait `selected` follows the model, and below it a widget that is made when it is first shown."""

    _model: BoxModel[Any]

    def _build(self, view: str, commands: Commands, *, height: int, theme: Theme, embedded: bool) -> Part:
        self._look: dict[str, Any] = {"embedded": True, "height": height, "theme": theme}
        self._below: dict[str, Any] = {}  # what was opened so far
        self._making = threading.Lock()
        self._following = threading.local()
        part = Part(view, commands, theme=theme, height=height)
        ipywidgets.VBox.__init__(self, (part,), layout=ipywidgets.Layout(margin="0", overflow="visible"))
        if not embedded:
            self.add_class("sw-frame")
        return part

    def _make(self, what: str) -> Any:
        """The widget of this name."""
        raise NotImplementedError

    def _opening(self, what: str, widget: Any) -> None:
        """It is about to be shown."""

    def _chosen(self) -> Any:
        """What `selected` is in the model."""
        raise NotImplementedError

    @property
    def _follows(self) -> bool:
        """`selected` is being set to what the model has; what Python code assigns meanwhile is still a choice."""
        return getattr(self._following, "model", False)

    def _owned(self) -> tuple[Any, ...]:
        with self._making:
            return (*self._parts, *self._below.values())

    def _changed(self, *what: Any) -> None:
        self._model.mark_changed()
        super()._changed()

    def _send_state(self) -> None:
        super()._send_state()
        self._follow_model()

    def _follow_model(self) -> None:
        self._following.model = True  # of this thread
        try:
            self.selected = self._chosen()
        finally:
            self._following.model = False

    def _arrange(self) -> None:
        wanted = self._model.below
        with self._making:
            if wanted and wanted not in self._below and not self._closed:
                self._below[wanted] = self._make(wanted)
        below = self._below.get(wanted)
        if below is not None:
            self._opening(wanted, below)
        self._show(*self._parts, *(() if below is None else (below,)))
