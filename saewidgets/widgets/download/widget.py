"""The download widget: look into repositories of the Hugging Face hub, choose SAEs, download them into the library."""

from collections.abc import Callable
from typing import Literal

from saewidgets.records import JobRecord, Records
from saewidgets.render import Html
from saewidgets.render.static_views import downloads_page
from saewidgets.widgets.download.commands import DownloadCommands
from saewidgets.widgets.download.state import DownloadModel
from saewidgets.widgets.shell import Part, Shell, checked_workspace
from saewidgets.workspace import Workspace


class DownloadFromHF(Shell, Part):
    """Download published SAEs from the Hugging Face hub. Put it last in a cell to see it.

    Downloads are jobs of the workspace: they go on when the widget is closed, and every widget over the same workspace
    shows them. An access token that is typed in stays in the memory of this widget: not in a trait or a file.

    Args:
        ws: a `Workspace`; None takes the default one (`$SAEWIDGETS_HOME`, else ``~/.saewidgets``).
        repository: what to look into: ``owner/name``, ``owner/name@revision``, a sub-folder, a link, or a SAELens
            ``release/id``.
        on_open: called with the id of an SAE when *Open in SAE browser* is pressed; without it there is no such button.
        embedded: it is inside a box that draws the frame.
        height: largest inner height of lists in pixels; they scroll beyond that.
        theme: ``"auto"`` follows the notebook; ``"light"`` or ``"dark"`` overrides it.

    Raises:
        ConfigError: `theme` or `height` is invalid.
        NotFoundError: the frontend is not built (source checkouts only).
    """

    _title = "Download from Hugging Face"
    _model: DownloadModel

    def __init__(
        self,
        ws: Workspace | None = None,
        *,
        repository: str = "",
        on_open: Callable[[str], object] | None = None,
        embedded: bool = False,
        height: int = 640,
        theme: Literal["auto", "light", "dark"] = "auto",
    ) -> None:
        workspace = checked_workspace(ws, theme, height)
        self._model = DownloadModel(
            workspace, repository=repository, can_open=on_open is not None, embedded=embedded
        )
        self.on_open = on_open
        self._first_read()
        super().__init__("download", DownloadCommands(self), theme=theme, height=height)
        self._start((self,), workspace.subscribe_saes(self._changed))

    @property
    def downloads(self) -> Records[JobRecord]:
        """The listed downloads, newest first; `ws.hub.downloads()` has all of them."""
        return Records(self._model.downloads, JobRecord)

    def close(self) -> None:
        """Remove the widget from the page, forget the access token, stop following the workspace. Downloads go on."""
        if not self._closed:
            super().close()
            self._model.keep_token(None)

    def __repr__(self) -> str:
        state = self._model.state()
        running = sum(card.status == "running" for card in state.downloads)
        count = len(state.downloads)
        return f"<DownloadFromHF {state.workspace}: {count} download{'s' * (count != 1)}, {running} running>"

    def _static(self) -> Html:
        return downloads_page(self._model.state().model_dump(mode="json"))

    def _read(self) -> None:
        self._model.read_known()
        super()._read()
        self._follow(self._model.devices)
