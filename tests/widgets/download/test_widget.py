"""The download widget as a whole: it follows the workspace, has a static copy, ends when closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saewidgets.errors import CatalogError, ConfigError, SAEWidgetsError
from saewidgets.records import Records
from saewidgets.widgets import shell
from saewidgets.widgets.download.widget import DownloadFromHF
from tests.widgets.conftest import Sent, ask, wait_for
from tests.widgets.fake_hub import HOSTILE, SPARSIFY, FakeHubWorkspace


@pytest.fixture
def ws() -> FakeHubWorkspace:
    return FakeHubWorkspace()


@pytest.fixture
def widget(ws: FakeHubWorkspace) -> Iterator[DownloadFromHF]:
    found = DownloadFromHF(ws)
    yield found
    found.close()


def card(widget: DownloadFromHF) -> dict[str, Any]:
    return (widget.state["downloads"] or [{}])[0]


def test_a_download_is_followed_to_its_end(widget: DownloadFromHF, ws: FakeHubWorkspace) -> None:
    ws.hub.add("job_1", SPARSIFY, "layers.6")
    ws.hub.arrive("job_1", 365_000_000)
    wait_for(lambda: card(widget).get("bytes_done") == 365_000_000)
    assert (card(widget)["rate"], card(widget)["status"]) == (41_200_000.0, "running")
    ws.hub.finish("job_1")
    wait_for(lambda: card(widget)["sae_id"] == "sae_1")
    assert isinstance(widget.downloads, Records)
    assert [job.id for job in widget.downloads] == ["job_1"]


def test_two_widgets_show_the_same(widget: DownloadFromHF, ws: FakeHubWorkspace) -> None:
    other = DownloadFromHF(ws)
    ws.hub.add("job_1", SPARSIFY, "layers.6")
    for one in (widget, other):
        wait_for(lambda one=one: card(one).get("id") == "job_1")
    other.close()


def test_a_failure_says_what_and_what_next(widget: DownloadFromHF, ws: FakeHubWorkspace) -> None:
    ws.hub.add("job_1", SPARSIFY, "layers.6")
    ws.hub.fail("job_1", SAEWidgetsError("Lost the connection 3 times.", hint="Press Retry."))
    wait_for(lambda: (card(widget).get("note") or {}).get("hint") == "Press Retry.")


def test_what_it_starts_with(ws: FakeHubWorkspace) -> None:
    widget = DownloadFromHF(ws, repository=SPARSIFY, on_open=print, embedded=True, theme="dark", height=300)
    assert (widget.state["repository"], widget.state["can_open"], widget.state["embedded"]) == (SPARSIFY, True, True)
    assert (widget.theme, widget.height) == ("dark", 300)
    wait_for(lambda: widget.state["known"] == 5)
    widget.close()
    alone = DownloadFromHF(ws)
    assert not alone.state["can_open"]
    alone.close()


def test_arguments_are_checked(ws: FakeHubWorkspace) -> None:
    with pytest.raises(ConfigError, match="theme"):
        DownloadFromHF(ws, theme="blue")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="height"):
        DownloadFromHF(ws, height=3)
    with pytest.raises(TypeError):
        DownloadFromHF(ws, token="hf_x")  # type: ignore[call-arg]


def test_a_workspace_that_cannot_be_read_is_shown_and_heals(
    ws: FakeHubWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise CatalogError("The catalog is locked.", hint="Close the other program.")

    with monkeypatch.context() as patch:
        patch.setattr(ws.hub, "downloads", broken)
        widget = DownloadFromHF(ws)
        wait_for(lambda: (widget.state["notice"] or {}).get("what") == "The catalog is locked.")
    ws.tell()
    wait_for(lambda: widget.state["notice"] is None)
    widget.close()


def test_devices_that_cannot_be_listed_leave_the_rest_alone(ws: FakeHubWorkspace) -> None:
    ws.device_error = RuntimeError("no driver")
    widget = DownloadFromHF(ws)
    ws.hub.add("job_1", SPARSIFY, "layers.6")
    wait_for(lambda: widget.state["downloads"])
    assert widget.state["devices"] == []
    widget.close()


def test_close_ends_everything_and_may_be_called_twice(ws: FakeHubWorkspace) -> None:
    widget = DownloadFromHF(ws)
    assert len(ws._subscribers) == 1
    widget.close()
    widget.close()
    assert ws._subscribers == []
    assert widget._publisher is not None
    assert not widget._publisher.alive
    ws.hub.add("job_1", SPARSIFY, "layers.6")


def test_repr_and_static_copy(widget: DownloadFromHF, ws: FakeHubWorkspace, tmp_path: Path) -> None:
    assert repr(widget) == "<DownloadFromHF test workspace: 0 downloads, 0 running>"
    data, _ = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "No downloads" in data["text/html"]
    ws.hub.add("job_1", "a/b", HOSTILE)
    ws.hub.fail("job_1", SAEWidgetsError(HOSTILE))
    wait_for(lambda: card(widget).get("status") == "failed")
    document = widget.export_html(tmp_path / "downloads.html").read_text("utf-8")  # type: ignore[union-attr]
    assert document.startswith("<!doctype html>")
    assert "<img" not in document
    assert "<script" not in document
    assert "&lt;img src=x" in document
    assert widget.export_html() == document


def test_in_a_notebook_the_static_copy_follows_now_and_then(
    ws: FakeHubWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[bool, str]] = []
    outputs = SimpleNamespace(
        pub_socket=None,
        publish=lambda data, metadata, transient, update: sent.append((update, data["text/html"])),
    )
    monkeypatch.setattr(shell, "get_ipython", lambda: SimpleNamespace(display_pub=outputs))
    monkeypatch.setattr(shell, "COPY_EVERY", 60.0)
    widget = DownloadFromHF(ws)
    data, _ = widget._repr_mimebundle_()
    assert data["text/html"] == ""
    assert [(update, "No downloads" in html) for update, html in sent] == [(False, True)]
    ws.hub.add("job_1", SPARSIFY, "layers.6")
    wait_for(lambda: len(sent) == 2)  # the first change at once
    ws.hub.arrive("job_1", 365_000_000)
    ws.hub.finish("job_1")
    wait_for(lambda: card(widget).get("sae_id") == "sae_1")
    assert len(sent) == 2
    widget.close()  # what was last seen stays
    assert [update for update, _ in sent] == [False, True, True]
    assert "Completed" in sent[-1][1]


def test_a_page_of_another_version_is_answered(
    widget: DownloadFromHF, record_messages: Callable[[Any], Sent]
) -> None:
    assert ask(widget, record_messages(widget), kind="hub_teleport")["kind"] == "failure"
