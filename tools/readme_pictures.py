"""Take the pictures of the README in a real JupyterLab: a finished demo run and one that trains, light and dark.

    python -m tools.readme_pictures DEMO_HOME docs/images

DEMO_HOME is a workspace in which ``saewidgets demo`` has run; another run is started in it and deleted again.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.lab import Lab, Notebook

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
START = """
config = ws.trainings.demo_config().replace(
    sae={"architecture": "jumprelu", "d_sae": 4096, "l0_coefficient": 0.3}, log_every_steps=5, tokens=2_000_000)
run = ws.trainings.create(config)
"""


def main() -> None:
    home, images = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("Chromium is not installed.")
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder), {}) as lab, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900}, device_scale_factor=2)
        page.set_default_timeout(60_000)
        opening = f"import saewidgets as sw\nws = sw.Workspace({str(home)!r})\n{START}"
        cells = [opening, "panel = sw.TrainingPanel(ws)\npanel"]
        notebook = Notebook(lab, page, cells, "python3")
        notebook.run(0)
        notebook.run(1)
        panel = page.locator(".sw-frame").first
        panel.wait_for()
        page.wait_for_timeout(1000 * int(sys.argv[3]) if len(sys.argv) > 3 else 40_000)
        for theme, name in (("light", "Light"), ("dark", "Dark")):
            notebook.theme(name)
            page.wait_for_timeout(3000)
            panel.screenshot(path=images / f"training-panel-{theme}.png")
        notebook.python("run.cancel(); run.wait(60); run.delete()")
        notebook.close()
        browser.close()


if __name__ == "__main__":
    main()
