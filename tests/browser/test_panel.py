"""The panel over a workspace where nothing trains: every state, two views, two panels, zoom, themes, narrow."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open, Snapshot
from tests.browser.waiting import wait_until

pytestmark = pytest.mark.long

SETUP = """
from saewidgets.widgets.training_panel.widget import TrainingPanel
from tests.widgets.seeded_runs import full_workspace, train_nothing
ws = train_nothing(full_workspace())
panel = TrainingPanel(ws)
panel.selected = ["train_0", "train_1"]
"""
RUN = "gpt2-l6-topk-k32"


def top(what: Locator) -> float:
    """Where it begins on the page, in pixels from above."""
    box = what.bounding_box()
    return box["y"] if box else 0.0


def test_every_state_is_drawn_in_light_and_dark(open_notebook: Open, page: Page, snapshot: Snapshot) -> None:
    notebook = open_notebook([SETUP, "panel"])
    panel = notebook.panel()
    cards = panel.get_by_role("list", name="Trainings").get_by_role("listitem")
    expect(cards).to_have_count(7)
    words = ["Running", "Paused", "Queued", "Completed", "Failed", "Interrupted", "Stopped"]
    for word in words:
        expect(panel.get_by_role("tab", name=re.compile(f"^{word}"))).to_contain_text("1")
    expect(panel.get_by_text("Loss became NaN at step 449")).to_be_visible()
    expect(page.locator(".sw-chart path.line").first).to_be_attached()
    snapshot("panel-light", page.locator(".sw-frame"))
    notebook.theme("Dark")
    expect(page.locator(".sw-frame")).to_have_attribute("data-sw-theme", "dark")
    wait_until(lambda: notebook.python("print(panel._model.chart.theme)").strip() == "dark")
    snapshot("panel-dark", page.locator(".sw-frame"))
    notebook.theme("Light")
    page.locator(".sw-frame").evaluate("frame => { frame.style.width = '420px'; }")
    wait_until(lambda: top(page.locator(".sw-chart").nth(1)) > top(page.locator(".sw-chart").first) + 100)
    wait_until(lambda: (page.locator(".sw-chart .bqplot").first.bounding_box() or {"width": 0})["width"] > 350)
    snapshot("panel-narrow", page.locator(".sw-frame"))


def test_two_views_and_two_panels_agree(open_notebook: Open, page: Page) -> None:
    notebook = open_notebook([SETUP, "panel", "panel", "other = TrainingPanel(ws); other"])
    first, second, third = (notebook.panel(i) for i in range(3))
    first.get_by_role("listitem", name=RUN).get_by_role("button", name="Pause", exact=True).click()
    for panel in (first, second, third):
        expect(panel.get_by_role("listitem", name=RUN)).to_contain_text("Paused")
    # The selection belongs to a panel: its views share it, another panel has its own.
    second.get_by_role("checkbox", name="Select gpt2-l8-topk-k64").check()
    expect(first.get_by_role("checkbox", name="Select gpt2-l8-topk-k64")).to_be_checked()
    expect(third.get_by_role("checkbox", name="Select gpt2-l8-topk-k64")).not_to_be_checked()
    assert notebook.python("print(sorted(panel.selected))").strip() == "['train_0', 'train_1', 'train_5']"


def test_the_x_axis_ends_where_the_shown_runs_end(open_notebook: Open, page: Page) -> None:
    notebook = open_notebook([SETUP, "panel"])
    chart = page.locator(".sw-chart .bqplot").first
    chart.scroll_into_view_if_needed()

    def share() -> float:
        """How much of the figure's width the widest line takes."""
        return float(
            chart.evaluate("""figure => {
              const whole = figure.getBoundingClientRect().width;
              const lines = [...figure.querySelectorAll("path.line")].filter(path => path.getAttribute("d"));
              return Math.max(0, ...lines.map(path => path.getBoundingClientRect().width)) / whole;
            }""")
        )

    wait_until(lambda: share() > 0.6)
    for wanted in ("['train_6']", "['train_3', 'train_6']", "['train_6']"):  # 22 points; with one of 244; 22 again
        notebook.python(f"panel.selected = {wanted}")
        wait_until(lambda wanted=wanted: notebook.python("print(list(panel._model._slots))").strip() == wanted)
        page.wait_for_timeout(1000)
        assert 0.6 < share() <= 1


