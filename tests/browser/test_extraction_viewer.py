"""The extraction viewer in real JupyterLab: the demo SAE, its list and pages, own text, prompts, keys, Python."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, Snapshot
from tests.browser.lab import Lab, Notebook
from tests.browser.waiting import wait_until

SLOW = 120_000  # ms: the first question loads torch and the model


def view_of(notebook: Notebook) -> dict[str, object]:
    view: dict[str, object] = json.loads(notebook.python("import json; print(json.dumps(viewer.view))"))
    return view


@pytest.mark.timeout(600)
def test_the_demo_is_read_searched_labelled_and_tested(
    open_notebook: Open, lab: Lab, page: Page, snapshot: Snapshot
) -> None:
    folder = str(lab.root / "viewer" / "ws")
    setup = f"import saewidgets as sw\nws = sw.Workspace({folder!r})\nviewer = sw.ExtractionViewer(ws)"
    notebook = open_notebook([setup, "viewer"])
    viewer = page.get_by_role("region", name="Extraction viewer")
    expect(viewer.get_by_role("heading", name="No features yet")).to_be_visible()
    viewer.get_by_role("button", name="Try the demo SAE").click()
    grid = viewer.get_by_role("grid", name="Features")
    expect(grid).to_be_visible(timeout=SLOW)
    expect(grid).to_have_attribute("aria-rowcount", re.compile(r"^\d{4,}$"), timeout=SLOW)
    assert grid.get_by_role("row").count() < 60, "only what is in sight is drawn"

    # the list by density, from the top on; a page of what was chosen
    viewer.get_by_role("combobox", name="Sort features").select_option("max")
    first = grid.get_by_role("row").first
    expect(first.get_by_role("gridcell").first).not_to_have_text("0", timeout=SLOW)
    index = int(first.get_by_role("gridcell").first.inner_text())
    first.click()
    wait_until(lambda: view_of(notebook)["feature"] == index)  # the first of the list had opened by itself
    feature = viewer.get_by_role("region", name=f"Feature {index}", exact=True)
    examples = feature.get_by_role("list", name="Top activations")
    expect(examples.get_by_role("listitem").first).to_be_visible(timeout=SLOW)
    left = [box["x"] for box in (one.bounding_box() for one in examples.locator(".kr .pk").all()) if box]
    assert max(left) - min(left) < 1.5, "the strongest tokens start at the same place"
    snapshot("features-light")

    # in a narrow notebook the page stands below the list, as wide as it is
    frame = page.locator(".sw-frame").first
    frame.evaluate("frame => { frame.style.width = '700px'; }")
    boxes = [what.bounding_box() or {} for what in (grid, feature)]
    assert boxes[0]["x"] == boxes[1]["x"]
    assert boxes[0]["width"] == boxes[1]["width"] > 650
    snapshot("features-700-light", frame)
    frame.evaluate("frame => { frame.style.width = ''; }")

    # a token's card, from the keyboard
    examples.get_by_role("listitem").first.focus()
    page.keyboard.press("ArrowRight")
    expect(feature.get_by_role("tooltip")).to_contain_text(re.compile(r"\d\.\d+ *activation"))
    expect(feature.get_by_role("tooltip")).to_contain_text(re.compile(r"\d\.\d{3} nats"), timeout=SLOW)
    snapshot("features-token-light")
    page.keyboard.press("Escape")

    # steering below, which gives the focus back when it is closed
    steer = feature.get_by_role("button", name="Steer", exact=True)
    steer.click()
    steering = page.get_by_role("region", name="Steering", exact=True)
    expect(steering.get_by_role("listitem", name=f"Feature {index}", exact=True)).to_be_visible(timeout=SLOW)
    border = steering.locator(".hd").first.evaluate("head => getComputedStyle(head).borderTopWidth")
    assert border == "1px"
    snapshot("features-steering-light", page.locator(".sw-frame").first)
    steering.get_by_role("button", name="Close steering").click()
    expect(steering).to_have_count(0, timeout=SLOW)
    expect(steer).to_be_focused(timeout=SLOW)

    # the packaged extraction has the logit effects of all features: nothing is left to compute
    viewer.get_by_role("tab", name=re.compile("^Jobs")).click()
    card = viewer.get_by_role("list", name="Extractions").get_by_role("listitem").first
    expect(card).to_contain_text("all logit effects", timeout=SLOW)
    viewer.get_by_role("tab", name="Features").click()
    expect(feature).to_be_visible(timeout=SLOW)
    examples.get_by_role("listitem").first.focus()

    # what people say is in Python at once
    page.keyboard.press("l")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("my label")
    page.keyboard.press("Enter")
    expect(feature).to_contain_text("Saved.", timeout=SLOW)
    notebook.python("record = viewer.selected_feature")
    assert notebook.python("print(record.label)").strip() == "my label"

    # own text, and which features fire on it
    feature.get_by_role("textbox", name="Text to test").fill("The captain of the ship was old.")
    expect(feature.get_by_role("group", name="Tested text")).to_be_visible(timeout=SLOW)
    viewer.get_by_role("tab", name="On a prompt").click()
    viewer.get_by_role("textbox", name="Text", exact=True).fill("The captain of the ship was old.")
    viewer.get_by_role("button", name="Show features").click()
    table = viewer.get_by_role("table", name="Features by token")
    expect(table.get_by_role("button", name=re.compile("^Open feature")).first).to_be_visible(timeout=SLOW)
    notebook.theme("Dark")
    expect(page.locator(".sw-frame").first).to_have_attribute("data-sw-theme", "dark")
    snapshot("features-prompt-dark")

    # Python shows something else, and the page follows
    viewer.get_by_role("tab", name="Features").click()
    wait_until(lambda: view_of(notebook)["tab"] == "features")
    notebook.python("viewer.selected = 5")
    expect(viewer.get_by_role("region", name="Feature 5", exact=True)).to_be_visible(timeout=SLOW)
    page.keyboard.press("Escape")
    viewer.get_by_role("button", name="Next feature").click()
    wait_until(lambda: view_of(notebook)["feature"] not in (5, index))
