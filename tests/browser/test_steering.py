"""Steering in real JupyterLab, with the demo model and a small SAE of it."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open, Snapshot
from tests.browser.lab import Lab
from tests.browser.waiting import wait_until
from tests.workspace.steering.saes import HOOK, demo_sae

SLOW = 60_000  # ms
PROMPT = "In the morning the old man walked down to the"


def cells(lab: Lab, name: str) -> list[str]:
    folder = lab.root / name
    demo_sae(folder / "sae")
    setup = f"""
import saewidgets as sw
ws = sw.Workspace({str(folder / "ws")!r})
sae = ws.saes.add_local({str(folder / "sae")!r}, name="demo-l1-topk", model="demo", hook_name={HOOK!r}).id
steering = sw.Steering(ws)
"""
    return [setup, "steering"]


def press(where: Locator, name: str) -> None:
    where.get_by_role("button", name=name, exact=True).click()


@pytest.mark.timeout(600)
def test_add_steer_compare_sweep_and_keep(open_notebook: Open, lab: Lab, page: Page, snapshot: Snapshot) -> None:
    notebook = open_notebook(cells(lab, "steering"))
    steering = notebook.page.get_by_role("region", name="Steering")
    expect(steering.get_by_text("No feature chosen")).to_be_visible()
    snapshot("steering-empty-light", steering)

    search = steering.get_by_role("searchbox", name="Add a feature")
    for index in ("7", "9"):
        search.fill(index)
        search.press("Enter")
        row = steering.get_by_role("listitem", name=f"Feature {index}", exact=True)
        expect(row.get_by_role("slider")).to_be_focused()
        expect(row).to_contain_text(re.compile(r"= [\d.]+ along d"), timeout=SLOW)
    slider = steering.get_by_role("slider", name="Strength of feature 7")
    usual = float(notebook.python("print(ws.steering.suggest(ws.saes.list()[0].id, 7).strength)"))
    expect(slider).to_have_attribute("aria-valuetext", re.compile(rf"^{usual:.1f} × max activation = \d"), timeout=SLOW)
    slider.press("PageUp")
    slider.press("ArrowLeft")
    expect(steering.get_by_role("textbox", name="Strength value of feature 7")).to_have_value(f"{usual + 0.9:.1f}")
    box = slider.bounding_box()
    assert box
    page.mouse.click(box["x"] + 6 + 0.9 * (box["width"] - 12), box["y"] + box["height"] / 2)
    wait_until(lambda: float(slider.input_value()) > 2 * usual)
    slider.dblclick()
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^0\.0 × max activation = 0"))
    steering.get_by_role("textbox", name="Strength value of feature 7").fill("6")
    steering.get_by_role("combobox", name="Mode of feature 9").select_option("Ablate")

    steering.get_by_role("textbox", name="Prompt").fill(PROMPT)
    steering.get_by_role("textbox", name="New tokens").fill("40")
    meter = steering.get_by_role("meter", name="Size of the change against the residual")
    expect(meter).to_have_attribute("aria-valuetext", re.compile(r": (moderate|strong|breaks text)$"), timeout=SLOW)
    press(steering, "Generate")
    expect(steering).to_contain_text("same seed and sampling; first difference at token", timeout=SLOW)
    baseline, steered = (steering.get_by_role("region", name=name) for name in ("Baseline", "Steered"))
    expect(baseline).to_contain_text(PROMPT)
    expect(steered).to_contain_text(re.compile(r"perplexity [\d.]+.*, repetition \d+ %, KL at first token [\d.]+"))
    expect(steering).to_contain_text(re.compile(r"Generated \d+ \+ \d+ tokens in [\d.]+ s"))
    steered.locator(".fd").click()
    table = steering.get_by_role("table", name="Next-token change")
    expect(table.get_by_role("row")).not_to_have_count(1)
    snapshot("steering-light", steering)
    # what the page shows is what the workspace computes
    code = (
        "r = steering.result; f = r.config.features\n"
        "again = ws.steer(None, f, r.config.prompt, new_tokens=r.config.new_tokens, seed=r.config.seed)\n"
        "print(again.baseline.ids == r.baseline.ids and again.steered.ids == r.steered.ids, [x.mode for x in f])"
    )
    assert notebook.python(code).strip() == "True ['add_max', 'ablate']"

    strengths = steering.get_by_role("textbox", name="Strengths", exact=True)
    strengths.fill("−4 0 4")
    press(steering, "Run sweep")
    use = steering.get_by_role("button", name="Use strength −4")
    expect(use).to_be_visible(timeout=SLOW)
    use.click()
    expect(use).to_have_attribute("aria-pressed", "true")
    expect(steering.get_by_role("textbox", name="Strength value of feature 7")).to_have_value("−4.0")

    steering.get_by_role("radio", name="Chosen").click()
    tokens = steering.get_by_role("group", name="Tokens of the prompt")
    tokens.get_by_role("button", name="Token 5: ·old").click()
    press(steering, "Generate")
    wait_until(lambda: notebook.python("print(steering.result.config.positions)").strip() == "(5,)")

    press(steering, "Presets")
    steering.get_by_role("textbox", name="Preset name").fill("ships")
    press(steering, "Save preset")
    presets = steering.get_by_role("list", name="Presets")
    expect(presets.get_by_role("listitem", name="ships")).to_be_visible()
    notebook.theme("Dark")
    expect(steering).to_have_attribute("data-sw-theme", "dark")
    snapshot("steering-presets-dark", steering)
    assert notebook.python("print(ws.steering.presets.load('ships').features[0].strength)").strip() == "-4.0"
    press(steering, "Close presets")

    steering.get_by_role("radio", name="All", exact=True).click()
    steering.get_by_role("textbox", name="New tokens").fill("300")
    press(steering, "Generate")
    alert = steering.get_by_role("alert")
    expect(alert).to_contain_text("Nothing was generated: the prompt is 11 tokens and 300 new ones are asked")
    expect(alert).to_contain_text("Shorten the prompt by 55 tokens or ask for 245.")
    notebook.theme("Light")
    page.evaluate("() => { document.querySelector('section.sw').style.maxWidth = '420px'; }")
    snapshot("steering-narrow-light", steering)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_it_writes_and_stops_while_a_cell_runs(open_notebook: Open, lab: Lab) -> None:
    notebook = open_notebook(cells(lab, "steering-busy"))
    assert notebook.python("steering.add(sae, 7, 2.0); import time; steering.workspace.steering.maximum(sae, 7)") == ""
    steering = notebook.page.get_by_role("region", name="Steering")
    steering.get_by_role("textbox", name="Prompt").fill(PROMPT)
    steering.get_by_role("textbox", name="New tokens").fill("240")
    notebook.busy(8)
    press(steering, "Generate")
    expect(steering).to_contain_text(re.compile(r"Writing, \d+ of 240 tokens"), timeout=7000)
    press(steering, "Stop")
    expect(steering).to_contain_text(re.compile(r"(Stopped after|Generated) \d+ \+ \d+ tokens"), timeout=7000)
    assert notebook.is_busy(), "it waited for the cell"
    notebook.wait_idle()