def test_crosshair_and_full_width(open_notebook: Open, page: Page, snapshot: Snapshot) -> None:
    notebook = open_notebook([SETUP, "panel.selected = ['train_0', 'train_5']\npanel"])
    figures, values = page.locator(".sw-chart .bqplot"), page.locator(".cross > div")

    def point_at(share: float) -> None:
        figures.first.scroll_into_view_if_needed()
        box = figures.first.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + 50)

    expect(figures.first.locator("path.line").first).to_be_attached()
    point_at(0.5)
    expect(values).to_have_count(3)
    for number in range(3):
        expect(values.nth(number)).to_have_text(re.compile(r"^[\d.]+M tokens\s+[\d.]+\s+[\d.]+$"))
    snapshot("panel-crosshair", page.locator(".sw-frame"))
    wide = page.get_by_role("button", name="Full width of chart 2")
    wide.click()
    expect(figures).to_have_count(1)
    wait_until(lambda: (figures.bounding_box() or {"height": 0})["height"] > 300)
    point_at(0.7)
    expect(values).to_have_count(1)
    snapshot("panel-full-width", page.locator(".sw-frame"))
    wide.click()
    expect(figures).to_have_count(3)
    expect(values).to_have_count(0)
    assert notebook.python("print(panel._model.chart.wide)").strip() == "0"


def test_zoom_pan_and_reset(open_notebook: Open, page: Page) -> None:
    notebook = open_notebook([SETUP, "panel"])
    figure = page.locator(".sw-chart .bqplot").first
    expect(figure.locator("path.line").first).to_be_attached()
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.mouse.wheel(0, -300)
    wait_until(lambda: notebook.python("print(panel._model.chart.zoomed)").strip() == "True")
    before = notebook.python("print(panel._charts._x.min)")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 - 60, box["y"] + 50, steps=4)
    page.mouse.up()
    wait_until(lambda: notebook.python("print(panel._charts._x.min)") != before)
    page.get_by_role("button", name="Reset zoom").click()
    wait_until(lambda: notebook.python("print(panel._charts.zoomed)").strip() == "False")


def test_a_bad_field_is_named_and_gets_the_focus(open_notebook: Open, page: Page) -> None:
    notebook = open_notebook([f"{SETUP}\nshown = 0", "shown += 1; panel"])
    panel = notebook.panel()
    panel.get_by_role("button", name="New training").click()
    field = panel.get_by_role("textbox", name="Active latents (k)", exact=True)
    field.fill("20000")
    expect(panel.get_by_text("k is 20,000 but d_sae is 4,096.")).to_be_visible()
    panel.get_by_role("button", name="Start training").click()
    expect(field).to_be_focused()
    assert notebook.python("print(len(ws.trainings.list()))").strip() == "7"
    # The keys that start are those that run a cell: the notebook must not hear them.
    field.fill("32")
    field.press("Shift+Enter")
    field.press("Control+Enter")
    expect(panel.get_by_role("form", name="New training")).to_have_count(0)
    assert notebook.python("print(len(ws.trainings.list()), shown)").split() == ["8", "1"]
    panel.get_by_role("button", name="New training").click()
    panel.get_by_role("textbox", name="Name", exact=True).fill("by-enter")
    panel.get_by_role("textbox", name="Name", exact=True).press("Enter")
    expect(panel.get_by_role("listitem", name="by-enter")).to_be_focused()


@pytest.mark.parametrize("end", ["session.kernel.restart", "shutdown"])
def test_a_dead_kernel_is_reported_and_nothing_looks_live(
    end: str, open_notebook: Open, page: Page, snapshot: Snapshot
) -> None:
    elsewhere = SETUP.replace("train_nothing(full_workspace())", "full_workspace()")  # its own it would pause first
    notebook = open_notebook([elsewhere, "panel", "import saewidgets as sw\nsw.DownloadFromHF(sw.Workspace('alone'))"])
    panel, download = notebook.panel(), page.get_by_role("region", name="Download from Hugging Face")
    expect(panel.get_by_text("48,210 tok/s")).to_be_visible()
    expect(page.locator(".sw-chart path.line").first).to_be_attached()
    before = top(page.locator(".sw-chart").nth(1))
    page.evaluate(f"() => jupyterapp.shell.currentWidget.sessionContext.{end}()")
    expect(panel.get_by_text("Not connected.")).to_be_visible()
    expect(panel.get_by_text("48,210 tok/s")).to_have_count(0)
    expect(panel.get_by_role("listitem", name=RUN).get_by_role("button", name="Pause", exact=True)).to_be_disabled()
    expect(panel.get_by_role("button", name="New training")).to_be_disabled()
    expect(download.get_by_text("Not connected.")).to_be_visible()
    expect(download.get_by_role("button", name="Preview")).to_be_disabled()
    colours = "word => ['--sw-running', '--sw-text-3'].map(name => getComputedStyle(word).getPropertyValue(name))"
    running, quiet = panel.get_by_text("Running").last.evaluate(colours)
    assert running == quiet
    expect(page.locator(".sw-frame").get_by_text(re.compile("^State of .*, not connected$"))).to_be_visible()
    # ipywidgets' broken links take no place in the row of charts
    assert abs(top(page.locator(".sw-chart").nth(1)) - top(page.locator(".sw-chart").first)) < 2
    assert top(page.locator(".sw-chart").nth(1)) - before < 80  # only the note came in
    snapshot(f"panel-gone-{end.split('.')[-1]}", page.locator(".sw-frame"))
