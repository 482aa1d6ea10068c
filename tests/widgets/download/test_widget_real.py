"""The download widget over a real workspace and a loopback hub: what the fakes promise is what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from saewidgets.jobs import JobSettings
from saewidgets.widgets.download.widget import DownloadFromHF
from saewidgets.workspace import Workspace
from tests.hub.repos import Repo
from tests.hub.server import Hub
from tests.widgets.conftest import Sent, ask, wait_for
from tests.workspace.hub import LARGE, READER, SAELENS, cache, repositories, server  # noqa: F401 - fixtures

pytestmark = pytest.mark.usefixtures("server")
FIRST = "blocks.0.hook_resid_pre"


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(tmp_path / "ws", jobs=JobSettings(poll=0.05)) as workspace:
        yield workspace


@pytest.fixture
def widget(ws: Workspace) -> Iterator[DownloadFromHF]:
    found = DownloadFromHF(ws)
    yield found
    found.close()


@pytest.fixture
def sent(widget: DownloadFromHF, record_messages: Callable[[Any], Sent]) -> Sent:
    return record_messages(widget)


def status(widget: DownloadFromHF) -> list[str]:
    return [card["status"] for card in widget.state["downloads"]]


def chosen(value: dict[str, Any], index: int = 0) -> dict[str, str]:
    row = value["rows"][index]
    repo = value["repositories"][row["repo"]]
    return {"repo_id": repo["repo_id"], "revision": repo["revision"], "path": row["path"]}


def test_from_the_box_to_the_library(widget: DownloadFromHF, ws: Workspace, sent: Sent) -> None:
    listing = ask(widget, sent, kind="hub_list", text=f"https://huggingface.co/{SAELENS}/tree/main/{FIRST}")["value"]
    assert [row["path"] for row in listing["rows"]] == [FIRST]
    assert listing["path"] == FIRST
    sae = chosen(listing)
    preview = ask(widget, sent, kind="hub_preview", sae=sae, device="cpu")["value"]
    assert (preview["d_in"], preview["architecture"]) == (32, "Standard")
    ask(widget, sent, kind="hub_download", saes=[sae])
    wait_for(lambda: status(widget) == ["completed"], 30)
    card = widget.state["downloads"][0]
    assert card["sae_id"] == ws.saes.list()[0].id
    assert card["bytes_done"] == card["bytes_total"] > 0
    again = ask(widget, sent, kind="hub_list", text=SAELENS)["value"]
    assert [row["cached"] for row in again["rows"]] == [True, False, False]


def test_pause_resume_cancel_and_retry(
    widget: DownloadFromHF, ws: Workspace, sent: Sent, server: Hub  # noqa: F811 - the fixture
) -> None:
    server.state.bandwidth = 1_000_000
    ask(widget, sent, kind="hub_download", saes=[chosen(ask(widget, sent, kind="hub_list", text=LARGE)["value"])])
    wait_for(lambda: widget.state["downloads"] and widget.state["downloads"][0]["bytes_done"] > 0, 30)
    job = widget.state["downloads"][0]["id"]
    for action, after in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        ask(widget, sent, kind="hub_action", action=action, job_ids=[job])
        wait_for(lambda after=after: status(widget) == [after], 30)
    server.state.bandwidth = 0
    ask(widget, sent, kind="hub_action", action="retry", job_ids=[job])
    wait_for(lambda: status(widget) == ["completed"], 60)
    ask(widget, sent, kind="hub_action", action="clear", job_ids=[job])
    wait_for(lambda: status(widget) == [])
    assert len(ws.saes.list()) == 1


def test_a_private_repository_opens_with_the_token(widget: DownloadFromHF, ws: Workspace, sent: Sent) -> None:
    listing = ask(widget, sent, kind="hub_list", text="lab/private-saes")["value"]
    assert listing["problems"][0]["kind"] == "repository_not_found"
    ask(widget, sent, kind="hub_token", token=READER)
    opened = ask(widget, sent, kind="hub_list", text="lab/private-saes", again=True)["value"]
    assert opened["total"] == 1
    wait_for(lambda: widget.state["account"] == "reader")
    ask(widget, sent, kind="hub_download", saes=[chosen(opened)])
    wait_for(lambda: status(widget) == ["completed"], 30)
    assert READER not in repr(ws.hub.downloads()[0])
    assert READER not in repr(sent)


def test_gemma_scope_has_facets(widget: DownloadFromHF, sent: Sent) -> None:
    known = ask(widget, sent, kind="hub_known")["value"]
    assert known["releases"][0]["id"] == "google/gemma-2-2b"
    listing = ask(widget, sent, kind="hub_list", release="google/gemma-2-2b")["value"]
    rows = [row for row in listing["rows"] if row["layer"] == 12]
    assert {row["site"] for row in rows} == {"resid_post"}
    assert {row["width"] for row in rows} == {"16k", "65k"}
    assert all(row["l0"] for row in rows)


def test_a_language_model_is_not_an_sae(
    widget: DownloadFromHF, sent: Sent, server: Hub  # noqa: F811 - the fixture
) -> None:
    server.state.add([Repo("openai-community/gpt2", {"config.json": b"{}", "model.safetensors": b"x" * 2000})])
    (problem,) = ask(widget, sent, kind="hub_list", text="openai-community/gpt2")["value"]["problems"]
    assert problem["what"] == "No SAE found in openai-community/gpt2."
    assert SAELENS in problem["suggestions"]
    assert problem["hint"].startswith("It holds a language model")
