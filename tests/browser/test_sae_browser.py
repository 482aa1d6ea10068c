"""The SAE browser in real JupyterLab: uploads, files on the kernel's machine, comparison, Python's view of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from playwright.sync_api import Locator, Page, TimeoutError, expect

from saewidgets.formats import save_sae
from saewidgets.sae import create_sae
from tests.browser.conftest import Open, Snapshot
from tests.browser.lab import Lab, Notebook
from tests.browser.waiting import wait_until

SLOW = 60_000  # ms: the kernel imports torch when the first SAE is read


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two SAEs on disk; the second is larger than two pieces of an upload."""
    for name, d_sae in (("small", 64), ("large", 8192)):
        torch.manual_seed(d_sae)
        save_sae(create_sae("topk", d_in=32, d_sae=d_sae, k=4), tmp_path / name)
    return tmp_path


def opened(open_notebook: Open, lab: Lab, name: str) -> tuple[Notebook, Locator]:
    setup = f"import saewidgets as sw\nws = sw.Workspace({str(lab.root / name)!r})\nbrowser = sw.SAEBrowser(ws)"
    notebook = open_notebook([setup, "browser"])
    notebook.run(0)
    notebook.run(1)
    return notebook, notebook.page.get_by_role("region", name="SAE browser")


def card(browser: Locator, name: str) -> Locator:
    return browser.get_by_role("list", name="SAEs").get_by_role("listitem", name=name, exact=True)


@pytest.mark.timeout(300)
def test_upload_add_compare_and_select(
    open_notebook: Open, lab: Lab, page: Page, snapshot: Snapshot, made: Path
) -> None:
    notebook, browser = opened(open_notebook, lab, "saes")
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


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_saved_notebook_has_the_list(open_notebook: Open, lab: Lab, made: Path) -> None:
    notebook, browser = opened(open_notebook, lab, "static")
    notebook.python(f"ws.saes.add_local({str(made / 'small')!r}, name='kept')")
    expect(card(browser, "kept")).to_be_visible(timeout=SLOW)
    assert "kept" in notebook.python("print(browser.export_html())")
    notebook.python("browser.close(); ws.close()")


FOCUSED = "() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"


def has_focus(page: Page, name: str) -> None:
    """Wait until the control of this name has the focus; what has it instead is in the error."""
    try:
        page.wait_for_function(f"name => ({FOCUSED})() === name", arg=name, timeout=5_000)
    except TimeoutError:
        raise AssertionError(f"The focus is on {page.evaluate(FOCUSED)[:80]!r}, not on {name!r}.") from None


def press(page: Page, where: Locator, name: str) -> None:
    """Press a button as somebody does who has no mouse."""
    where.get_by_role("button", name=name, exact=True).first.focus()
    page.keyboard.press("Enter")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_focus_goes_back_to_what_opened_it(open_notebook: Open, lab: Lab, page: Page, made: Path) -> None:
    notebook, browser = opened(open_notebook, lab, "focus")
    press(page, browser, "Download from Hugging Face")
    has_focus(page, "Back to SAEs")
    page.keyboard.press("Enter")
    has_focus(page, "Download from Hugging Face")
    for name in ("small", "large"):
        notebook.python(f"ws.saes.add_local({str(made / name)!r})")
    expect(card(browser, "large")).to_be_visible(timeout=SLOW)

    for way in ("Escape", "Cancel", "Close Add local files"):
        press(page, browser, "Add local files")
        page.keyboard.type("/data")
        if way == "Escape":
            page.keyboard.press(way)
        else:
            press(page, browser, way)
        has_focus(page, "Add local files")

    for name in ("small", "large"):
        browser.get_by_role("checkbox", name=f"Select {name}").check()
    press(page, browser, "Delete selected")
    expect(browser.get_by_role("alert")).to_contain_text("Delete 2 SAEs: small and large?")
    has_focus(page, "Keep")
    page.keyboard.press("Enter")
    has_focus(page, "Delete selected")
    for opener in ("Delete selected", "Export selected", "Compare selected"):
        press(page, browser, opener)
        page.wait_for_function(f"name => ({FOCUSED})() !== name", arg=opener)
        page.keyboard.press("Escape")
        has_focus(page, opener)

    large = card(browser, "large")
    press(page, large, "More actions: large")
    large.get_by_role("menuitem", name="Details").press("Enter")
    has_focus(page, "More actions: large")
    large.get_by_role("tab", name="Notes").focus()
    page.keyboard.press("Escape")
    has_focus(page, "More actions: large")

    path = notebook.python("print(next(sae.path for sae in ws.saes.list() if sae.name == 'small'))").strip()
    for file in Path(path).iterdir():
        file.unlink()
    expect(card(browser, "small")).to_contain_text("Weights not found.", timeout=SLOW)
    press(page, browser, "Export selected")
    browser.get_by_role("textbox", name="Folder").fill(str(made / "out"))
    page.keyboard.press("Enter")
    failed = browser.get_by_role("alert").filter(has_text="1 of 2 SAEs was not exported.")
    expect(failed).to_contain_text("press Locate files", timeout=SLOW)
    press(page, failed, "Dismiss")
    has_focus(page, "Export selected")
    press(page, browser, "Clear selection")
    has_focus(page, "Select all shown")

    browser.get_by_role("searchbox", name="Search SAEs").focus()
    page.keyboard.type("nothing has this")
    expect(browser.get_by_text("No SAE matches")).to_be_visible()
    press(page, browser, "Clear filters")
    has_focus(page, "Search SAEs")
    notebook.python("browser.close(); ws.close()")
