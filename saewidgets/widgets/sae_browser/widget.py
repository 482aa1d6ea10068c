"""The SAE browser: the workspace's SAEs, trained here or added; details, comparison, export."""

from typing import Any, Literal

import traitlets as t

from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.records import SAERecord
from saewidgets.render import Html
from saewidgets.render.static_views import saes_page
from saewidgets.widgets.download.widget import DownloadFromHF
from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer
from saewidgets.widgets.sae_browser.commands import BrowserCommands
from saewidgets.widgets.sae_browser.state import BrowserModel
from saewidgets.widgets.shell import Box, Part, checked_workspace
from saewidgets.widgets.steering.widget import Steering
from saewidgets.workspace import Workspace


class SAEBrowser(Box):
    """The SAEs of a workspace as a list with filters, statistics, comparison, export. Put it last in a cell to see it.

    Any number of browsers may show one workspace. Each has its own filters and selection, which all its views share.

    Args:
        ws: a `Workspace`; None takes the default one (`$SAEWIDGETS_HOME`, else ``~/.saewidgets``).
        height: largest inner height of the list in pixels; it scrolls beyond that.
        theme: ``"auto"`` follows the notebook; ``"light"`` or ``"dark"`` overrides it.
        embedded: it is inside a box that draws the frame.

    Attributes:
        selected: id of the checked SAE (of several: the one checked last), or None. Assign to check another one;
            ``browser.observe(f, "selected")`` follows it.

    Raises:
        ConfigError: `theme` or `height` is invalid; there is no SAE with the id assigned to `selected`.
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
        workspace = checked_workspace(ws, theme, height)
        self._model = BrowserModel(workspace)
        self._first_read()
        self._commands = BrowserCommands(self)
        part = Part("sae_browser", self._commands, height=height, theme=theme)
        self._build((part,), embedded=embedded, height=height, theme=theme)
        # cards count features
        self._start(
            (part,), workspace.subscribe_saes(self._changed), workspace.extractions.subscribe(self._changed)
        )

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
        if sae_id is None or self._follows:
            return sae_id
        try:
            return self._model.workspace.saes.get(sae_id).id
        except NotFoundError as error:
            raise ConfigError(error.what, where="selected", hint=error.hint) from error

    @t.observe("selected")
    def _chosen_in_python(self, change: Any) -> None:
        if not self._follows:
            self._model.select([] if change["new"] is None else [change["new"]])
            self._wake()

    def show(self, sae_id: Any) -> None:
        """Check this SAE (its id, name or record) alone, open its details and bring it into view despite the filters.

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
        return super()._owned()

    def _take_over(self) -> None:
        self.selected = next(reversed(self._model.selected), None)

    def _opening(self, what: str, widget: Any) -> None:
        if (sae_id := self._commands.asked.pop(what, None)) is not None:
            (widget.extract if what == "extractions" else widget.choose)(sae_id)

    def _make(self, what: str) -> Any:
        if what == "download":
            return DownloadFromHF(self.workspace, on_open=self._open, **self._look)
        if what == "extractions":
            return ExtractionViewer(self.workspace, **self._look)
        return Steering(self.workspace, on_browse=self._browse_features, **self._look)

    def _browse_features(self) -> None:
        self._model.show_below("extractions", True)
        self._wake()

    def _open(self, sae_id: str) -> None:
        self._model.select([sae_id])
        self._model.show_below("download", False)
        self._model.reveal(sae_id)
        self._wake()
