"""The panel as Python sees it: follows the workspace, agrees with other panels, leaves a static copy."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from saewidgets.errors import ConfigError
from saewidgets.events import Progress
from saewidgets.widgets.sae_browser.widget import SAEBrowser
from saewidgets.widgets.training_panel.widget import TrainingPanel
from saewidgets.workspace import Workspace
from tests.jobs.conftest import wait_until
from tests.widgets.conftest import Sent, ask
from tests.widgets.seeded_runs import change, give_sae


def cards(panel: TrainingPanel) -> dict[str, dict[str, Any]]:
    return {card["id"]: card for card in panel._parts[0].state["cards"]}


def test_it_is_a_box_of_parts_with_a_static_copy(panel: TrainingPanel) -> None:
    assert [getattr(child, "_view", "charts") for child in panel.children] == [
        "training_panel", "charts", "chart_controls", "charts", "training_footer",
    ]  # fmt: skip
    assert "sw-frame" in panel._dom_classes
    assert repr(panel) == "<TrainingPanel ws: 17 trainings, 1 running>"
    html = panel.export_html()
    assert "gpt2-l6-topk-k32" in html
    assert "<svg" in html


def test_it_follows_the_workspace(panel: TrainingPanel, ws: Workspace) -> None:
    change(ws, "train_0", step=4321)
    wait_until(lambda: cards(panel)["train_0"]["step"] == 4321)
    ws.trainings.delete("train_6")  # in a cell: nobody tells of it, and the page finds it when it asks
    panel._model._read_at = 0.0  # long ago
    panel._commands.refresh()
    wait_until(lambda: "train_6" not in cards(panel))


def test_a_press_reaches_both_panels(ws: Workspace, record_messages: Callable[[Any], Sent]) -> None:
    first, second = TrainingPanel(ws), TrainingPanel(ws)
    part = first._parts[0]
    answer = ask(part, record_messages(part), kind="run_action", action="stop_without_saving", training_id="train_2")
    assert answer["value"]["training_id"] == "train_2"
    for panel in (first, second):
        wait_until(lambda panel=panel: cards(panel)["train_2"]["status"] == "cancelled")
        panel.close()


def test_traits_are_written_by_one_thread_at_most_ten_times_a_second(panel: TrainingPanel) -> None:
    threads: set[str] = set()
    count: list[int] = []

    def note(change: Any) -> None:
        threads.add(threading.current_thread().name)
        count.append(1)

    wait_until(lambda: panel._parts[0].state["devices"])
    panel._parts[0].observe(note, names=["state"])
    for step in range(600):
        panel._told("train_0", [Progress(step, 1000, step=step)])
        threading.Event().wait(0.001)
    wait_until(lambda: cards(panel)["train_0"]["step"] == 599)
    assert threads == {"saewidgets-training"}
    assert len(count) <= 40


def test_selected(panel: TrainingPanel) -> None:
    panel.selected = ["train_3", "train_1"]
    assert panel.selected == ("train_3", "train_1")
    wait_until(lambda: cards(panel)["train_3"]["series"] is not None)
    wait_until(lambda: {card["id"] for card in panel._parts[1].state["cards"]} == {"train_1", "train_3"})
    panel.selected = "train_0"
    assert panel.selected == ("train_0",)
    with pytest.raises(ConfigError, match="no training 'nobody'"):
        panel.selected = ["nobody"]


def test_the_pages_theme_reaches_the_charts(panel: TrainingPanel, record_messages: Callable[[Any], Sent]) -> None:
    bar = panel._parts[1]
    ask(bar, record_messages(bar), kind="chart", theme="dark", x_axis="steps")
    wait_until(lambda: bar.state["charts"]["theme"] == "dark")
    wait_until(lambda: {chart.look.theme for chart in panel._charts.charts} == {"dark"})


def test_the_pareto_view_is_there_while_runs_are_compared(panel: TrainingPanel) -> None:
    box = panel.children[1]
    assert box.children == ()
    panel._model.compare(["train_0", "train_1"])
    panel._wake()
    wait_until(lambda: len(box.children) == 1)
    assert panel._parts[0].state["compare"]["names"] == ["gpt2-l6-topk-k32", "gpt2-l6-jumprelu"]
    panel._model.compare([])
    panel._wake()
    wait_until(lambda: box.children == ())
    assert panel._parts[0].state["compare"] is None


@pytest.fixture
def sae(ws: Workspace) -> str:
    """The SAE of train_3, in the library."""
    give_sae(ws, "train_3")
    return str(ws.trainings.get("train_3").import_to_saes().id)


def test_open_sae_puts_the_browser_in_the_place_of_the_runs(
    ws: Workspace, record_messages: Callable[[Any], Sent]
) -> None:
    give_sae(ws, "train_3")
    panel = TrainingPanel(ws)
    part = panel._parts[0]
    sent = record_messages(part)
    followed: list[str | None] = []
    panel.observe(lambda change: followed.append(change["new"]), "opened_sae")
    ask(part, sent, kind="run_action", action="import", training_id="train_3")
    sae = wait_until(lambda: cards(panel)["train_3"]["sae_id"])
    assert ask(part, sent, kind="open_sae", sae_id=sae)["kind"] == "result"
    wait_until(lambda: len(panel.children) == 2)
    top, browser = panel.children
    assert top is part
    assert isinstance(browser, SAEBrowser)
    assert "sw-frame" not in browser._dom_classes
    wait_until(lambda: browser.selected == sae)
    wait_until(lambda: browser._parts[0].state["revealed"] == sae)
    wait_until(lambda: part.state["sae_shown"] == panel.opened_sae == sae)
    # a second panel, and this one after a reload of the page, know the SAE of the run; what stands below is this one's
    other = TrainingPanel(ws)
    assert cards(other)["train_3"]["sae_id"] == sae
    assert len(other.children) == 5
    other.close()
    ask(part, sent, kind="open_sae", sae_id=None)
    wait_until(lambda: len(panel.children) == 5)
    wait_until(lambda: panel.opened_sae is None)
    assert followed == [sae, None]
    # it is made once, and shows again what is asked for
    ask(part, sent, kind="open_sae", sae_id=sae)
    wait_until(lambda: len(panel.children) == 2)
    assert panel.children[1] is browser
    panel.close()


def test_an_sae_that_is_gone_is_not_opened(
    sae: str, panel: TrainingPanel, ws: Workspace, record_messages: Callable[[Any], Sent]
) -> None:
    part = panel._parts[0]
    sent = record_messages(part)
    assert cards(panel)["train_3"]["sae_id"] == sae
    ws.saes.delete(sae)  # in an SAE browser: the run is told of it, and offers the import again
    wait_until(lambda: cards(panel)["train_3"]["sae_id"] is None)
    answer = ask(part, sent, kind="open_sae", sae_id=sae)
    assert answer["kind"] == "failure"
    assert "There is no SAE" in answer["what"]
    assert panel.opened_sae is None
    assert len(panel.children) == 5


def test_on_open_is_called_with_the_sae(
    sae: str, ws: Workspace, record_messages: Callable[[Any], Sent]
) -> None:
    opened: list[str] = []
    panel = TrainingPanel(ws, on_open=opened.append)
    part = panel._parts[0]
    ask(part, record_messages(part), kind="open_sae", sae_id=sae)
    wait_until(lambda: panel.opened_sae == sae)
    assert opened == [sae]
    assert len(panel.children) == 5
    assert part.state["sae_shown"] is None
    panel.close()
