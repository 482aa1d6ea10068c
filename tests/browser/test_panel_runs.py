"""Several runs at once, the comparison, and every width of the panel, over a workspace where nothing trains."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, Snapshot
from tests.browser.waiting import wait_for_figures, wait_until

pytestmark = pytest.mark.long

SETUP = """
import pathlib, tempfile
from saewidgets.events import JobStatus
from saewidgets.widgets.training_panel.widget import TrainingPanel
from tests.widgets.seeded_runs import change, compared_workspace, make_store, show_stores, train_nothing
ws = train_nothing(compared_workspace(pathlib.Path(tempfile.mkdtemp()) / "workspace"))
hooks = ("blocks.6.mlp.hook_in", "blocks.6.hook_mlp_out")
captured = make_store("acts_1", name="gpt2 wikipedia", hook_names=hooks)
show_stores(ws, captured, make_store("acts_2", name="being captured", n_tokens=None, status=JobStatus.RUNNING))
panel = TrainingPanel(ws)
panel.selected = ["train_0", "train_1"]
"""


def test_bulk_actions(open_notebook: Open, page: Page, snapshot: Snapshot) -> None:
    notebook = open_notebook([SETUP, "panel"])
    panel = notebook.panel()
    # by keyboard: filter, take all that are shown, pause them
    panel.get_by_role("tab", name=re.compile("^Running")).focus()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("list", name="Trainings").get_by_role("listitem")).to_have_count(1)
    panel.get_by_role("tab", name=re.compile("^All")).click()
    everything = panel.get_by_role("checkbox", name="Select all shown")
    everything.focus()
    page.keyboard.press("Space")
    expect(panel.get_by_text("17 selected")).to_be_visible()
    panel.get_by_role("button", name="Pause selected").press("Enter")
    expect(panel.get_by_role("listitem", name="gpt2-l6-topk-k32", exact=True)).to_contain_text("Paused")
    assert notebook.python("print(ws.trainings.get('train_0').status.value)").strip() == "paused"
    # deleting names what is lost, and what the list shows is what there is
    panel.get_by_role("tab", name=re.compile("^Stopped")).click()
    everything.click()
    panel.get_by_role("tab", name=re.compile("^All")).click()
    everything.click()
    everything.click()
    expect(panel.get_by_text("Select all shown")).to_be_visible()
    for name in ("demo-l2-topk-k24", "gpt2-l6-gated-try"):
        panel.get_by_role("checkbox", name=f"Select {name}").check()
    panel.get_by_role("tab", name=re.compile("^Stopped")).click()
    expect(panel.get_by_text("1 hidden by the filter")).to_be_visible()
    panel.get_by_role("button", name="Delete selected").click()
    expect(panel.get_by_role("list", name="What would be deleted")).to_contain_text(
        "demo-l2-topk-k24 (hidden by the filter)"
    )
    snapshot("panel-hidden-light", page.locator(".sw-frame"))
    panel.get_by_role("button", name="Keep").click()
    panel.get_by_role("tab", name=re.compile("^All")).click()
    panel.get_by_role("button", name="Delete selected").click()
    expect(panel.get_by_text("Delete 2 trainings?")).to_be_visible()
    expect(panel.get_by_role("button", name="Keep")).to_be_focused()
    snapshot("panel-bulk-light", page.locator(".sw-frame"))
    panel.get_by_role("button", name="Delete trainings").click()
    expect(panel.get_by_role("listitem", name="demo-l2-topk-k24")).to_have_count(0)
    assert notebook.python("print(len(ws.trainings.list()))").strip() == "15"
    # what fails is told, by name
    panel.get_by_role("checkbox", name="Select gpt2-l6-jumprelu", exact=True).check()
    notebook.python("change(ws, 'train_1', status=JobStatus.STOPPED)")
    expect(panel.get_by_role("listitem", name="gpt2-l6-jumprelu", exact=True)).to_contain_text("Stopped")
    panel.get_by_role("button", name="Export selected").click()
    panel.get_by_role("textbox", name="Folder").fill("out")
    page.keyboard.press("Enter")
    expect(panel.get_by_text(re.compile("Its files are in .*out"))).to_be_visible()


def test_comparison(open_notebook: Open, page: Page, snapshot: Snapshot) -> None:
    notebook = open_notebook([SETUP, "panel"])
    panel = notebook.panel()
    panel.get_by_role("checkbox", name="Select gpt2-l6-jumprelu-1.5").check()
    panel.get_by_role("button", name="Compare").click()
    expect(panel.get_by_role("heading", name="Compare 3 trainings")).to_be_visible()
    table = panel.get_by_role("table", name="Configuration differences")
    expect(table.get_by_role("rowheader", name="Sparsity coefficient")).to_be_visible()
    expect(table.get_by_role("rowheader", name="Batch size")).to_have_count(0)
    panel.get_by_role("checkbox", name="Show all settings").check()
    expect(table.get_by_role("rowheader", name="Batch size")).to_be_visible()
    panel.get_by_role("checkbox", name="Show all settings").uncheck()
    pareto = page.locator(".sw-pareto")
    expect(pareto.locator(".bqplot")).to_be_visible()
    expect(pareto.get_by_text("k 16", exact=True)).to_be_visible()
    # the runs' curves lie over each other below
    wait_until(lambda: page.locator(".sw-charts path.line").count() >= 3)
    panel.get_by_role("radio", name="CE recovered").click()
    heading = panel.get_by_role("heading", name="L0 against CE recovered")
    expect(heading).to_be_visible()
    frame = page.locator(".sw-frame")
    frame.evaluate("frame => { frame.style.width = '848px'; }")  # what a notebook leaves on a laptop
    for part in (heading, panel.get_by_text("Y axis", exact=True)):
        box = part.bounding_box()
        assert box is not None
        assert box["height"] < 26, "the bar wraps"
    wait_for_figures(page)
    snapshot("panel-compare-ce-light", frame)
    frame.evaluate("frame => { frame.style.width = ''; }")
    wait_until(lambda: notebook.python("print(panel._pareto._figure.axes[1].label)").strip() == "CE recovered")

    def zoomed() -> bool:
        """Turn the wheel over the figure: it moves while what is above it is still drawn, and misses a turn then."""
        pareto.locator(".bqplot").scroll_into_view_if_needed()
        box = pareto.locator(".bqplot").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 100)
        page.mouse.wheel(0, -300)
        return bool(notebook.python("print(panel._pareto.zoomed)").strip() == "True")

    wait_until(zoomed)
    panel.get_by_role("button", name="Reset zoom of the Pareto view").click()
    wait_until(lambda: notebook.python("print(panel._pareto.zoomed)").strip() == "False")
    with page.expect_download() as download:
        panel.get_by_role("button", name="Download comparison as CSV").click()
    assert "sae.l0_coefficient" in download.value.path().read_text("utf-8")
    page.keyboard.press("Escape")
    expect(panel.get_by_role("list", name="Trainings")).to_be_visible()
    expect(pareto).to_be_hidden()


# Whatever sticks out of the frame and is in no box that scrolls.
CUT_OFF = """frame => {
  const box = frame.getBoundingClientRect();
  const scrolls = element => {
    for (let at = element.parentElement; at !== frame; at = at.parentElement)
      if (['auto', 'scroll'].includes(getComputedStyle(at).overflowX)) return true;
    return false;
  };
  return [...frame.querySelectorAll('button, input, select, h2, h3, label, td, th, .el, .bqplot')].filter(element => {
    const place = element.getBoundingClientRect();
    if (place.width <= 1 || element.closest('.vh') || element.closest('svg')) return false;
    return (place.right > box.right + 1 || place.left < box.left - 1) && !scrolls(element);
  }).map(element => `${element.tagName} ${element.textContent}`);
}"""


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_nothing_is_cut_off_at_any_width(open_notebook: Open, page: Page, snapshot: Snapshot, theme: str) -> None:
    page.set_viewport_size({"width": 1900, "height": 1600})
    notebook = open_notebook([SETUP, "panel"])
    panel, frame = notebook.panel(), page.locator(".sw-frame")
    notebook.theme(theme)
    expect(frame).to_have_attribute("data-sw-theme", theme.lower())
    for what in ("list", "compare", "form"):
        if what == "compare":
            for name in ("gpt2-l6-jumprelu-1.5", "gpt2-l6-topk-k64"):
                panel.get_by_role("checkbox", name=f"Select {name}").check()
            panel.get_by_role("button", name="Compare").click()
            expect(page.locator(".sw-pareto .bqplot")).to_be_visible()
        if what == "form":
            panel.get_by_role("button", name="Back to trainings").click()
            panel.get_by_role("button", name="New training").click()
            panel.get_by_role("button", name="Use stored activations").click()
            expect(panel.get_by_role("table", name="Activation stores")).to_be_visible()
        for width in (360, 600, 1400):
            frame.evaluate("(frame, width) => { frame.style.width = `${width}px`; }", width)
            wait_for_figures(page)
            assert frame.evaluate(CUT_OFF) == [], (what, width)
            snapshot(f"panel-{what}-{width}-{theme.lower()}", frame)
