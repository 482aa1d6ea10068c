"""Take the pictures of the README in a real JupyterLab, light and dark.

    python -m tools.readme_pictures panel DEMO_HOME docs/images [SECONDS]
    python -m tools.readme_pictures compare HOME docs/images
    python -m tools.readme_pictures viewer HOME docs/images

``panel``: finished runs and one that trains; DEMO_HOME is a workspace in which ``saewidgets demo`` has run. Another run
is started in it, trains for SECONDS and is deleted again. ``compare``: three completed runs of HOME beside each other,
and the Pareto view of all at the same place of the same model; train a few first. ``viewer``: the packaged SAE; any
HOME will do.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import FloatRect, Locator, Page, sync_playwright

from tests.browser.lab import Lab, Notebook

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
START = """
config = ws.trainings.demo_config().replace(
    sae={"architecture": "topk", "d_sae": 512, "k": 32}, log_every_steps=5, tokens=1_000_000)
run = ws.trainings.create(config)
"""
ENDED = """
from collections import Counter
ended = [run for run in ws.trainings.list() if run.status == "completed"]
place = Counter(run.config["hook_name"] for run in ended).most_common(1)[0][0]
ids = [run.id for run in ended if run.config["hook_name"] == place][:3]
"""
Take = Callable[..., None]
FEATURE = 397  # every, each
LONG = 120_000  # ms: the first page loads torch and the model


def take_panel(notebook: Notebook, page: Page, frame: Locator, take: Take) -> None:
    page.wait_for_timeout(1000 * int(sys.argv[4]) if len(sys.argv) > 4 else 40_000)
    take("training-panel")
    notebook.python("run.cancel(); run.wait(60); run.delete()")


def take_compare(notebook: Notebook, page: Page, frame: Locator, take: Take) -> None:
    notebook.python("panel.selected = ids")
    frame.get_by_role("button", name="Compare", exact=True).click()
    frame.get_by_role("table", name="Configuration differences").wait_for()
    page.wait_for_timeout(5000)
    take("training-compare", frame.locator(".sw-pareto"))  # what is below are the charts of the other picture


def take_viewer(notebook: Notebook, page: Page, frame: Locator, take: Take) -> None:
    feature = frame.get_by_role("region", name=f"Feature {FEATURE}", exact=True)
    feature.get_by_role("list", name="Top activations").get_by_role("listitem").first.wait_for(timeout=LONG)
    page.wait_for_timeout(10_000)  # logit effects and neighbours
    take("extraction-viewer")


PICTURES: dict[str, tuple[str, str, Callable[[Notebook, Page, Locator, Take], None]]] = {
    "panel": (START, "sw.TrainingPanel(ws, height=380)", take_panel),
    "compare": (ENDED, "panel = sw.TrainingPanel(ws); panel", take_compare),
    "viewer": (
        "demo = ws.extractions.demo()",
        f'sw.ExtractionViewer(ws, view={{"extraction_id": demo.id, "feature": {FEATURE}}})',
        take_viewer,
    ),
}


def main() -> None:
    opening, widget, take_pictures = PICTURES[sys.argv[1]]
    home, images = Path(sys.argv[2]).resolve(), Path(sys.argv[3])
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("Chromium is not installed.")
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder), {}) as lab, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 1500}, device_scale_factor=2)
        page.set_default_timeout(60_000)
        cells = [f"import saewidgets as sw\nws = sw.Workspace({str(home)!r})\n{opening}", widget]
        notebook = Notebook(lab, page, cells, "python3")
        notebook.run(0)
        notebook.run(1)
        frame = page.locator(".sw-frame").first
        frame.wait_for()

        def take(name: str, last: Locator | None = None) -> None:
            for theme in ("light", "dark"):
                notebook.theme(theme.capitalize())
                page.wait_for_timeout(3000)
                box, end = frame.bounding_box(), (last or frame).bounding_box()
                if box is None or end is None:
                    sys.exit(f"{name}: there is nothing to take a picture of.")
                clip: FloatRect = {**box, "height": end["y"] + end["height"] - box["y"]}
                page.screenshot(path=images / f"{name}-{theme}.png", clip=clip)

        take_pictures(notebook, page, frame, take)
        notebook.close()
        browser.close()


if __name__ == "__main__":
    main()
