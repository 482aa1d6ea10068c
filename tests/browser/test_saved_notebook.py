"""What a notebook keeps of the five widgets: JupyterLab's own save and nbconvert show what was seen last."""

import nbformat
import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open, Snapshot
from tests.browser.lab import Lab, Notebook
from tests.browser.waiting import wait_until
from tests.workspace.steering.saes import HOOK, demo_sae

SETUP = """
from pathlib import Path
import saewidgets as sw
from saewidgets.events import JobStatus
from saewidgets.records import JobRecord
from tests.widgets.seeded_runs import change, full_workspace
folder = Path({folder!r})
runs, real = full_workspace(folder / "runs"), sw.Workspace(folder / "ws")
about = {{"model": "demo", "hook_name": {HOOK!r}}}
sae = real.saes.add_local(folder / "sae", name="demo-l1-topk", **about).id
real.extractions.demo()
panel, browser, viewer = sw.TrainingPanel(runs), sw.SAEBrowser(real), sw.ExtractionViewer(real)
download, steering = sw.DownloadFromHF(real), sw.Steering(real)
"""
CHANGE = """
change(runs, "train_0", name="renamed-run")
real.saes.add_local(folder / "sae", name="arrived-later", **about)
viewer.selected = 7
payload = {"repo_id": "arrived/later", "path": "layers.6", "total_bytes": 1}
real.hub.downloads = lambda: [JobRecord("job_1", "download", JobStatus.QUEUED, "here/downloads", payload=payload)]
download._wake()
steering.add(sae, 7, 2.0)
"""
# What is new in each, and the name of its region.
AFTER = {
    "Training panel": "renamed-run",
    "SAE browser": "arrived-later",
    "Extraction viewer": "Feature 7",
    "Download from Hugging Face": "arrived/later",
    "Steering": "demo-l1-topk",
}


def stored(notebook: Notebook) -> str:
    """All HTML that the notebook's outputs hold now."""
    cells = "jupyterapp.shell.currentWidget.model.sharedModel.toJSON().cells"
    return str(notebook.page.evaluate(f"() => {cells}.map(cell => JSON.stringify(cell.outputs)).join()"))


def saved(notebook: Notebook, lab: Lab) -> str:
    """The page that nbconvert makes of the file after JupyterLab's own save."""
    notebook.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")
    path = notebook.page.evaluate("() => jupyterapp.shell.currentWidget.context.path")
    return str(HTMLExporter().from_notebook_node(nbformat.read(lab.root / path, as_version=4))[0])


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kernel", ["ipykernel-7.4", "ipykernel-6.31"])  # the latter has no subshells
def test_a_saved_notebook_shows_what_was_seen_last(
    kernel: str, open_notebook: Open, lab: Lab, page: Page, snapshot: Snapshot
) -> None:
    folder = lab.root / f"saved-{kernel}"
    demo_sae(folder / "sae")
    setup = SETUP.format(folder=str(folder), HOOK=HOOK)
    notebook = open_notebook([setup, "panel", "display(browser)", "viewer", "download", "steering"], kernel)
    regions = [page.get_by_role("region", name=name, exact=True) for name in AFTER]
    for region in regions:
        expect(region).to_have_count(1)
    expect(page.get_by_text("Static copy of")).to_have_count(5)
    expect(page.get_by_text("Static copy of").filter(visible=True)).to_have_count(0)
    # a field that is written in while the copies change: the same element, with focus, afterwards
    search = regions[0].get_by_role("searchbox", name="Search trainings")
    search.fill("gp")
    marked = "element => { element.closest('section').dataset.seen = 'yes'; }"
    for region in regions:
        region.first.evaluate(marked)
    notebook.python(CHANGE)
    wait_until(lambda: all(text in stored(notebook) for text in AFTER.values()))
    html = saved(notebook, lab)
    for text in AFTER.values():
        assert text in html
    assert html.count("Static copy of") == 5
    expect(search).to_be_focused()
    for region in regions:
        expect(region).to_have_count(1)
        expect(region).to_have_attribute("data-seen", "yes")
    # reopened after its kernel has ended: the copies, and nothing of the views
    notebook.close()
    path = page.evaluate("() => jupyterapp.shell.currentWidget.context.path")
    page.goto(lab.url(path))
    expect(page.get_by_text("Static copy of").filter(visible=True)).to_have_count(5)
    expect(page.get_by_text("model not found")).to_have_count(5)
    expect(page.get_by_text("Error displaying widget").filter(visible=True)).to_have_count(0)
    snapshot("saved-notebook-reopened")
    notebook.errors[:] = [error for error in notebook.errors if "widget model not found" not in error]
