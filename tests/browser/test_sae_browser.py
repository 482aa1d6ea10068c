"""The SAE browser in real JupyterLab: uploads, files on the kernel's machine, comparison, Python's view of it."""

from pathlib import Path

import pytest
import torch
from playwright.sync_api import Locator, Page, expect

from saewidgets.formats import save_sae
from saewidgets.sae import create_sae
from tests.browser.conftest import Open, Snapshot
from tests.browser.lab import Lab
from tests.browser.waiting import wait_until

SLOW = 60_000  # ms: the kernel imports torch when the first SAE is read


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two SAEs on disk; the second is larger than two pieces of an upload."""
    for name, d_sae in (("small", 64), ("large", 8192)):
        torch.manual_seed(d_sae)
        save_sae(create_sae("topk", d_in=32, d_sae=d_sae, k=4), tmp_path / name)
    return tmp_path


def card(browser: Locator, name: str) -> Locator:
    return browser.get_by_role("list", name="SAEs").get_by_role("listitem", name=name, exact=True)


@pytest.mark.timeout(300)
def test_upload_add_compare_and_select(
    open_notebook: Open, lab: Lab, page: Page, snapshot: Snapshot, made: Path
) -> None:
    setup = f"import saewidgets as sw\nws = sw.Workspace({str(lab.root / 'saes')!r})\nbrowser = sw.SAEBrowser(ws)"
    notebook = open_notebook([setup, "browser"])
    browser = page.get_by_role("region", name="SAE browser")
    expect(browser.get_by_text("No SAEs yet")).to_be_visible()

    browser.get_by_role("button", name="Add local files").first.click()
    form = browser.get_by_role("form", name="Add local files")
    form.get_by_role("radio", name="From this computer").click()
    files = sorted((made / "large").iterdir())
    form.locator("input[type=file]").first.set_input_files(files)
    form.get_by_role("textbox", name="Name", exact=True).fill("uploaded <b>one</b>")
    form.get_by_role("button", name="Add to library").click()
    uploaded = card(browser, "uploaded <b>one</b>")
    expect(uploaded).to_be_visible(timeout=SLOW)
    assert uploaded.evaluate("card => card === document.activeElement")
    assert page.locator(".sw b", has_text="one").count() == 0
    path = notebook.python("print(ws.saes.list()[0].path)").strip()
    weights = next(file for file in files if file.suffix == ".safetensors")
    assert (Path(path) / weights.name).stat().st_size == weights.stat().st_size > 2_000_000

    browser.get_by_role("button", name="Add local files").first.click()
    form.get_by_role("textbox", name="Folder, file or zip").fill(str(made / "small"))
    form.get_by_role("textbox", name="Hook name").fill("blocks.2.hook_mlp_out")
    form.get_by_role("button", name="Add to library").click()
    expect(card(browser, "small")).to_contain_text("layer 2, MLP output", timeout=SLOW)

    browser.get_by_role("checkbox", name="Select small").check()
    wait_until(lambda: notebook.python("print(getattr(browser.selected_record, 'name', None))").strip() == "small")
    notebook.python("browser.selected = [sae.id for sae in ws.saes.list() if sae.name != 'small'][0]")
    expect(browser.get_by_role("checkbox", name="Select uploaded <b>one</b>")).to_be_checked()
    expect(browser.get_by_role("checkbox", name="Select small")).not_to_be_checked()

    browser.get_by_role("checkbox", name="Select small").check()
    browser.get_by_role("button", name="Compare selected").click()
    rows = browser.get_by_role("table", name="Decoder cosine matches").get_by_role("row")
    expect(rows).to_have_count(51, timeout=SLOW)
    snapshot("sae-browser-compare")
    browser.get_by_role("button", name="Back to SAEs").click()

    small = card(browser, "small")
    small.get_by_role("button", name="Details", exact=True).click()
    expect(small.get_by_role("img").first).to_be_visible(timeout=SLOW)
    page.locator(".sw-frame").evaluate("frame => { frame.style.width = '420px'; }")
    snapshot("sae-browser-narrow", page.locator(".sw-frame"))
    notebook.python("browser.close(); ws.close()")
