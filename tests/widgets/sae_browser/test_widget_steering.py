"""*Steering* on a card of the SAE browser: the widget below, over a real workspace with a small SAE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from saewidgets.jobs import JobSettings
from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer
from saewidgets.widgets.sae_browser.widget import SAEBrowser
from saewidgets.widgets.steering.widget import Steering
from saewidgets.workspace import Workspace
from tests.widgets.conftest import Sent, ask, wait_for
from tests.workspace.steering.saes import add_demo_sae


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    root = tmp_path_factory.mktemp("browser-steering")
    with Workspace(root / "ws", jobs=JobSettings(poll=0.05)) as workspace:
        add_demo_sae(workspace, root / "sae")
        workspace.saes.add_local(root / "sae", name="another")
        yield workspace


@pytest.fixture
def browser(ws: Workspace) -> Iterator[SAEBrowser]:
    widget = SAEBrowser(ws)
    yield widget
    widget.close()


@pytest.fixture
def sent(browser: SAEBrowser, record_messages: Callable[[Any], Sent]) -> Sent:
    return record_messages(browser._parts[0])


def press(browser: SAEBrowser, sent: Sent, sae_id: str | None) -> dict[str, Any]:
    answer: dict[str, Any] = ask(browser._parts[0], sent, kind="show_steering", shown=sae_id is not None, sae_id=sae_id)
    return answer


def test_steering_opens_with_the_sae_chosen_and_closes(ws: Workspace, browser: SAEBrowser, sent: Sent) -> None:
    newest, older = (record.id for record in ws.saes.list())
    assert press(browser, sent, older)["kind"] == "result"
    wait_for(lambda: len(browser.children) == 2)
    steering = browser.children[1]
    assert isinstance(steering, Steering)
    assert steering.state["embedded"]  # the browser draws the frame
    wait_for(lambda: (steering.state["sae_id"], browser._parts[0].state["steering_shown"]) == (older, True))
    steering.add(older, 7)
    press(browser, sent, newest)
    wait_for(lambda: steering.state["sae_id"] == newest)
    assert [row["index"] for row in steering.state["rows"]] == [7], "what was added stays"
    press(browser, sent, None)
    wait_for(lambda: browser.children == (browser._parts[0],))
    assert not browser._parts[0].state["steering_shown"]
    press(browser, sent, older)
    wait_for(lambda: browser.children == (browser._parts[0], steering))
    browser.close()
    assert steering._closed


def test_the_features_browser_takes_its_place(
    ws: Workspace, browser: SAEBrowser, sent: Sent, record_messages: Callable[[Any], Sent]
) -> None:
    press(browser, sent, ws.saes.list()[0].id)
    wait_for(lambda: len(browser.children) == 2)
    steering = browser.children[1]
    assert steering.state["can_browse"]
    assert ask(steering, record_messages(steering), kind="steering_browse")["kind"] == "result"
    wait_for(lambda: isinstance(browser.children[-1], ExtractionViewer))
    state = browser._parts[0].state
    assert (state["steering_shown"], state["extractions_shown"]) == (False, True)


def test_steering_needs_an_sae_that_is_there(browser: SAEBrowser, sent: Sent) -> None:
    gone = press(browser, sent, "sae_nobody")
    assert (gone["kind"], gone["what"]) == ("failure", "There is no SAE 'sae_nobody'.")
    assert len(browser.children) == 1
    assert not browser._parts[0].state["steering_shown"]
