"""The SAE browser: everything the workspace has, trained here or brought in; read, compared, taken out."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets
import traitlets as t

from saewidgets.errors import ConfigError
from saewidgets.records import SAERecord
from saewidgets.render import Html
from saewidgets.render.static_views import saes_page
from saewidgets.widgets.sae_browser.commands import BrowserCommands
from saewidgets.widgets.sae_browser.state import Below, BrowserModel
from saewidgets.widgets.shell import Part, Shell, check_look, workspace_or_default

if TYPE_CHECKING:
    from saewidgets.workspace import Workspace


class SAEBrowser(Shell, ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets carries no types
    """The SAEs of a workspace as a list with filters, statistics, comparison, export. Put it last in a cell to see it.

    Any number of browsers may show one workspace. Each has its own filters and selection, which all its views share.

    Args:
        ws: a `Workspace`; None takes the default one (`$SAEWIDGETS_HOME`, else ``~/.saewidgets``).
        height: largest inner height of the list in pixels; it scrolls beyond that.
        theme: ``"auto"`` follows the notebook; ``"light"`` or ``"dark"`` overrides it.
        embedded: it stands in a box that draws the frame.

    Attributes:
        selected: id of the checked SAE (of several: the one checked last), or None. Assign to check another one;
            ``browser.observe(f, "selected")`` follows it.

    Raises:
        ConfigError: `theme` or `height` has no such value; there is no SAE with the id assigned to `selected`.
        NotFoundError: the frontend is not built (source checkouts only).
    """

    _title = "SAEs"
    _model: BrowserModel

    selected = t.Unicode(None, allow_none=True, help="id of the checked SAE, or None")

    def __init__(
        self,
        ws: Workspace | None = None,
        *,
        height: int = 640,
        theme: Literal["auto", "light", "dark"] = "auto",
        embedded: bool = False,
    ) -> None:
        check_look(theme, height)
        self._height, self._theme = height, theme
        self._following = threading.local()
        self._below: dict[str, Any] = {}  # what was opened below the header so far
        workspace = workspace_or_default(ws, "saes")
        self._model = BrowserModel(workspace)
        self._first_read()
        self._commands = BrowserCommands(self._model, self._wake)
        part = Part("sae_browser", self._commands, theme=theme, height=height)
        super().__init__((part,), layout=ipywidgets.Layout(margin="0", overflow="visible"))
        if not embedded:
            self.add_class("sw-frame")
        self._start((part,), workspace.subscribe_saes, workspace.extractions.subscribe)  # cards count features

    @property
    def selected_ids(self) -> tuple[str, ...]:
        """Ids of all checked SAEs, in the order in which they were checked."""
        return self._model.selected

    @property
    def selected_record(self) -> SAERecord | None:
        """The record of `selected`, read now; None if nothing is checked, or it was deleted meanwhile."""
        sae_id = self.selected
        if sae_id is None:
            return None
        try:
            return self._model.workspace.saes.get(sae_id)
        except LookupError:
            return None

    @t.validate("selected")
    def _exists(self, proposal: Any) -> str | None:
        sae_id: str | None = proposal["value"]
        if sae_id is None or getattr(self._following, "model", False):
            return sae_id
        try:
            self._model.workspace.saes.get(sae_id)
        except LookupError:
            raise ConfigError(f"There is no SAE {sae_id!r} in this workspace.", where="selected") from None
        return sae_id

    @t.observe("selected")
    def _chosen_in_python(self, change: Any) -> None:
        if not getattr(self._following, "model", False):
            self._model.select([] if change["new"] is None else [change["new"]])
            self._wake()

    def show(self, sae_id: str) -> None:
        """Check this SAE alone, open its details and bring it into view, whatever the filters are.

        Raises:
            NotFoundError: there is no such SAE.
        """
        self._model.show(self._model.workspace.saes.get(sae_id).id)
        self._wake()

    def __repr__(self) -> str:
        state = self._model.state()
        chosen = f", {len(state.selected)} selected" if state.selected else ""
        return f"<SAEBrowser {state.workspace}: {state.total:,} SAE{'s' * (state.total != 1)}{chosen}>"

    def _static(self) -> Html:
        return saes_page(self._model.state().model_dump(mode="json"))

    def _owned(self) -> tuple[Any, ...]:
        self._commands.uploads.close()
        return (*self._parts, *self._below.values())

    def _changed(self, *what: Any) -> None:
        self._model.mark_changed()
        super()._changed()

    def _send_state(self) -> None:
        super()._send_state()
        checked = self._model.selected
        self._following.model = True  # of this thread: what Python code assigns meanwhile is still a choice
        try:
            self.selected = checked[-1] if checked else None
        finally:
            self._following.model = False

    def _arrange(self) -> None:
        wanted = self._model.shown_below
        below = None
        if wanted is not None:
            below = self._below.get(wanted) or self._make(wanted)
            self._below[wanted] = below
            if (sae_id := self._commands.take_asked(wanted)) is not None:
                (below.extract if wanted == "extractions" else below.choose)(sae_id)
        self._show(*self._parts, *(() if below is None else (below,)))

    def _make(self, what: Below) -> Any:
        look: Any = {"embedded": True, "height": self._height, "theme": self._theme}
        if what == "download":
            from saewidgets.widgets.download.widget import DownloadFromHF  # cost: on first use

            return DownloadFromHF(self.workspace, on_open=self._open, **look)
        if what == "extractions":
            from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer  # cost: on first use

            return ExtractionViewer(self.workspace, **look)
        from saewidgets.widgets.steering.widget import Steering  # cost: on first use

        return Steering(self.workspace, on_browse=self._browse_features, **look)

    def _browse_features(self) -> None:
        """*Open features browser* was pressed in *Steering*."""
        self._model.show_below("extractions", True)
        self._wake()

    def _open(self, sae_id: str) -> None:
        """*Open in SAE browser* was pressed for a finished download."""
        self._model.select([sae_id])
        self._model.show_below("download", False)
        self._model.reveal(sae_id)
        self._wake()
