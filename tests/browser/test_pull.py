"""All five widgets where pushes do not arrive: only what answers a request of the page reaches it, as in Colab.

The kernel has no subshells, and what its other threads send is dropped. Colab itself was not there to be tried.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect

from saewidgets.formats import save_sae
from saewidgets.sae import create_sae
from tests.browser.conftest import Open, Snapshot
from tests.browser.lab import READY, Lab
from tests.hub.server import Hub

SLOW = 90_000  # ms
NO_PUSHES = """
import sys, threading, types
from ipykernel.comm.comm import BaseComm
send, lost, enabled = BaseComm.publish_msg, [], []
def publish_msg(comm, *arguments, **keywords):
    if threading.current_thread() is threading.main_thread():
        send(comm, *arguments, **keywords)
    else:
        lost.append(arguments)
BaseComm.publish_msg = publish_msg
output = sys.modules["google.colab.output"] = types.ModuleType("google.colab.output")
output._widgets = types.SimpleNamespace(_installed_url="https://colab.example/manager.js")
output.enable_custom_widget_manager = lambda: enabled.append(True)
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_widget_works_by_asking_alone(
    open_notebook: Open, hub: Hub, lab: Lab, page: Page, snapshot: Snapshot, tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The captain looked over the grey water and said that the wind would turn.\n" * 400, "utf-8")
    torch.manual_seed(0)
    save_sae(create_sae("topk", d_in=32, d_sae=64, k=4), tmp_path / "small")
    home = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
    setup = f"""{NO_PUSHES}
import os
os.environ |= {home!r}
import saewidgets as sw
ws = sw.Workspace({str(tmp_path / "ws")!r})
panel, viewer, browser = sw.TrainingPanel(ws), sw.ExtractionViewer(ws), sw.SAEBrowser(ws)
"""
    notebook = open_notebook([setup, "panel", "viewer", "browser"], kernel="ipykernel-6.31")
    assert notebook.python("print(bool(enabled), panel._repr_mimebundle_()[1])").startswith("True {'application/vnd")

    # TrainingPanel: the form, a run to its end, its charts
    panel = notebook.panel()
    panel.get_by_role("button", name="New training").first.click()
    values = {
        "Model": "demo", "Dataset": str(text), "Context length": "64", "Layer": "1", "Latents (d_sae)": "256",
        "Active latents (k)": "8", "Name": "pulled", "Tokens": "30000", "Batch size": "256",
    }  # fmt: skip
    for name, value in values.items():
        panel.get_by_role("textbox", name=name, exact=True).fill(value)
    panel.get_by_role("combobox", name="Architecture").select_option("topk")
    panel.get_by_role("button", name="Start training").click(timeout=SLOW)
    run = panel.get_by_role("listitem", name="pulled", exact=True)
    expect(run).to_contain_text("Completed", timeout=SLOW)
    page.wait_for_function(
        """() => [...document.querySelectorAll('.sw-chart:first-child path.line')]
             .some(path => (path.getAttribute('d') ?? '').split('L').length > 3)""",
        timeout=SLOW,
    )
    snapshot("pull-panel")

    # ExtractionViewer: the list, a page; Steering: the text
    viewer = page.get_by_role("region", name="Extraction viewer")
    viewer.get_by_role("button", name="Try the demo SAE").click()
    row = viewer.get_by_role("grid", name="Features").get_by_role("row").first
    expect(row).to_be_visible(timeout=SLOW)
    row.click()
    examples = viewer.get_by_role("list", name="Top activations").get_by_role("listitem")
    expect(examples.first).to_be_visible(timeout=SLOW)
    viewer.get_by_role("button", name=re.compile("^Steer")).first.click()
    steering = page.get_by_role("region", name="Steering")
    expect(steering.get_by_role("slider")).to_be_visible(timeout=SLOW)
    steering.get_by_role("textbox", name="Prompt").fill("In the morning the old man")
    steering.get_by_role("textbox", name="New tokens").fill("12")
    steering.get_by_role("button", name="Generate", exact=True).click()
    expect(steering).to_contain_text(re.compile(r"Generated \d+ \+ \d+ tokens"), timeout=SLOW)
    snapshot("pull-steering")

    # SAEBrowser: files of this machine; DownloadFromHF: from looking to the card
    browser = page.get_by_role("region", name="SAE browser")
    browser.get_by_role("button", name="Add local files").first.click()
    form = browser.get_by_role("form", name="Add local files")
    form.get_by_role("textbox", name="Folder, file or zip").fill(str(tmp_path / "small"))
    form.get_by_role("button", name="Add to library").click()
    cards = browser.get_by_role("list", name="SAEs").get_by_role("listitem", name="small", exact=True)
    expect(cards).to_be_visible(timeout=SLOW)
    browser.get_by_role("button", name="Download from Hugging Face").first.click()
    download = page.get_by_role("region", name="Download from Hugging Face")
    download.get_by_role("tab", name="Gemma Scope").click()
    download.get_by_role("combobox", name="Release").select_option("google/gemma-2-2b", timeout=SLOW)
    download.get_by_role("radio", name=re.compile(r"^Layer 12, \d+ SAEs?$")).click(timeout=SLOW)
    download.get_by_role("radiogroup", name="Width").get_by_label("16", exact=False).first.check()
    download.get_by_role("radiogroup", name="L0").get_by_label("22", exact=False).first.check()
    download.get_by_role("button", name="Download", exact=True).click()
    done = download.get_by_role("list", name="Downloads").get_by_role("listitem").filter(has_text="Completed")
    done.first.get_by_role("button", name="Open in SAE browser").click(timeout=SLOW)
    expect(browser.get_by_role("list", name="SAEs")).to_contain_text("Gemma Scope", timeout=SLOW)
    snapshot("pull-browser")
    assert int(notebook.python("print(len(lost))")) > 10, "no push was dropped: nothing was tried here"

    # without bqplot's part of the page: pictures
    page.route(re.compile("/extensions/bqplot/"), lambda route: route.abort())
    page.reload()
    page.wait_for_function(READY, timeout=SLOW)
    notebook.run(1)
    charts = page.get_by_role("region", name="Charts").get_by_role("img", name="loss")
    expect(charts).to_be_visible(timeout=SLOW)
    assert charts.evaluate("picture => picture.naturalWidth") > 0
    expect(page.locator(".jupyter-widgets-error-widget").locator("visible=true")).to_have_count(0)
    snapshot("pull-without-bqplot")
    notebook.errors.clear()  # of the part that could not be loaded
