"""The training panel: start runs, watch them, pause, resume, stop, retry; live charts of loss, L0 and FVU."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

import ipywidgets
import traitlets as t

from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.render import Html, runs_page
from saewidgets.render.page import html_document
from saewidgets.widgets.base import BaseWidget, workers
from saewidgets.widgets.charts.charts import Charts
from saewidgets.widgets.charts.pareto import ParetoChart
from saewidgets.widgets.messages.training import PanelState, Picture
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.publisher import Publisher
from saewidgets.widgets.shown import StaticCopy, check_look, closes_now, error_note, page_at, workspace_or_default
from saewidgets.widgets.training_panel.commands import PanelCommands
from saewidgets.widgets.training_panel.runs import RunsCommands
from saewidgets.widgets.training_panel.state import PanelModel, WorkspaceLike, for_chart_bar, for_footer
from saewidgets.widgets.training_panel.stores import StoreCommands
from saewidgets.widgets.training_panel.templates import TemplateCommands

logger = logging.getLogger("saewidgets.widgets")


class TrainingPanel(StaticCopy, ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets carries no types
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

    _closed = True  # until it is built: ipywidgets closes a widget whose constructor raised

    opened_sae = t.Unicode(None, allow_none=True, read_only=True, help="id of the SAE that was opened last, or None")

    def __init__(
        self,
        ws: WorkspaceLike | None = None,
        *,
        height: int = 640,
        theme: Literal["auto", "light", "dark"] = "auto",
        on_open: Callable[[str], object] | None = None,
    ) -> None:
        check_look(theme, height)
        self._height = height
        self._theme: Literal["auto", "light", "dark"] = theme
        self._on_open = on_open
        self._opened: str | None = None
        self._browser: Any = None
        self._to_show: str | None = None
        self._panel = PanelModel(workspace_or_default(ws, "trainings"))
        self._closed = False
        self._reset_zoom = threading.Event()
        self._reading_devices: Future[None] | None = None
        if theme != "auto":
            self._panel.set_theme(theme)
        self._first_read()
        self._drawing = threading.Lock()
        self._charts = Charts(self._read_metrics, self._wake)
        self._draw_charts()
        self._reset_pareto = threading.Event()
        self._pareto = ParetoChart(self._wake)
        self._pareto_box = ipywidgets.HBox([], layout=ipywidgets.Layout(margin="0"))
        self._pareto_box.add_class("sw-pareto")
        commands = PanelCommands(self._panel, self._wake, self._reset_zoom.set, self._pictures)
        several = RunsCommands(self._panel, self._wake, self._reset_pareto.set, self._open_sae)
        templates, stores = TemplateCommands(self._panel), StoreCommands(self._panel)
        self._close_templates = templates.close
        self._parts = tuple(
            (BaseWidget(view, table, state=cut(self._panel.state()), theme=theme, height=height), cut)
            for view, table, cut in (
                (
                    "training_panel",
                    {**commands.table(_whole), **several.table(), **templates.table(), **stores.table()},
                    _whole,
                ),
                ("chart_controls", commands.table(for_chart_bar), for_chart_bar),
                ("training_footer", commands.table(for_footer), for_footer),
            )
        )
        top, bar, footer = (part for part, _ in self._parts)
        self._runs_view: tuple[Any, ...] = (top, self._pareto_box, bar, self._charts.box, footer)
        self._shown_parts = self._runs_view
        super().__init__(
            self._runs_view,
            layout=ipywidgets.Layout(margin="0", overflow="visible"),
        )
        self.add_class("sw-frame")
        self._charts.show()
        self._publisher = Publisher(self._publish, name="panel", on_error=self._show_error)
        self._unsubscribe = self._panel.workspace.subscribe(self._workspace_changed)
        self._unsubscribe_saes = self._panel.workspace.subscribe_saes(self._library_changed)
        self._unsubscribe_templates = self._panel.workspace.templates.changes.add(self._templates_changed)
        self._publisher.wake()
        workers().submit(self._warm_up)

    # --------------------------------------------------------------------------------------------- for Python

    @property
    def workspace(self) -> Any:
        """The workspace it shows."""
        return self._panel.workspace

    @property
    def selected(self) -> tuple[str, ...]:
        """Ids of the runs whose box is checked; the first six have lines in the charts. Assign to change it.

        A run that begins while the panel is there has a line as well, without being selected; it loses that line when
        you assign here.
        """
        return self._panel.selected

    @selected.setter
    def selected(self, training_ids: Iterable[str]) -> None:
        ids = [training_ids] if isinstance(training_ids, str) else list(training_ids)
        known = {card.id for card in self._panel.state().cards}
        unknown = [training_id for training_id in ids if training_id not in known]
        if unknown:
            raise ConfigError(f"There is no training {unknown[0]!r} in this workspace.", where="selected")
        self._panel.select(ids)
        self._wake()

    def export_html(self, path: str | Path | None = None) -> Path | str:
        """The panel's last state as one self-contained page without script.

        Args:
            path: where to write it; None returns the text instead.
        """
        return page_at(html_document("Training", self._static()), path)

    def close(self) -> None:
        """Remove the panel from the page and stop following the workspace. Its runs go on."""
        if not closes_now(self):
            return
        self._unsubscribe()
        self._unsubscribe_saes()
        self._unsubscribe_templates()
        self._close_templates()
        self._publisher.close()
        if self._browser is not None:
            self._browser.close()
        for part, _ in self._parts:
            part.close()
        self._charts.close()
        self._pareto.close()
        self._pareto_box.close()
        super().close()

    def _warm_up(self) -> None:
        """Load what the form's first check needs (torch, transformers: seconds), so that it answers at once later."""
        try:
            # An impossible value: there is no estimate then, and so no measurement of the device beside a cell.
            self._panel.workspace.trainings.validate({"tokens": 0})
        except Exception:  # nothing depends on it; whoever opens the form meets the same error, named
            logger.exception("The form could not be prepared")

    def __repr__(self) -> str:
        state = self._panel.state()
        running = sum(card.status == "running" for card in state.cards)
        return f"<TrainingPanel {state.workspace}: {state.total} training{'s' * (state.total != 1)}, {running} running>"

    def _copied(self) -> BaseWidget:
        return self._parts[0][0]

    def _static(self) -> Html:
        state = self._panel.state().model_dump(mode="json")
        return runs_page(
            state["cards"], workspace=state["workspace"], taken_at=state["updated_at"], charts=self._charts.static()
        )

    # --------------------------------------------------------------------------------------------- following

    def _workspace_changed(self, training_id: str | None) -> None:
        self._panel.mark_changed(training_id)
        self._publisher.wake()

    def _library_changed(self, changed_id: str | None = None) -> None:
        # A download tells its job ten times a second, and no run has its SAE from there.
        if changed_id is None or changed_id.startswith("sae_"):
            self._panel.mark_sae_changed(changed_id)
            self._publisher.wake()

    def _templates_changed(self, template_id: str | None) -> None:
        self._panel.mark_templates_changed()
        self._publisher.wake()

    def _open_sae(self, sae_id: str | None) -> None:
        """*Open SAE* was pressed, or (None) *Back to trainings*."""
        self._opened = sae_id
        if sae_id is not None and self._on_open is not None:
            self._on_open(sae_id)
            return
        self._to_show = sae_id
        self._panel.show_sae(sae_id)

    def _wake(self) -> None:
        publisher = getattr(self, "_publisher", None)  # the charts exist a moment before it
        if publisher is not None:
            publisher.wake(urgent=True)

    def _first_read(self) -> None:
        try:
            self._panel.read()
        except SAEWidgetsError as error:  # the panel is drawn all the same, and says so; the publisher tries again
            self._show_error(error)

    def _publish(self) -> None:
        """Runs on the publisher thread, which alone writes traits."""
        self._panel.read()
        if self._panel.devices_are_old and (self._reading_devices is None or self._reading_devices.done()):
            self._reading_devices = workers().submit(self._read_devices)
        if self._reset_zoom.is_set():
            self._reset_zoom.clear()
            self._charts.reset_zoom()
        self._draw_charts()
        self._panel.set_notice(self._workspace_notice())
        comparison = self._draw_comparison()
        self._send_state()
        self._charts.show()
        if comparison != bool(self._pareto_box.children):
            self._pareto_box.children = (self._pareto.box,) if comparison else ()
        self._show_parts()
        self.set_trait("opened_sae", self._opened)

    def _show_parts(self) -> None:
        """The runs with their charts, or the SAE browser in their place."""
        if self._panel.sae_shown is None:
            wanted = self._runs_view
        else:
            self._browser = self._browser or self._make_browser()
            sae_id, self._to_show = self._to_show, None
            if sae_id is not None:
                self._browser.show(sae_id)
            wanted = (self._runs_view[0], self._browser)
        if self._shown_parts != wanted:
            self._shown_parts = wanted
            self.children = wanted

    def _make_browser(self) -> Any:
        # On first use: most panels never show it.
        from saewidgets.widgets.sae_browser.widget import SAEBrowser

        return SAEBrowser(self.workspace, embedded=True, height=self._height, theme=self._theme)

    def _read_devices(self) -> None:
        try:
            self._panel.read_devices()
        except Exception as error:  # e.g. a broken CUDA driver: the panel works without, and the reason is logged
            logger.exception("The devices of this machine could not be listed")
            self._panel.devices_failed(error_note(error))
        self._wake()

    def _workspace_notice(self) -> Note | None:
        text = self._panel.workspace.notice
        return Note(what=text, kind="info") if text else None

    def _pictures(self, figure: str) -> list[Picture]:
        """The figures for files; called from worker threads."""
        with self._drawing:
            if figure == "charts":
                return self._charts.pictures()
            picture = self._pareto.picture()
            return [picture] if picture is not None else []

    def _draw_charts(self) -> None:
        with self._drawing:
            self._charts.update(self._panel.charted(), self._panel.chart, self._panel.earlier())
        self._panel.set_charts_drawn(self._charts.zoomed, self._charts.longer, self._charts.summaries())

    def _draw_comparison(self) -> bool:
        """Draw the Pareto view; whether there is a comparison."""
        if self._reset_pareto.is_set():
            self._reset_pareto.clear()
            self._pareto.reset_zoom()
        comparison = self._panel.state().compare
        if comparison is not None:
            with self._drawing:
                self._pareto.draw(comparison, self._panel.chart.theme)
            self._panel.set_pareto_drawn(self._pareto.zoomed)
        return comparison is not None

    def _send_state(self) -> None:
        state = self._panel.state()
        for part, cut in self._parts:
            if part.state.get("revision") != state.revision:
                part.state = cut(state).model_dump(mode="json")

    def _show_error(self, error: BaseException) -> None:
        """Called on the publisher thread (and before it exists): what failed is shown until a publish succeeds."""
        self._panel.set_notice(error_note(error))
        if hasattr(self, "_parts"):
            self._send_state()

    def _read_metrics(self, training_id: str, names: tuple[str, ...], min_step: int) -> Any:
        return self._panel.workspace.trainings.metric_columns(training_id, names, min_step, None, 0)


def _whole(state: PanelState) -> PanelState:
    return state
