"""What a run comes from and leads to: stored activations, the run it goes on from, its SAE; and every width."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open, Snapshot
from tests.browser.lab import Notebook
from tests.browser.waiting import wait_for_figures, wait_until

pytestmark = pytest.mark.long

SETUP = """
from saewidgets.config import TrainingConfig
from saewidgets.events import JobStatus
from saewidgets.widgets import TrainingPanel
from tests.widgets.seeded_runs import add_run, compared_workspace, give_sae, make_store, show_stores
ws = compared_workspace()
origin = {"training_id": "sweep_16", "step": 400, "tokens": 400 * 4096}
add_run(
    ws, "child", TrainingConfig(), JobStatus.PAUSED, 60, name="gpt2-l6-topk-k16-longer", retry_of="sweep_16",
    facts={"continued_from": origin}, tokens_total=20_000_000,
)
give_sae(ws, "train_3")
hooks = ("blocks.6.mlp.hook_in", "blocks.6.hook_mlp_out")
captured = make_store("acts_1", name="gpt2 wikipedia", hook_names=hooks)
show_stores(ws, captured, make_store("acts_2", name="being captured", n_tokens=None, status=JobStatus.RUNNING))
panel = TrainingPanel(ws)
panel.selected = ["child", "train_1"]
"""
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


def opened(open_notebook: Open) -> Notebook:
    notebook = open_notebook([SETUP, "panel"])
    notebook.run(0)
    notebook.run(1)
    return notebook


def drawn_at(page: Page, width: int) -> Locator:
    """The frame at this width, when its figures have followed."""
    frame = page.locator(".sw-frame")
    frame.evaluate("(frame, width) => { frame.style.width = `${width}px`; }", width)
    wait_for_figures(page)
    return frame


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_nothing_is_cut_off_at_any_width(open_notebook: Open, page: Page, snapshot: Snapshot, theme: str) -> None:
    page.set_viewport_size({"width": 1900, "height": 1600})
    notebook = opened(open_notebook)
    panel = notebook.panel()
    notebook.theme(theme)
    expect(page.locator(".sw-frame")).to_have_attribute("data-sw-theme", theme.lower())
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
            frame = drawn_at(page, width)
            assert frame.evaluate(CUT_OFF) == [], (what, width)
            snapshot(f"panel-{what}-{width}-{theme.lower()}", frame)


def test_the_sae_of_a_run_opens_in_the_place_of_the_runs(open_notebook: Open, page: Page, snapshot: Snapshot) -> None:
    notebook = opened(open_notebook)
    panel = notebook.panel()
    card = panel.get_by_role("listitem", name="demo-l2-topk-k24")
    card.get_by_role("button", name="Import to SAEs").click()
    card.get_by_role("button", name="Open SAE").press("Enter")
    back = page.get_by_role("button", name="Back to trainings")
    expect(back).to_be_focused()
    browser = page.get_by_role("region", name="SAE browser")
    expect(browser.get_by_role("checkbox", name="Select demo-l2-topk-k24")).to_be_checked()
    expect(browser.get_by_role("tab", name="Statistics")).to_be_visible()
    expect(page.locator(".sw-charts")).to_be_hidden()
    assert notebook.python("print(panel.opened_sae == ws.trainings.get('train_3').record.sae_id)").strip() == "True"
    snapshot("panel-open-sae-light", page.locator(".sw-frame"))
    page.keyboard.press("Escape")
    expect(card).to_be_focused()
    expect(browser).to_have_count(0)
    expect(page.locator(".sw-charts .bqplot").first).to_be_visible()
    # another view of the panel, as after a reload, knows the SAE as well
    notebook.run(1)
    again = notebook.panel().get_by_role("listitem", name="demo-l2-topk-k24")
    expect(again.get_by_role("button", name="Open SAE")).to_be_visible()


def test_a_continued_run_is_drawn_from_its_beginning(open_notebook: Open, page: Page, snapshot: Snapshot) -> None:
    notebook = opened(open_notebook)
    panel = notebook.panel()
    card = panel.get_by_role("listitem", name="gpt2-l6-topk-k16-longer")
    expect(card).to_contain_text("goes on from gpt2-l6-topk-k16 at step 400")
    charts = page.get_by_role("region", name="Charts")
    expect(charts.get_by_text("goes on from an earlier run")).to_be_visible()
    charts.get_by_role("radio", name="Steps").click()
    mark = "panel._charts.charts[0]._slots[panel._model._slots['child']].joints"
    wait_until(lambda: notebook.python(f"print({mark}.x.tolist())").strip() == "[400.0, 400.0]")
    figure = page.locator(".sw-charts .bqplot").first

    def joints() -> list[float]:
        """Heights of the upright lines on the page."""
        return figure.evaluate(
            "f => [...f.querySelectorAll('path.line')].map(path => path.getBBox())"
            ".filter(box => box.width < 0.5 && box.height > 20).map(box => box.height)"
        )

    wait_until(lambda: len(joints()) == 1)
    snapshot("panel-continued-light", page.locator(".sw-frame"))


def test_stored_activations_fill_the_form(open_notebook: Open, page: Page, snapshot: Snapshot) -> None:
    notebook = opened(open_notebook)
    panel = notebook.panel()
    panel.get_by_role("button", name="New training").click()
    panel.get_by_role("button", name="Use stored activations").press("Enter")
    stores = panel.get_by_role("table", name="Activation stores")
    expect(stores.get_by_role("button", name="Use being captured")).to_have_attribute("aria-disabled", "true")
    expect(stores.get_by_text("Its capture is running.")).to_be_visible()
    stores.get_by_role("combobox", name="Hook point of gpt2 wikipedia").select_option("blocks.6.hook_mlp_out")
    snapshot("panel-stores-light", page.locator(".sw-frame"))
    stores.get_by_role("button", name="Use gpt2 wikipedia").press("Enter")
    expect(panel.get_by_role("textbox", name="Dataset", exact=True)).to_be_focused()
    expect(panel.get_by_role("textbox", name="Dataset", exact=True)).to_have_value("acts_1")
    expect(panel.get_by_role("textbox", name="Model", exact=True)).to_have_value("gpt2")
    expect(panel.get_by_role("textbox", name="Hook name", exact=True)).to_have_value("blocks.6.hook_mlp_out")
    expect(panel.get_by_role("textbox", name=re.compile("^Context length"))).to_have_value("128")
    notebook.python("show_stores(ws)")
    panel.get_by_role("button", name="Use stored activations").click()
    expect(panel.get_by_text("No stored activations yet.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(panel.get_by_role("button", name="Use stored activations")).to_be_focused()
