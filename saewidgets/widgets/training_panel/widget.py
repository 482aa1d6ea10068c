"""The training panel: start runs, watch them, pause, resume, stop, retry; live charts of loss, L0 and FVU."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets
import traitlets as t

from saewidgets.errors import ConfigError
from saewidgets.render import Html, runs_page
from saewidgets.widgets.charts.charts import Charts
from saewidgets.widgets.charts.pareto import ParetoChart
from saewidgets.widgets.messages.training import Figure, Picture
from saewidgets.widgets.shell import Part, Shell, checked_workspace, workers
from saewidgets.widgets.training_panel.commands import ChartCommands, PanelCommands
from saewidgets.widgets.training_panel.state import PanelModel, for_chart_bar, for_footer

if TYPE_CHECKING:
    from saewidgets.workspace import Workspace

logger = logging.getLogger("saewidgets.widgets")


class TrainingPanel(Shell, ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets carries no types
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
        ConfigError: `ws` is no workspace; `theme` or `height` has no such value.
        NotFoundError: the frontend is not built (source checkouts only).
    """

    _title = "Training"
    _model: PanelModel

    opened_sae = t.Unicode(None, allow_none=True, read_only=True, help="id of the SAE that was opened last, or None")

    def __init__(
        self,
        ws: Workspace | None = None,
        *,
        height: int = 640,
        theme: Literal["auto", "light", "dark"] = "auto",
        on_open: Callable[[str], object] | None = None,
    ) -> None:
        self._height = height
        self._theme: Literal["auto", "light", "dark"] = theme
        self._on_open = on_open
        self._opened: str | None = None
        self._browser: Any = None
        self._to_show: str | None = None
        workspace = checked_workspace(ws, theme, height)
        self._model = PanelModel(workspace)
        self._model.set_chart(theme=None if theme == "auto" else theme)
        self._first_read()
        self._reset_zoom, self._reset_pareto = threading.Event(), threading.Event()
        self._drawing = threading.Lock()
        self._charts = Charts(workspace.trainings.metric_columns, self._wake)
        self._draw_charts()
        self._pareto = ParetoChart(self._wake)
        self._pareto_box = ipywidgets.HBox([], layout=ipywidgets.Layout(margin="0"))
        self._pareto_box.add_class("sw-pareto")
        charts: Any = {"reset_zoom": self._reset_zoom.set, "pictures": self._pictures}
        self._commands = PanelCommands(
            self._model, self._wake, cut=lambda state: state, reset_pareto=self._reset_pareto.set,
            open_sae=self._open_sae, **charts,
        )  # fmt: skip
        parts = tuple(
            Part(view, commands, theme=theme, height=height)
            for view, commands in (
                ("training_panel", self._commands),
                ("chart_controls", ChartCommands(self._model, self._wake, cut=for_chart_bar, **charts)),
                ("training_footer", ChartCommands(self._model, self._wake, cut=for_footer, **charts)),
            )
        )
        top, bar, footer = parts
        self._runs_view: tuple[Any, ...] = (top, self._pareto_box, bar, self._charts.box, footer)
        super().__init__(self._runs_view, layout=ipywidgets.Layout(margin="0", overflow="visible"))
        self.add_class("sw-frame")
        self._charts.show()
        self._start(parts)
        self._ends = (
            workspace.trainings.follow(self._told),
            workspace.subscribe_saes(self._library_changed),
            workspace.templates.changes.add(self._templates_changed),
        )
        self._library_changed()  # what happened between the first read and here was not told
        workers().submit(self._warm_up)

    @property
    def selected(self) -> tuple[str, ...]:
        """Ids of the runs whose box is checked; the first six have lines in the charts. Assign to change it.

        A run that begins while the panel is there has a line as well, without being selected; it loses that line when
        you assign here.
        """
        return self._model.selected

    @selected.setter
    def selected(self, training_ids: Iterable[str]) -> None:
        ids = [training_ids] if isinstance(training_ids, str) else list(training_ids)
        known = {card.id for card in self._model.state().cards}
        unknown = [training_id for training_id in ids if training_id not in known]
        if unknown:
            raise ConfigError(f"There is no training {unknown[0]!r} in this workspace.", where="selected")
        self._model.select(ids)
        self._wake()

    def _warm_up(self) -> None:
        """Load what the form's first check needs (torch, transformers: seconds), so that it answers at once later."""
        try:
            # An impossible value: there is no estimate then, and so no measurement of the device beside a cell.
            self.workspace.trainings.validate({"tokens": 0})
        except Exception:  # nothing depends on it; whoever opens the form meets the same error, named
            logger.exception("The form could not be prepared")

    def __repr__(self) -> str:
        state = self._model.state()
        running = sum(card.status == "running" for card in state.cards)
        return f"<TrainingPanel {state.workspace}: {state.total} training{'s' * (state.total != 1)}, {running} running>"

    def _static(self) -> Html:
        return runs_page(self._model.state().model_dump(mode="json"), self._charts.static())

    def _owned(self) -> tuple[Any, ...]:
        self._commands.uploads.close()
        browser = () if self._browser is None else (self._browser,)
        return (*browser, *self._parts, self._charts, self._pareto, self._pareto_box)

    # --------------------------------------------------------------------------------------------- following

    def _told(self, training_id: str | None, news: Sequence[object]) -> None:
        self._model.tell(training_id, news)
        self._changed()

    def _library_changed(self, changed_id: str | None = None) -> None:
        # A download tells its job ten times a second, and no run has its SAE from there.
        if changed_id is None or changed_id.startswith("sae_"):
            self._model.mark_changed()
            self._changed()

    def _templates_changed(self, template_id: str | None) -> None:
        self._model.mark_templates_changed()
        self._changed()

    def _open_sae(self, sae_id: str | None) -> None:
        """*Open SAE* was pressed, or (None) *Back to trainings*."""
        self._opened = sae_id
        if sae_id is not None and self._on_open is not None:
            self._on_open(sae_id)
            return
        self._to_show = sae_id
        self._model.show_sae(sae_id)

    def _read(self) -> None:
        self._model.read()
        self._follow(self._model.devices)
        if self._reset_zoom.is_set():
            self._reset_zoom.clear()
            self._charts.reset_zoom()
        self._draw_charts()

    def _arrange(self) -> None:
        if self._reset_pareto.is_set():
            self._reset_pareto.clear()
            self._pareto.reset_zoom()
        comparison = self._model.state().compare
        if comparison is not None:
            with self._drawing:
                self._pareto.draw(comparison, self._model.chart.theme)
            self._model.set_pareto(zoomed=self._pareto.zoomed)

    def _publish(self) -> None:
        super()._publish()
        self._charts.show()
        state = self._model.state()
        comparison = state.compare is not None
        if comparison != bool(self._pareto_box.children):
            self._pareto_box.children = (self._pareto.box,) if comparison else ()
        if state.sae_shown is None:
            self._show(*self._runs_view)
        else:  # the SAE browser in the place of the runs
            self._browser = self._browser or self._make_browser()
            sae_id, self._to_show = self._to_show, None
            if sae_id is not None:
                self._browser.show(sae_id)
            self._show(self._runs_view[0], self._browser)
        self.set_trait("opened_sae", self._opened)

    def _make_browser(self) -> Any:
        # On first use: most panels never show it.
        from saewidgets.widgets.sae_browser.widget import SAEBrowser

        return SAEBrowser(self.workspace, embedded=True, height=self._height, theme=self._theme)

    def _pictures(self, figure: Figure) -> list[Picture]:
        """The figures for files; called from worker threads."""
        with self._drawing:
            if figure == "charts":
                return self._charts.pictures()
            picture = self._pareto.picture()
            return [picture] if picture is not None else []

    def _draw_charts(self) -> None:
        with self._drawing:
            self._charts.update(self._model.charted(), self._model.chart)
        self._model.set_chart(
            zoomed=self._charts.zoomed, longer=self._charts.longer, summaries=self._charts.summaries()
        )
