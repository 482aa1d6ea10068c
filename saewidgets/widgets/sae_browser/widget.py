"""The SAE browser: everything the workspace has, trained here or brought in; read, compared, taken out."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any, Literal

import ipywidgets
import traitlets as t

from saewidgets.errors import ConfigError
from saewidgets.records import SAERecord
from saewidgets.render import Html, saes_page
from saewidgets.render.page import html_document
from saewidgets.widgets.base import BaseWidget
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.publisher import Publisher
from saewidgets.widgets.sae_browser.commands import BrowserCommands
from saewidgets.widgets.sae_browser.state import BrowserModel, SaeWorkspace
from saewidgets.widgets.shown import (
    StaticCopy,
    check_look,
    closes_now,
    error_note,
    first_read,
    page_at,
    workspace_or_default,
)

logger = logging.getLogger("saewidgets.widgets")


class SAEBrowser(StaticCopy, ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets carries no types
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

    _closed = True  # until it is built: ipywidgets closes a widget whose constructor raised

    selected = t.Unicode(None, allow_none=True, help="id of the checked SAE, or None")

    def __init__(
        self,
        ws: SaeWorkspace | None = None,
        *,
        height: int = 640,
        theme: Literal["auto", "light", "dark"] = "auto",
        embedded: bool = False,
    ) -> None:
        check_look(theme, height)
        self._height, self._theme = height, theme
        self._following = threading.local()
        self._download: Any = None
        self._extractions: Any = None
        self._steering: Any = None
        self._closed = False
        self._model = BrowserModel(workspace_or_default(ws, "saes"))
        first_read(self._model.read, self._model.set_notice)
        self._commands = BrowserCommands(self._model, self._wake)
        self._part = BaseWidget(
            "sae_browser", self._commands.table(), state=self._model.state(), theme=theme, height=height
        )
        self._parts: tuple[Any, ...] = (self._part,)
        super().__init__(self._parts, layout=ipywidgets.Layout(margin="0", overflow="visible"))
        if not embedded:
            self.add_class("sw-frame")
        self._publisher = Publisher(self._publish, name="browser", on_error=self._show_error)
        workspace = self._model.workspace
        self._unsubscribe = workspace.subscribe_saes(self._library_changed)
        self._unsubscribe_extractions = workspace.extractions.subscribe(self._library_changed)  # cards count features
        self._publisher.wake()

    # --------------------------------------------------------------------------------------------- for Python

    @property
    def workspace(self) -> Any:
        """The workspace it shows."""
        return self._model.workspace

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

    def export_html(self, path: str | Path | None = None) -> Path | str:
        """The list as it was last shown, as one self-contained page without script.

        Args:
            path: where to write it; None returns the text instead.
        """
        return page_at(html_document("SAEs", self._static()), path)

    def close(self) -> None:
        """Remove the browser from the page and stop following the workspace. Uploads under way are thrown away."""
        if not closes_now(self):
            return
        self._unsubscribe()
        self._unsubscribe_extractions()
        self._publisher.close()
        self._part.close()
        self._commands.uploads.close()
        for below in (self._download, self._extractions, self._steering):
            if below is not None:
                below.close()
        super().close()

    def __repr__(self) -> str:
        state = self._model.state()
        chosen = f", {len(state.selected)} selected" if state.selected else ""
        return f"<SAEBrowser {state.workspace}: {state.total:,} SAE{'s' * (state.total != 1)}{chosen}>"

    def _copied(self) -> BaseWidget:
        return self._part

    def _static(self) -> Html:
        state = self._model.state().model_dump(mode="json")
        return saes_page(
            state["cards"], total=state["total"], matching=state["matching"], workspace=state["workspace"],
            taken_at=state["updated_at"],
        )  # fmt: skip

    # --------------------------------------------------------------------------------------------- following

    def _library_changed(self, *_: Any) -> None:
        self._model.mark_changed()
        self._publisher.wake()

    def _wake(self) -> None:
        publisher = getattr(self, "_publisher", None)
        if publisher is not None:
            publisher.wake(urgent=True)

    def _publish(self) -> None:
        """Runs on the publisher thread, which alone writes traits."""
        self._model.read()
        text = self._model.workspace.notice
        self._model.set_notice(Note(what=text, kind="info") if text else None)
        self._show_below()
        self._send_state()

    def _send_state(self) -> None:
        state = self._model.state()
        if self._part.state.get("revision") != state.revision:
            self._part.state = state.model_dump(mode="json")
        checked = self._model.selected
        self._following.model = True  # of this thread: what Python code assigns meanwhile is still a choice
        try:
            self.selected = checked[-1] if checked else None
        finally:
            self._following.model = False

    def _show_below(self) -> None:
        wanted = self._model.shown_below
        below: Any = None
        if wanted == "download":
            below = self._download = self._download or self._make_download()
        elif wanted == "extractions":
            below = self._extractions = self._extractions or self._make_extractions()
            if (sae_id := self._commands.take_asked("extractions")) is not None:
                below.extract(sae_id)
        elif wanted == "steering":
            below = self._steering = self._steering or self._make_steering()
            if (sae_id := self._commands.take_asked("steering")) is not None:
                below.choose(sae_id)
        parts = (self._part,) if below is None else (self._part, below)
        if self._parts != parts:
            self._parts = parts
            self.children = parts

    def _make_download(self) -> Any:
        # On first use: most people open the browser for what they have.
        from saewidgets.widgets.download.widget import DownloadFromHF

        return DownloadFromHF(
            self.workspace, on_open=self._open, embedded=True, height=self._height, theme=self._theme
        )

    def _make_extractions(self) -> Any:
        # On first use, as above.
        from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer

        return ExtractionViewer(self.workspace, embedded=True, height=self._height, theme=self._theme)

    def _make_steering(self) -> Any:
        # On first use, as above.
        from saewidgets.widgets.steering.widget import Steering

        return Steering(
            self.workspace, on_browse=self._browse_features, embedded=True, height=self._height, theme=self._theme
        )

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

    def _show_error(self, error: BaseException) -> None:
        """Called on the publisher thread: what failed is shown until a publish succeeds."""
        self._model.set_notice(error_note(error))
        self._send_state()
