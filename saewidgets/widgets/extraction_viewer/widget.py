"""The extraction viewer: start extractions, browse the features that they found, read one."""

import logging
import operator
import threading
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import traitlets as t

from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.feature_records import ExtractionRecord, FeatureRecord
from saewidgets.render import Html
from saewidgets.render.static_views import extractions_page, feature_page_html
from saewidgets.widgets.download.widget import DownloadFromHF
from saewidgets.widgets.extraction_viewer.commands import ViewerCommands
from saewidgets.widgets.extraction_viewer.state import ViewerModel, view_from
from saewidgets.widgets.model import error_note
from saewidgets.widgets.shell import Box, Part, checked_workspace
from saewidgets.widgets.steering.widget import Steering
from saewidgets.workspace import Workspace
from saewidgets.workspace.lookup import find_id

logger = logging.getLogger("saewidgets.widgets")


class _WholeNumber(t.Int):  # type: ignore[type-arg]  # traitlets is generic for checkers only
    """A whole number, numpy's as well: they come out of DataFrames."""

    def validate(self, obj: Any, value: Any) -> Any:
        if isinstance(value, bool):  # which Python takes for 0 or 1
            self.error(obj, value)
        if hasattr(value, "__index__"):
            value = operator.index(value)
        return super().validate(obj, value)


