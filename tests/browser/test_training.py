"""The main job in a real notebook: fill the form, start, watch, pause while a cell runs, resume, stop, retry."""

import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import KERNELS, Open, Snapshot
from tests.browser.lab import Lab, Notebook
from tests.browser.waiting import wait_until

SLOW = 90_000  # milliseconds: loading the model and packing the text on a busy machine
NAME = "browser-run"
KERNEL, *OLDER = KERNELS


@pytest.fixture(scope="session")
def text_file(lab: Lab) -> Path:
    """Some English of its own: small, so that packing takes no time."""
    path = lab.root / "text.txt"
    sentence = "The captain looked over the grey water and said that the wind would turn before the evening. "
    path.write_text("".join(f"{sentence}It was day {i} of the voyage.\n" for i in range(600)), "utf-8")
    return path


def fill(panel: Locator, text: Path) -> None:
    """The form by its accessible names; a run that goes on for minutes, so that there is time to press buttons."""
    panel.get_by_role("button", name="New training").first.click()
    values = {
        "Model": "demo", "Dataset": str(text), "Context length": "64", "Layer": "1", "Latents (d_sae)": "512",
        "Active latents (k)": "8", "Name": NAME, "Tokens": "200000000", "Batch size": "256", "Learning rate": "1e-3",
        "Seed": "3",
    }  # fmt: skip
    panel.get_by_role("textbox", name="Model", exact=True).wait_for()
    for name, value in values.items():
        panel.get_by_role("textbox", name=name, exact=True).fill(value)
    panel.get_by_role("combobox", name="Architecture").select_option("topk")


def card(panel: Locator, name: str) -> Locator:
    return panel.get_by_role("listitem", name=name, exact=True)


def press(where: Locator, name: str) -> None:
    where.get_by_role("button", name=name, exact=True).click()


def _tokens_shown(run: Locator) -> int:
    """The tokens that the card says were read: "14K of 200M tokens"."""
    found = re.search(r"([\d.,]+)([KM]?) of 200M tokens", run.inner_text())
    return int(float(found[1].replace(",", "")) * {"": 1, "K": 1_000, "M": 1_000_000}[found[2]]) if found else 0


def status(notebook: Notebook, name: str = NAME) -> str:
    return notebook.python(f"print([r.status.value for r in ws.trainings.list() if r.name == {name!r}][0])").strip()


def line_length(page: Page) -> int:
    """How many points the first chart's longest line has."""
    paths = page.locator(".sw-chart").first.locator("path.line").evaluate_all(
        "paths => paths.map(path => path.getAttribute('d') || '')"
    )
    return max([len(re.findall(r"[ML]", path)) for path in paths], default=0)


@pytest.mark.parametrize("kernel", [KERNEL, *[pytest.param(name, marks=pytest.mark.long) for name in OLDER]])
@pytest.mark.timeout(900)
def test_start_watch_pause_resume_stop_retry(
    kernel: str, open_notebook: Open, lab: Lab, page: Page, text_file: Path, snapshot: Snapshot
) -> None:
    folder = str(lab.root / f"ws-{kernel}")
    setup = f"import saewidgets as sw\nws = sw.Workspace({folder!r})\npanel = sw.TrainingPanel(ws)"
    notebook = open_notebook([setup, "panel"], kernel)
    panel = notebook.panel()
    expect(panel.get_by_text("No trainings yet")).to_be_visible()
    snapshot(f"{kernel}-empty")

    fill(panel, text_file)
    snapshot(f"{kernel}-form")
    press(panel, "Start training")
    run = card(panel, NAME)
    expect(run).to_contain_text("Running", timeout=SLOW)
    asked = notebook.python("r = ws.trainings.list()[0]; print(r.config['sae']['k'], r.hook_name, r.config['seed'])")
    assert asked.split() == ["8", "blocks.1.hook_resid_post", "3"]

    page.wait_for_function("() => document.querySelector('.sw-chart path.line')", timeout=SLOW)
    wait_until(lambda: line_length(page) >= 3)
    before = line_length(page)
    wait_until(lambda: line_length(page) > before)
    expect(run.get_by_role("progressbar", name=f"Progress of {NAME}")).to_be_visible()
    snapshot(f"{kernel}-running-light")

    # Pause while a cell keeps the main thread busy.
    notebook.busy(8.0)
    time.sleep(0.5)
    assert notebook.is_busy()
    press(run, "Pause")
    if kernel == "ipykernel-6.31":  # no subshells: the click waits for the cell, and is not lost
        expect(panel.get_by_text("Kernel busy.")).to_be_visible(timeout=5000)
        assert notebook.is_busy()
    else:
        expect(run).to_contain_text(re.compile("Pausing|Paused"), timeout=6000)
        assert notebook.is_busy(), "the click had to wait for the cell"
    notebook.wait_idle()
    expect(run).to_contain_text("Paused", timeout=SLOW)
    assert status(notebook) == "paused"
    assert int(notebook.python("print(len(ws.trainings.get(ws.trainings.list()[0].id).checkpoints()))")) >= 1

    press(run, "Resume")
    expect(run).to_contain_text("Running", timeout=SLOW)
    step = int(notebook.python("print(ws.trainings.list()[0].step)"))
    wait_until(lambda: int(notebook.python("print(ws.trainings.list()[0].step)")) > step)

    # The page asks about tokens that are in no checkpoint: wait until it shows some.
    saved = int(notebook.python("print(ws.trainings.list()[0].last_checkpoint_tokens)"))
    wait_until(lambda: _tokens_shown(run) >= saved + 4_000)
    press(run, "Stop")
    stop_question = panel.get_by_role("button", name="Stop and save checkpoint")
    stop_question.click()
    expect(run).to_contain_text("Stopped", timeout=SLOW)
    assert status(notebook) == "stopped"
    assert notebook.python("print(ws.trainings.get(ws.trainings.list()[0].id).sae_path.is_dir())").strip() == "True"

    press(run, "Retry")
    wait_until(lambda: notebook.python("print(len(ws.trainings.list()))").strip() == "2")
    assert notebook.python("a, b = ws.trainings.list(); print(a.retry_of == b.id)").strip() == "True"
    expect(panel.get_by_role("listitem", name=re.compile(NAME))).to_have_count(2)
    # The retried run goes on: closing the workspace pauses it with a checkpoint, as leaving the notebook does.
    notebook.python("ws.close()")

