"""The exported page of features in a browser without a network, with and without its script."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from saewidgets.features.export import Effects, TokenEffect
from saewidgets.features.export.html_page import Section, page_of
from saewidgets.features.store.query import LatentNote
from tests.features.export.examples import example, section

BROWSING = pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    def made(index: int, label: str, density: float) -> Section:
        king = example(("once ", 0.5), ("a", 0.0), (" king", 4.0), ("</i>", 1.0), peak=2)
        effects = Effects([TokenEffect(0, " up", 1.0)], [TokenEffect(1, "down", -1.0)])
        counts, edges = np.array([6, 4, 2]), np.array([0.0, 2.0, 4.0, 6.0])
        changes = {"density": density, "max": 4.0 + index, "counts": counts, "edges": edges, "examples": [king]}
        return section(index, LatentNote(label), effects, **changes)

    sections = [made(3, "royalty", 0.001), made(8, "<script>document.title='broken'</script>", 0.2)]
    sections.append(made(5, "sea", 0.01))
    path = tmp_path / "page.html"
    path.write_text("".join(page_of("tiny", {}, sections)), "utf-8")
    return path


def visible(page: Page) -> list[str]:
    return page.locator("h2:visible").all_inner_texts()


@BROWSING
def test_finding_and_walking(browser: Browser, path: Path, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, offline=True)  # type: ignore[arg-type]
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    assert visible(page) == ["Feature 3"]
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", name="Feature 8")).to_be_visible()
    page.go_back()
    assert visible(page) == ["Feature 3"]
    page.keyboard.press("/")
    page.keyboard.type("SEA")
    expect(page.locator("nav li:visible")).to_have_count(1)
    page.locator("nav li:visible a").click()
    assert visible(page) == ["Feature 5"]
    expect(page.locator("nav a[aria-current=true]")).to_contain_text("sea")
    page.get_by_role("searchbox", name="Search features").fill("")
    page.get_by_role("combobox", name="Sort features").select_option("density")
    assert [text.split()[0] for text in page.locator("nav li").all_inner_texts()] == ["8", "5", "3"]
    page.locator("section:visible .row i.peak").hover()
    # 4 of the 6 that the axis goes to, in 240 pixels
    line = page.locator("section:visible .mark.on")
    expect(line).to_have_attribute("x1", "161")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 17, 17)"}[scheme]
    assert page.title() == "tiny"
    assert said == []
    assert {url.split("#")[0] for url in asked} == {path.as_uri()}
    context.close()


@pytest.mark.long
def test_without_script(browser: Browser, path: Path) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    assert visible(page) == ["Feature 3"]
    page.get_by_role("link", name="Next feature").click()
    assert visible(page) == ["Feature 8"]
    page.locator("nav a", has_text="sea").click()
    assert visible(page) == ["Feature 5"]
    expect(page.get_by_role("searchbox")).to_have_count(0)
    context.close()