class ExtractionViewer(Box):
    """What the features of SAEs fire on: extractions, a list of features, a page for each. Put it last in a cell.

    Extractions are jobs of the workspace: they go on when the viewer is closed, and every viewer over it shows them.
    Labels, stars and notes belong to the SAE and are shown everywhere. Each viewer has its own view.

    Args:
        ws: a `Workspace`; None takes the default one (`$SAEWIDGETS_HOME`, else ``~/.saewidgets``).
        sae: an SAE, its id or name: its newest extraction is opened, or *Start extraction* if it has none.
        extraction: id of the extraction to open; without either the newest one is.
        view: what `viewer.view` gave, to show the same again.
        height: largest inner height of lists in pixels; they scroll beyond that.
        theme: ``"auto"`` follows the notebook; ``"light"`` or ``"dark"`` overrides it.
        on_steer: called with the id of an SAE and the number of a feature when *Steer* is pressed; without it
            *Steering* opens below.
        embedded: it is inside a box that draws the frame.

    Attributes:
        selected: number of the feature that is open, or None. Assign to open another one;
            ``viewer.observe(f, "selected")`` follows it.

    Raises:
        ConfigError: an argument is invalid, `view` included; the SAE does not have that feature.
        NotFoundError: there is no such SAE or extraction; the frontend is not built (source checkouts only).
        StateError: the extraction cannot be read yet.
    """

    _title = "Features"
    _model: ViewerModel

    selected = _WholeNumber(None, allow_none=True, help="number of the open feature, or None")

    def __init__(
        self,
        ws: Workspace | None = None,
        *,
        sae: Any = None,
        extraction: Any = None,
        view: Mapping[str, Any] | None = None,
        height: int = 640,
        theme: Literal["auto", "light", "dark"] = "auto",
        on_steer: Callable[[str, int], object] | None = None,
        embedded: bool = False,
    ) -> None:
        self._on_steer = on_steer
        self._steered_sae: str | None = None
        self._steering_made = threading.Event()
        workspace = checked_workspace(ws, theme, height)
        self._model = ViewerModel(workspace)
        self._begin(sae, extraction, view)
        self._first_read(self._model.read_list)
        self._commands = ViewerCommands(self)
        part = Part("extraction_viewer", self._commands, height=height, theme=theme)
        self._build((part,), embedded=embedded, height=height, theme=theme)
        self._follow_model()
        changed = self._changed
        self._start((part,), workspace.extractions.subscribe(changed), workspace.features.subscribe(changed))

    def _begin(self, sae: Any, extraction: Any, view: Mapping[str, Any] | None) -> None:
        arguments = {"sae": sae, "extraction": extraction, "view": view}
        given = [name for name, value in arguments.items() if value is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} exclude each other.", where=given[1], hint="Give one of them.")
        if view is not None:
            self._model.show(view_from(view))
        elif extraction is not None:
            self._model.change(extraction_id=find_id(self.workspace, ("extraction",), extraction, "extraction"))
        elif sae is not None:
            sae_id = self.workspace.saes.find(sae).id
            if not self._model.open_newest(sae_id):
                self._model.change(dialog_sae=sae_id)
        else:
            try:
                self._model.open_newest()
            except SAEWidgetsError as error:  # the viewer is drawn all the same, and says so
                self._model.set_notice(error_note(error))

    @property
    def extraction(self) -> ExtractionRecord | None:
        """The record of the open extraction, read now; None if none is open, or it was deleted meanwhile."""
        extraction_id = self._model.view.extraction_id
        try:
            return None if extraction_id is None else self._model.record(extraction_id)
        except NotFoundError:
            return None

    @property
    def selected_feature(self) -> FeatureRecord | None:
        """The record of `selected` with its labels, read now; None if none is open."""
        record, index = self.extraction, self._model.view.feature
        return None if record is None or index is None else self.workspace.features.feature(record.id, index)

    @property
    def view(self) -> dict[str, Any]:
        """What is shown, as plain data: assign it (also to another viewer of the workspace) to show the same again."""
        return self._model.view.model_dump(mode="json")

    @view.setter
    def view(self, value: Mapping[str, Any]) -> None:
        self._model.show(view_from(value))
        self._follow_model()
        self._wake()

    def extract(self, sae: Any) -> None:
        """Open *Start extraction* with this SAE (its id, name or record) chosen. Raises `NotFoundError`."""
        self._model.change(dialog_sae=self.workspace.saes.find(sae).id)
        self._wake()

    def to_df(self) -> Any:
        """The features that the list shows, in its order, as a DataFrame: one row per feature.

        Raises:
            StateError: no extraction is open.
        """
        view = self._model.view
        if view.extraction_id is None:
            raise StateError("No extraction is open.", hint="Open one, or start one for an SAE.")
        return self.workspace.features.list(extraction_id=view.extraction_id, **view.query.model_dump()).to_df()

    @t.validate("selected")
    def _exists(self, proposal: Any) -> int | None:
        index: int | None = proposal["value"]
        if not self._follows:
            self._model.change(feature=index)  # refuses what does not exist before the trait has it
            self._wake()
        return index

    @t.observe("selected")
    def _closed_in_python(self, change: Any) -> None:
        if change["new"] is None and not self._follows:  # None is not validated
            self._model.change(feature=None)
            self._wake()

    def __repr__(self) -> str:
        state = self._model.state()
        parts = [f"{state.total:,} extraction{'s' * (state.total != 1)}"]
        if state.open is not None:
            parts.append(f"{state.open.name} open")
        if state.view.feature is not None:
            parts.append(f"feature {state.view.feature}")
        return f"<ExtractionViewer {state.workspace}: {', '.join(parts)}>"

    def _static(self) -> Html:
        state = self._model.state()
        view = state.view
        drawn = state.model_dump(mode="json")
        if view.tab == "features" and view.extraction_id is not None and view.feature is not None:
            try:
                table = self._commands.open_feature(view.extraction_id, view.feature)
            except SAEWidgetsError as error:  # its files, or the text, are gone: the list is what is left to show
                logger.info("No static copy of feature %s: %s", view.feature, error)
            else:
                values = np.frombuffer(table.buffers[0], dtype="<f4").tolist()
                name = state.open.name if state.open is not None else view.extraction_id
                return feature_page_html(table.value.model_dump(mode="json"), values, drawn, name=name)
        return extractions_page(drawn)

    def _owned(self) -> tuple[Any, ...]:
        self._steering_made.set()  # those who wait for it learn that the viewer is closed
        return super()._owned()

    def _take_over(self) -> None:
        self.selected = self._model.view.feature

    def _make(self, what: str) -> Any:
        if what == "download":
            return DownloadFromHF(self.workspace, **self._look)
        steering = Steering(
            self.workspace, sae=self._steered_sae, on_browse=self._browse, on_close=self._close_steering, **self._look
        )
        self._steering_made.set()
        return steering

    def steer(self, sae_id: str, index: int) -> None:
        """*Steer* was pressed. Runs on a worker thread; the publisher makes *Steering* and shows it."""
        if self._on_steer is not None:
            self._on_steer(sae_id, index)
            return
        self._steered_sae = sae_id
        self._model.show_below("steering", True)
        self._wake()
        if not self._steering_made.wait(60) or self._closed:
            raise StateError("The viewer is closed, or no page shows it.")
        with self._making:  # which is held until it is in its place
            steering = self._below["steering"]
        steering.add(sae_id, index)

    def _close_steering(self) -> None:
        self._model.show_below("steering", False)
        self._wake()

    def _browse(self) -> None:
        self._model.change(tab="features")
        self._wake()
