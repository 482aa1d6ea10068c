"""Real JupyterLab in real Chromium: one server per session, a fresh notebook and kernel per test."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.lab import Lab, Notebook

KERNELS = {"ipykernel-7.4": "7.4.0", "ipykernel-7.3": "7.3.0", "ipykernel-6.31": "6.31.0"}
# pytest-playwright empties its own output folder, test-results/, when any session starts: hence a place to choose.
RESULTS = Path(os.environ.get("SAEWIDGETS_SCREENSHOTS", Path(__file__).resolve().parents[2] / "test-results"))
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --disable-quic --force-prefers-reduced-motion"
)


def chromium() -> str:
    """The system's Chromium ($CHROMIUM overrides it). Missing: the test fails, it is never silently skipped."""
    found = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if not found:
        pytest.fail(
            "The browser tests need Chromium. On Debian and Ubuntu: `apt-get install chromium`; elsewhere install "
            "Chromium or Chrome and set CHROMIUM to its path. `pytest -m 'not browser'` leaves these tests out.",
            pytrace=False,
        )
    return found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    return {"executable_path": chromium(), "args": ARGUMENTS.split()}


@pytest.fixture(scope="session")
def browser_context_args() -> dict[str, Any]:
    return {"viewport": {"width": 1280, "height": 1500}, "reduced_motion": "reduce"}


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab"), KERNELS) as server:
        yield server


Open = Callable[..., Notebook]
Snapshot = Callable[..., None]


@pytest.fixture
def open_notebook(lab: Lab, page: Page) -> Iterator[Open]:
    """`open_notebook(cells, kernel="ipykernel-7.4")` runs the cells. An error of the page fails the test at its end."""
    opened: list[Notebook] = []
    page.set_default_timeout(40_000)  # a busy machine; nothing waits that long on a free one
    expect.set_options(timeout=20_000)

    def open_it(cells: list[str], kernel: str = "ipykernel-7.4") -> Notebook:
        opened.append(Notebook(lab, page, cells, kernel))
        for index in range(len(cells)):
            opened[-1].run(index)
        return opened[-1]

    yield open_it
    for notebook in opened:
        notebook.close()
        assert notebook.errors == []


@pytest.fixture
def snapshot(page: Page) -> Snapshot:
    """Save a picture to test-results/ for people to look at."""
    RESULTS.mkdir(parents=True, exist_ok=True)

    def take(name: str, what: Locator | None = None) -> None:
        (what or page).screenshot(path=RESULTS / f"{name}.png")

    return take
