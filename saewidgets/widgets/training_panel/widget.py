"""The training panel: start runs, watch them, pause, resume, stop, retry; live charts of their metrics."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets
import traitlets as t

from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.events import JobStatus
from saewidgets.render import Html, runs_page
from saewidgets.widgets.charts.charts import Charts
from saewidgets.widgets.charts.series import ChartedRun
from saewidgets.widgets.messages.training import ChartState, Figure, Picture
from saewidgets.widgets.shell import Box, Part, checked_workspace, workers
from saewidgets.widgets.training_panel.commands import ChartCommands, PanelCommands
from saewidgets.widgets.training_panel.state import PanelModel, for_chart_bar, for_footer
from saewidgets.workspace import Workspace

if TYPE_CHECKING:
    from saewidgets.widgets.charts.pareto import ParetoChart

logger = logging.getLogger("saewidgets.widgets")


class TrainingPanel(Box):
    """Train sparse autoencoders from the notebook. Put it last in a cell to see it.

    Any number of panels may show one workspace, and one panel may be displayed many times: all agree, because all are
    drawn from the workspace. Runs go on when the panel is closed.

    Args:
        ws: a `Workspace`; None takes the default one (`$SAEWIDGETS_HOME`, else ``~/.saewidgets``).
        height: largest inner height of the list of runs in pixels; it scrolls beyond that.
        theme: ``"auto"`` follows the notebook; ``"light"`` or ``"dark"`` overrides it.
        on_open: called with the id of an SAE when *Open SAE* is pressed; without it the SAE browser opens in the place
            of the runs.

    Attributes:
        opened_sae: id of the SAE for which *Open SAE* was pressed last, None before that and after *Back to trainings*;
            ``panel.observe(f, "opened_sae")`` follows it. Read only.

    Raises:
        ConfigError: `ws` is not a workspace; `theme` or `height` is invalid.
        NotFoundError: the frontend is not built (source checkouts only).
    """

    _title = "Training"
    _model: PanelModel
    _is_cold = True  # the form's first check would take seconds

    opened_sae = t.Unicode(None, allow_none=True, read_only=True, help="id of the SAE that was opened last, or None")

    def __init__(
        self,
        ws: Workspace | None = None,
        *,
        height: int = 640,
        theme: Literal["auto", "light", "dark"] = "auto",
        on_open: Callable[[str], object] | None = None,
    ) -> None:
        self._on_open = on_open
        self._opened: str | None = None
        self._to_show: str | None = None
        workspace = checked_workspace(ws, theme, height)
        self._model = PanelModel(workspace)
        self._model.set_chart(theme=None if theme == "auto" else theme)
        self._first_read()
        self.reset_charts, self.reset_pareto = threading.Event(), threading.Event()
        self._drawing = threading.Lock()
        self._charts = Charts(workspace.trainings.metric_columns, self._wake)
        self._take_runs(self._charts.read)  # the publisher draws them, when the list is on the page
        self._charts.keep_room()
        self._pareto: ParetoChart | None = None
        self._pareto_box = ipywidgets.HBox([], layout=ipywidgets.Layout(margin="0"))
        self._pareto_box.add_class("sw-pareto")
        self._commands = PanelCommands(self)
        look: Any = {"theme": theme, "height": height}
        top = Part("training_panel", self._commands, **look)
        bar = Part("chart_controls", ChartCommands(self, for_chart_bar), **look)
        footer = Part("training_footer", ChartCommands(self, for_footer), **look)
        self._runs_view: tuple[Any, ...] = (top, self._pareto_box, bar, self._charts.box, footer)
        self._build(self._runs_view, embedded=False, **look)
        self._start(
            (top, bar, footer), workspace.trainings.follow(self._told), workspace.subscribe_saes(self._library_changed),
            workspace.templates.changes.add(self._templates_changed),
        )  # fmt: skip

    @property
    def selected(self) -> tuple[str, ...]:
        """Ids of the runs whose box is checked; the first six have lines in the charts. Assign to change it.

        A run that begins while the panel is there has a line as well, without being selected; it loses that line when
        you assign here.
        """
        return self._model.selected

    @selected.setter
    def selected(self, runs: Iterable[Any]) -> None:
        try:
            ids = [self.workspace.trainings.get(run).id for run in ([runs] if isinstance(runs, str) else runs)]
        except NotFoundError as error:
            raise ConfigError(error.what, where="selected", hint=error.hint) from error
        self._model.select(ids)
        self._wake()

    def _warm_up(self) -> None:
        """Load what the form's first check needs (torch, transformers: seconds), so that it answers at once later."""
        try:
            # An impossible value: there is no estimate then, and so no measurement of the device beside a cell.
            self.workspace.trainings.validate({"tokens": 0})
        except Exception:  # nothing depends on it; the form shows the same error at its field
            logger.exception("The form could not be prepared")

    def __repr__(self) -> str:
        state = self._model.state()
        running = sum(record.status is JobStatus.RUNNING for record in self._model.records())
        return f"<TrainingPanel {state.workspace}: {state.total} training{'s' * (state.total != 1)}, {running} running>"

    def _static(self) -> Html:
        self._model.show_all()
        return runs_page(self._model.state().model_dump(mode="json"), self._charts.static())

    def _copy(self) -> Html:
        return runs_page(self._parts[0].state, self._charts.static())  # the runs that the page has

    def _owned(self) -> tuple[Any, ...]:
        figures = (self._charts, *(() if self._pareto is None else (self._pareto,)))
        return (*super()._owned(), *figures, self._pareto_box)

    def _told(self, training_id: str | None, news: Sequence[object]) -> None:
        self._model.tell(training_id, news)
        self._wake(urgent=False)

    def _library_changed(self, changed_id: str | None = None) -> None:
        # A download tells its job ten times a second, and no run has its SAE from there.
        if changed_id is None or changed_id.startswith("sae_"):
            self._changed()

    def _templates_changed(self, template_id: str | None) -> None:
        self._model.mark_templates_changed()
        self._wake(urgent=False)

    def _publish(self) -> None:
        self._model.show_all()  # the page has the first ones by now
        super()._publish()
        if not self._charts.charts:  # the first time: the page has what was chosen meanwhile
            self._take_runs(self._charts.update)
            self._charts.show()

    def _read(self) -> None:
        super()._read()
        if self.reset_charts.is_set():
            self.reset_charts.clear()
            self._charts.reset_zoom()
        self._take_runs(self._charts.update if self._charts.charts else self._charts.read)

    def _take_runs(self, take: Callable[[Sequence[ChartedRun], ChartState], None]) -> None:
        with self._drawing:
            take(self._model.charted(), self._model.chart)
        self._model.set_chart(
            zoomed=self._charts.zoomed, longer=self._charts.longer, summaries=self._charts.summaries(),
            choices=self._charts.choices(), figures=self._charts.box.model_id,
        )  # fmt: skip

    def _arrange(self) -> None:
        if self.reset_pareto.is_set():
            self.reset_pareto.clear()
            if self._pareto is not None:
                self._pareto.reset_zoom()
        comparison = self._model.state().compare
        if comparison is not None:
            with self._drawing:
                if self._pareto is None:
                    from saewidgets.widgets.charts.pareto import ParetoChart  # as of the charts

                    self._pareto = ParetoChart(self._wake)
                self._pareto.draw(comparison, self._model.chart.theme)
            self._model.set_pareto(zoomed=self._pareto.zoomed)
        super()._arrange()

    def _send_state(self) -> None:
        super()._send_state()
        self._charts.show()
        comparison = self._parts[0].state["compare"] is not None  # as the page has it by now
        if comparison != bool(self._pareto_box.children):
            self._pareto_box.children = (self._pareto.box,) if comparison and self._pareto is not None else ()
        self._follow(self._model.devices)
        if self._is_cold:
            self._is_cold = False
            workers().submit(self._warm_up)

    def _take_over(self) -> None:
        self.set_trait("opened_sae", self._opened)

    def pictures(self, figure: Figure) -> tuple[Picture, ...]:
        with self._drawing:
            if figure == "charts":
                return tuple(self._charts.pictures())
            return () if self._pareto is None else self._pareto.pictures()

    def open_sae(self, sae_id: str | None) -> None:
        """*Open SAE* was pressed, or (None) *Back to trainings*."""
        self._opened = sae_id
        if sae_id is not None and self._on_open is not None:
            self._on_open(sae_id)
            return
        self._to_show = sae_id
        self._model.show_sae(sae_id)

    def _above(self, alone: bool) -> tuple[Any, ...]:
        return self._runs_view if alone else self._runs_view[:1]  # the SAE browser in the place of the runs

    def _opening(self, what: str, widget: Any) -> None:
        sae_id, self._to_show = self._to_show, None
        if sae_id is not None:
            widget.show(sae_id)

    def _make(self, what: str) -> Any:
        from saewidgets.widgets.sae_browser.widget import SAEBrowser  # when it is opened

        return SAEBrowser(self.workspace, **self._look)
