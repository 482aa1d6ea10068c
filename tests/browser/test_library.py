"""From the hub into the library in real JupyterLab: download, pause, cancel, resume, find, filter, read, delete.

The hub is on the loopback interface, and slow enough to be watched.
"""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Open, Snapshot
from tests.browser.lab import Lab, Notebook
from tests.browser.waiting import wait_until
from tests.hub.server import Hub

SLOW = 60_000  # ms


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


def press(where: Locator, name: str) -> None:
    where.get_by_role("button", name=name, exact=True).click()


def library(notebook: Notebook) -> list[str]:
    printed = notebook.python("import json; print(json.dumps([sae.name for sae in ws.saes.list()]))")
    names: list[str] = json.loads(printed)
    return names


def percent(bar: Locator) -> int:
    return int(bar.get_attribute("aria-valuenow") or 0)


@pytest.mark.timeout(600)
def test_download_cancel_resume_find_filter_read_delete(
    open_notebook: Open, hub: Hub, lab: Lab, page: Page, snapshot: Snapshot
) -> None:
    home = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(lab.root / "library" / "hf"), "HF_HUB_OFFLINE": "0"}
    setup = f"""
import os
os.environ |= {home!r}
import saewidgets as sw
ws = sw.Workspace({str(lab.root / "library" / "ws")!r})
browser = sw.SAEBrowser(ws)
"""
    notebook = open_notebook([setup, "browser"])
    browser = page.get_by_role("region", name="SAE browser")
    expect(browser.get_by_text("No SAEs yet")).to_be_visible()
    browser.get_by_role("button", name="Download from Hugging Face").first.click()
    download = page.get_by_role("region", name="Download from Hugging Face")
    expect(download).to_be_visible()
    snapshot("library-empty-download")
    download.get_by_role("tab", name="Gemma Scope").click()
    download.get_by_role("combobox", name="Release").select_option("google/gemma-2-2b", timeout=SLOW)
    download.get_by_role("radio", name=re.compile(r"^Layer 12, \d+ SAEs?$")).click(timeout=SLOW)
    download.get_by_role("radiogroup", name="Width").get_by_label("16", exact=False).first.check()
    download.get_by_role("radiogroup", name="L0").get_by_label("22", exact=False).first.check()
    expect(download).to_contain_text("16,384", timeout=SLOW)
    snapshot("library-gemma-light")

    hub.state.bandwidth = 30_000  # bytes per second: the file takes most of a minute
    press(download, "Download")
    downloads = download.get_by_role("list", name="Downloads").get_by_role("listitem")
    card = downloads.first
    bar = card.get_by_role("progressbar")
    wait_until(lambda: percent(bar) >= 5)
    before = percent(bar)
    wait_until(lambda: percent(bar) > before)
    expect(card).to_contain_text("/s")
    press(card, "Pause")
    expect(card).to_contain_text("Paused", timeout=SLOW)
    held = percent(bar)
    assert held >= before
    hub.forget()
    press(card, "Resume")
    expect(card).to_contain_text("Running", timeout=SLOW)
    wait_until(lambda: percent(bar) > held)
    ranges = [seen.headers.get("Range") or seen.headers.get("range") for seen in hub.requests("params.npz")]
    assert any(start and not start.startswith("bytes=0-") for start in ranges), "what was there is not fetched again"
    notebook.theme("Dark")
    expect(page.locator(".sw-frame").first).to_have_attribute("data-sw-theme", "dark")
    snapshot("library-running-dark")
    notebook.theme("Light")
    press(card, "Cancel")
    expect(card).to_contain_text("Cancelled", timeout=SLOW)
    assert library(notebook) == []

    hub.state.bandwidth = 0
    press(card, "Retry")
    expect(downloads.filter(has_text="Completed")).to_have_count(1, timeout=SLOW)
    press(downloads.filter(has_text="Completed").first, "Open in SAE browser")

    saes = browser.get_by_role("list", name="SAEs").get_by_role("listitem")
    expect(saes.filter(has=page.get_by_role("button", name="Details"))).to_have_count(1)
    [name] = library(notebook)
    sae = browser.get_by_role("listitem", name=name, exact=True)
    expect(sae).to_contain_text("d_sae 16,384")
    expect(sae).to_contain_text("Gemma Scope")
    assert notebook.python("print(browser.selected == ws.saes.list()[0].id)").strip() == "True"
    facts = "r.source, r.architecture, r.format, r.layer, len(r.revision)"
    record = notebook.python(f"r = ws.saes.list()[0]; print({facts})")
    assert record.split() == ["gemma_scope", "jumprelu", "saelens", "12", "40"]

    browser.get_by_role("searchbox", name="Search SAEs").fill("no such thing")
    expect(browser.get_by_text("No SAE matches")).to_be_visible()
    snapshot("library-no-match")
    press(browser, "Clear filters")
    browser.get_by_role("combobox", name="Layer").select_option("12")
    expect(sae).to_have_count(1)

    press(sae.first, "Details")
    sae.get_by_role("tab", name="Statistics").click()
    expect(sae).to_contain_text(re.compile("decoder", re.IGNORECASE), timeout=SLOW)
    snapshot("library-statistics-light")
    sae.get_by_role("tab", name="Configuration").click()
    expect(sae).to_contain_text("jumprelu", timeout=SLOW)
    notebook.theme("Dark")
    snapshot("library-configuration-dark")
    notebook.theme("Light")
    sae.get_by_role("tab", name="Load").click()
    expect(sae).to_contain_text("saes.load(")

    press(sae.first, "Delete")
    expect(sae).to_contain_text(f"Delete {name}?")
    press(sae.first, "Delete SAE")
    expect(browser.get_by_text("No SAEs yet")).to_be_visible()
    press(browser, "Undo")
    expect(sae).to_have_count(1)
    press(sae.first, "Delete")
    press(sae.first, "Delete SAE")
    expect(browser.get_by_text("No SAEs yet")).to_be_visible()
    wait_until(lambda: library(notebook) == [])  # after the ten seconds of Undo
    notebook.python("browser.close(); ws.close()")
