"""Waiting for what neither the page nor the kernel announces."""

import time
from collections.abc import Callable

from playwright.sync_api import Page

# bqplot draws a figure anew some time after its box has got another width, and only where it is on the screen.
FOLLOWED = """() => [...document.querySelectorAll('.sw-frame .bqplot')].every(figure => {
  const box = figure.getBoundingClientRect();
  const ends = [...figure.querySelectorAll('.axis')].map(axis => axis.getBoundingClientRect().right);
  const end = Math.max(...ends);
  return box.width === 0 || (end <= box.right + 1 && end > box.right - 80);
})"""


def wait_until(condition: Callable[[], object], limit: float = 90.0) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.2)


def wait_for_figures(page: Page) -> None:
    """Until every figure is drawn as wide as its box, in a window that is high enough for all of them."""
    assert page.viewport_size
    page.set_viewport_size({"width": page.viewport_size["width"], "height": 5000})
    page.wait_for_function(FOLLOWED)
