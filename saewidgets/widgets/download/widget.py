"""The download widget: look into repositories of the Hugging Face hub, choose SAEs, download them into the library."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

from saewidgets.records import JobRecord, Records
from saewidgets.render import Html
from saewidgets.render.downloads import downloads_page
from saewidgets.render.page import html_document
from saewidgets.widgets.base import BaseWidget, workers
from saewidgets.widgets.download.commands import DownloadCommands
from saewidgets.widgets.download.lookups import Lookups
from saewidgets.widgets.download.state import DownloadModel, WorkspaceLike
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.publisher import Publisher
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


class DownloadFromHF(StaticCopy, BaseWidget):
    """Download published SAEs from the Hugging Face hub. Put it last in a cell to see it.

    Downloads are jobs of the workspace: they go on when the widget is closed, and every widget over the same workspace
    shows them. An access token that is typed in stays in the memory of this widget: it is no trait and no file has it.

    Args:
        ws: a `Workspace`; None takes the default one (`$SAEWIDGETS_HOME`, else ``~/.saewidgets``).
        repository: what to look into: ``owner/name``, ``owner/name@revision``, a sub-folder, a link, or a SAELens
            ``release/id``.
        on_open: called with the id of an SAE when *Open in SAE browser* is pressed; without it there is no such button.
        embedded: it stands in a box that draws the frame.
        height: largest inner height of lists in pixels; they scroll beyond that.
        theme: ``"auto"`` follows the notebook; ``"light"`` or ``"dark"`` overrides it.

    Raises:
        ConfigError: `theme` or `height` has no such value.
        NotFoundError: the frontend is not built (source checkouts only).
    """

    _closed = True  # until it is built: ipywidgets closes a widget whose constructor raised

    def __init__(
        self,
        ws: WorkspaceLike | None = None,
        *,
        repository: str = "",
        on_open: Callable[[str], object] | None = None,
        embedded: bool = False,
        height: int = 640,
        theme: Literal["auto", "light", "dark"] = "auto",
    ) -> None:
        check_look(theme, height)
        workspace = workspace_or_default(ws, "hub")
        self._model = DownloadModel(
            workspace, repository=repository, can_open=on_open is not None, embedded=embedded
        )
        self._reading_devices: Future[None] | None = None
        self._lookups = Lookups()
        self._publisher: Publisher | None = None
        first_read(self._model.read, self._model.set_notice)
        commands = DownloadCommands(self._model, self._lookups, self._wake, on_open)
        super().__init__("download", commands.table(), state=self._model.state(), theme=theme, height=height)
        self._closed = False
        self._publisher = Publisher(self._publish, name="downloads", on_error=self._show_error)
        self._unsubscribe = workspace.subscribe_saes(self._workspace_changed)
        self._publisher.wake()

    # --------------------------------------------------------------------------------------------- for Python

    @property
    def workspace(self) -> Any:
        """The workspace it downloads into."""
        return self._model.workspace

    @property
    def downloads(self) -> Records[JobRecord]:
        """The listed downloads, newest first; `ws.hub.downloads()` has all of them."""
        return Records(self._model.downloads, JobRecord)

    def export_html(self, path: str | Path | None = None) -> Path | str:
        """The list of downloads as one self-contained page without script.

        Args:
            path: where to write it; None returns the text instead.
        """
        return page_at(html_document("Download from Hugging Face", self._static()), path)

    def close(self) -> None:
        """Remove the widget from the page, forget the access token, stop following the workspace. Downloads go on."""
        if not closes_now(self):
            return
        self._unsubscribe()
        self._lookups.close()
        if self._publisher is not None:
            self._publisher.close()
        self._model.keep_token(None)
        super().close()

    def __repr__(self) -> str:
        state = self._model.state()
        running = sum(card.status == "running" for card in state.downloads)
        count = len(state.downloads)
        return f"<DownloadFromHF {state.workspace}: {count} download{'s' * (count != 1)}, {running} running>"

    def _copied(self) -> BaseWidget:
        return self

    def _static(self) -> Html:
        state = self._model.state().model_dump(mode="json")
        return downloads_page(state["downloads"], workspace=state["workspace"], taken_at=state["updated_at"])

    # --------------------------------------------------------------------------------------------- following

    def _workspace_changed(self, *_: Any) -> None:
        if self._publisher is not None:
            self._publisher.wake()

    def _wake(self) -> None:
        if self._publisher is not None:
            self._publisher.wake(urgent=True)

    def _publish(self) -> None:
        """Runs on the publisher thread, which alone writes the trait."""
        self._model.read_known()
        self._model.read()
        if self._model.devices_are_old and (self._reading_devices is None or self._reading_devices.done()):
            self._reading_devices = workers().submit(self._read_devices)
        text = self._model.workspace.notice
        self._model.set_notice(Note(what=text, kind="info") if text else None)
        self._send_state()

    def _read_devices(self) -> None:
        try:
            self._model.read_devices()
        except Exception:  # e.g. a broken CUDA driver: downloads work without, and the reason is logged
            logger.exception("The devices of this machine could not be listed")
            self._model.devices_failed()
        self._wake()

    def _send_state(self) -> None:
        state = self._model.state()
        if self.state.get("revision") != state.revision:
            self.state = state.model_dump(mode="json")

    def _show_error(self, error: BaseException) -> None:
        """Called on the publisher thread: what failed is shown until a publish succeeds."""
        self._model.set_notice(error_note(error))
        self._send_state()
