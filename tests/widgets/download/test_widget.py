"""The download widget over a real workspace and a loopback hub: every button is one call of the workspace."""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from saewidgets.errors import SAEWidgetsError
from saewidgets.events import JobStatus
from saewidgets.hub_records import RepoInfo
from saewidgets.jobs import JobSettings
from saewidgets.records import ErrorInfo, JobRecord
from saewidgets.widgets import commands, shell
from saewidgets.widgets.download import commands as module
from saewidgets.widgets.download.state import LISTINGS, RECENT, DownloadModel
from saewidgets.widgets.download.widget import DownloadFromHF
from saewidgets.widgets.shell import workers
from saewidgets.workspace import Workspace
from tests.hub.conftest import switch_offline
from tests.hub.repos import HOSTILE, Repo, below, saelens_files
from tests.hub.server import Hub
from tests.jobs.conftest import wait_until
from tests.widgets.conftest import Sent, ask
from tests.workspace.hub import LARGE, READER, SAELENS, cache, repositories, server  # noqa: F401 - fixtures

FIRST = "blocks.0.hook_resid_pre"


@pytest.fixture
def ws(tmp_path: Path) -> Iterator[Workspace]:
    with Workspace(tmp_path / "ws", jobs=JobSettings(poll=0.05)) as workspace:
        yield workspace


@pytest.fixture
def opened() -> list[str]:
    return []


@pytest.fixture
def widget(ws: Workspace, opened: list[str]) -> Iterator[DownloadFromHF]:
    found = DownloadFromHF(ws, on_open=opened.append)
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


def job(job_id: str, status: JobStatus = JobStatus.RUNNING, **changes: Any) -> JobRecord:
    payload = {"repo_id": "a/b", "path": "l0", "total_bytes": 1000}
    values: dict[str, Any] = {"payload": payload, "created_at": time.time(), **changes}
    return JobRecord(job_id, "download", status, "host/downloads", **values)


@pytest.fixture
def jobs(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[JobRecord]:
    """What the workspace lists as downloads."""
    found: list[JobRecord] = []
    monkeypatch.setattr(ws.hub, "downloads", lambda: tuple(found))
    return found


@pytest.fixture
def hang(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While it is not set, the hub does not answer what a repository is."""
    event, repo_info = threading.Event(), ws.hub.repo_info

    def wait(text: str, token: str | None = None) -> RepoInfo:
        event.wait(10)
        return repo_info(text, token)

    event.set()
    monkeypatch.setattr(ws.hub, "repo_info", wait)
    return event


# ------------------------------------------------------------------------------------------------- a whole hub


@pytest.mark.usefixtures("server")
def test_from_the_box_to_the_library(widget: DownloadFromHF, ws: Workspace, sent: Sent) -> None:
    listing = ask(widget, sent, kind="hub_list", text=f"https://huggingface.co/{SAELENS}/tree/main/{FIRST}")["value"]
    assert [row["path"] for row in listing["rows"]] == [FIRST]
    assert listing["path"] == FIRST
    sae = chosen(listing)
    preview = ask(widget, sent, kind="hub_preview", sae=sae, device="cpu")["value"]
    assert (preview["d_in"], preview["architecture"], preview["path"]) == (32, "Standard", FIRST)
    ask(widget, sent, kind="hub_download", saes=[sae])
    wait_until(lambda: status(widget) == ["completed"], 30)
    card = widget.state["downloads"][0]
    assert card["sae_id"] == ws.saes.list()[0].id
    assert card["bytes_done"] == card["bytes_total"] > 0
    assert [record.id for record in widget.downloads] == [card["id"]]
    again = ask(widget, sent, kind="hub_list", text=SAELENS)["value"]
    assert [row["cached"] for row in again["rows"]] == [True, False, False]


def test_pause_resume_cancel_and_retry(
    widget: DownloadFromHF, ws: Workspace, sent: Sent, server: Hub  # noqa: F811 - the fixture
) -> None:
    server.state.bandwidth = 1_000_000
    ask(widget, sent, kind="hub_download", saes=[chosen(ask(widget, sent, kind="hub_list", text=LARGE)["value"])])
    wait_until(lambda: widget.state["downloads"] and widget.state["downloads"][0]["bytes_done"] > 0, 30)
    job = widget.state["downloads"][0]["id"]
    refused = ask(widget, sent, kind="hub_action", action="clear", job_ids=[job])
    assert (refused["kind"], refused["hint"]) == ("failure", "Cancel it first.")
    for action, after in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        ask(widget, sent, kind="hub_action", action=action, job_ids=[job])
        wait_until(lambda after=after: status(widget) == [after], 30)
    server.state.bandwidth = 0
    ask(widget, sent, kind="hub_action", action="retry", job_ids=[job])
    wait_until(lambda: status(widget) == ["completed"], 60)
    ask(widget, sent, kind="hub_action", action="clear", job_ids=[job])
    wait_until(lambda: status(widget) == [])
    assert len(ws.saes.list()) == 1


@pytest.mark.usefixtures("server")
def test_a_private_repository_opens_with_the_token(widget: DownloadFromHF, ws: Workspace, sent: Sent) -> None:
    listing = ask(widget, sent, kind="hub_list", text="lab/private-saes")["value"]
    assert listing["problems"][0]["kind"] == "repository_not_found"
    ask(widget, sent, kind="hub_token", token=READER)
    opened = ask(widget, sent, kind="hub_list", text="lab/private-saes", again=True)["value"]
    assert opened["total"] == 1
    wait_until(lambda: widget.state["account"] == "reader")
    ask(widget, sent, kind="hub_download", saes=[chosen(opened)])
    wait_until(lambda: status(widget) == ["completed"], 30)
    assert READER not in repr(ws.hub.downloads()[0])
    assert READER not in repr(sent)


@pytest.mark.usefixtures("server")
def test_a_release_is_listed_at_once_and_names_failures(widget: DownloadFromHF, sent: Sent) -> None:
    known = ask(widget, sent, kind="hub_known")["value"]
    assert known["releases"][0]["label"] == "Gemma 2 2B, pretrained"
    named = {repo_id for release in known["releases"] for repo_id in release["repo_ids"]}
    assert named == {each["repo_id"] for each in known["repositories"] if "/gemma-scope-" in each["repo_id"]}
    wait_until(lambda: widget.state["known"] == len(known["repositories"]))
    listing = ask(widget, sent, kind="hub_list", release="google/gemma-2-2b")["value"]
    rows = [row for row in listing["rows"] if row["layer"] == 12]
    assert {row["site"] for row in rows} == {"resid_post"}
    assert {row["width"] for row in rows} == {"16k", "65k"}
    assert all(row["l0"] for row in rows)
    assert listing["repositories"][0]["base_models"] == ["google/gemma-2-2b"]
    assert len(listing["problems"]) == len(known["releases"][0]["repo_ids"]) - 1  # this hub has one of them
    assert ask(widget, sent, kind="hub_list", release="none")["kind"] == "failure"


# ------------------------------------------------------------------------------------------------- looking


def test_long_listings_come_in_pages(
    widget: DownloadFromHF, server: Hub, sent: Sent, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:
    monkeypatch.setattr(module.messages, "PAGE", 20)
    one = saelens_files(0, d_in=1, d_sae=1)
    server.state.add([Repo("a/b", {name: data for i in range(25) for name, data in below(f"l{i}", one).items()})])
    value = ask(widget, sent, kind="hub_list", text="a/b")["value"]
    assert (value["total"], len(value["rows"])) == (25, 20)
    page = ask(widget, sent, kind="hub_rows", listing=value["listing"], offset=20, limit=20)["value"]
    assert [row["path"] for row in page] == [f"l{i}" for i in range(20, 25)]
    for _ in range(LISTINGS):
        ask(widget, sent, kind="hub_list", text=SAELENS)
    gone = ask(widget, sent, kind="hub_rows", listing=value["listing"], offset=0)
    assert "were listed since" in gone["what"]


@pytest.mark.usefixtures("server")
def test_a_listing_of_the_cache_says_so(
    widget: DownloadFromHF, ws: Workspace, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws.hub.download("lab/hostile", HOSTILE).result(30)
    ws.hub.refresh()
    switch_offline(monkeypatch, True)
    value = ask(widget, sent, kind="hub_list", text="lab/hostile")["value"]
    (problem,) = value["problems"]
    assert problem["kind"] == "cached"
    assert problem["what"] == "Offline mode is switched on: this is what the cache of this machine has."
    assert value["rows"][0]["path"] == HOSTILE, "names from the hub travel as they are"
    assert ask(widget, sent, kind="hub_list", text="  ")["what"] == "No repository is named."


def test_check_again_asks_the_hub_again(widget: DownloadFromHF, server: Hub, sent: Sent) -> None:  # noqa: F811
    sae = chosen(ask(widget, sent, kind="hub_list", text=SAELENS)["value"])
    for asked in (
        {"kind": "hub_list", "text": SAELENS},
        {"kind": "hub_preview", "sae": sae, "device": "cpu"},
        {"kind": "hub_list", "release": "google/gemma-2-2b"},
    ):
        ask(widget, sent, **asked)
        for again in (False, True):
            server.forget()
            ask(widget, sent, **asked, again=again)
            assert bool(server.requests("/tree/")) == again
    wrong = ask(widget, sent, kind="hub_preview", sae=sae, device="cuda:0")
    assert "no device 'cuda:0'" in wrong["what"]


@pytest.mark.usefixtures("server")
def test_while_the_hub_hangs_everything_else_is_answered(
    widget: DownloadFromHF, hang: threading.Event, sent: Sent
) -> None:
    hang.clear()
    started = time.monotonic()
    for index in range(8):  # more than there are worker threads
        slow = {"id": f"s{index}", "kind": "hub_list", "text": SAELENS}
        widget._handle_custom_msg(slow, [])
    widget._handle_custom_msg({"id": "k", "kind": "hub_known"}, [])
    wait_until(lambda: len(sent.of("k")) == 2)
    assert time.monotonic() - started < 5
    assert workers().submit(lambda: 1).result(5) == 1
    assert [reply["kind"] for reply in sent.of("s0")] == ["ack"]
    hang.set()
    widget.drain()
    assert [reply["kind"] for reply in sent.of("s6")] == ["ack", "result"]


@pytest.mark.usefixtures("server")
def test_a_hub_that_hangs_is_not_asked_without_end(
    widget: DownloadFromHF, hang: threading.Event, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "MOST", 2)
    ask(widget, sent, kind="hub_list", text=SAELENS)  # the account is asked for once
    hang.clear()
    for index in range(2):
        widget._handle_custom_msg({"id": f"s{index}", "kind": "hub_list", "text": SAELENS}, [])
    wait_until(lambda: widget._commands._asking == 2)
    refused = {"id": "r", "kind": "hub_list", "text": SAELENS}
    widget._handle_custom_msg(refused, [])
    wait_until(lambda: len(sent.of("r")) == 2)
    assert sent.of("r")[-1]["what"].startswith("2 earlier questions")
    hang.set()


# ------------------------------------------------------------------------------------------------- the token


def test_a_token_is_used_forgotten_and_never_shown(
    widget: DownloadFromHF, ws: Workspace, server: Hub, sent: Sent,  # noqa: F811
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG, "saewidgets")  # httpcore's would repeat whatever the hub answers
    assert ask(widget, sent, kind="hub_token", token=f" {READER} ")["value"] is None
    wait_until(lambda: widget.state["has_token"])
    sae = chosen(ask(widget, sent, kind="hub_list", text=SAELENS)["value"])

    def ask_everything() -> None:
        ask(widget, sent, kind="hub_list", text=SAELENS)
        ask(widget, sent, kind="hub_preview", sae=sae)
        ask(widget, sent, kind="hub_download", saes=[sae])

    ask_everything()
    wait_until(lambda: status(widget) == ["completed"], 30)
    assert {seen.headers.get("authorization") for seen in server.requests("/api/")} == {f"Bearer {READER}"}
    hidden = SAEWidgetsError("Could not connect.")
    hidden.__cause__ = ValueError(READER)
    said = SAEWidgetsError(f"401 for {READER}", where=READER, hint=f"Is {READER} right?")
    for error in (said, RuntimeError(f"https://user:{READER}@hub"), hidden):
        with monkeypatch.context() as patch:
            for name in ("variants", "preview", "download"):
                patch.setattr(ws.hub, name, Mock(side_effect=error))
            ask_everything()
    ask(widget, sent, kind="hub_token", token=[READER])  # malformed
    ask(widget, sent, kind="hub_token", token=READER, surprise=1)
    everything = [repr(sent), caplog.text, repr(widget.get_state()), repr(widget), str(widget.export_html())]
    everything += [repr(widget._repr_mimebundle_())]
    assert [text for text in everything if READER in text] == []
    assert f"401 for {commands.MASK}" in repr(sent)
    ask(widget, sent, kind="hub_token", token=None)
    server.forget()
    ask(widget, sent, kind="hub_list", text=SAELENS)
    assert server.requests()
    assert not [seen for seen in server.requests() if "authorization" in seen.headers]
    wait_until(lambda: not widget.state["has_token"])
    ask(widget, sent, kind="hub_token", token=READER)
    widget.close()
    assert widget._model.token is None


@pytest.mark.parametrize(
    "wrong", ["hf_with blank", "hf_tab\tbed", "hf_zero\x00byte", "hf_gr\u00fc\u00dfe", "hf_" + "x" * 500]
)
def test_rejects_an_invalid_token_at_its_field(
    widget: DownloadFromHF, sent: Sent, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    caplog.set_level(logging.DEBUG)
    ask(widget, sent, kind="hub_token", token=READER)
    answer = ask(widget, sent, kind="hub_token", token=wrong)
    assert answer["kind"] == "failure"
    assert "access token" in answer["what"]
    assert "Copy it again" in answer["hint"]
    shown = (repr(sent), caplog.text, repr(widget.get_state()))
    assert not [text for text in shown if wrong in text or repr(wrong)[1:-1] in text]
    assert "Traceback" not in caplog.text
    assert widget._model.token == READER, "the one that is kept stays"


# ------------------------------------------------------------------------------------------------- downloads


@pytest.mark.usefixtures("server")
def test_a_download_that_cannot_start_is_named_and_the_others_go_on(widget: DownloadFromHF, sent: Sent) -> None:
    listing = ask(widget, sent, kind="hub_list", text=SAELENS)["value"]
    saes = [chosen(listing, 0), chosen(listing, 1)]
    started = ask(widget, sent, kind="hub_download", saes=saes)["value"]["job_ids"]
    wait_until(lambda: {card["id"] for card in widget.state["downloads"]} == set(started))
    failure = ask(widget, sent, kind="hub_download", saes=[saes[0], {**saes[0], "repo_id": "bad/one"}])
    assert failure["what"] == f"bad/one / {FIRST} was not started: Repository not found: bad/one."
    assert failure["hint"].startswith("1 of 2 downloads were started.")
    wait_until(lambda: set(status(widget)) == {"completed"}, 30)


def test_which_downloads_are_listed(ws: Workspace, jobs: list[JobRecord]) -> None:
    model = DownloadModel(ws)
    old = time.time() - RECENT - 60
    for status in (JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.FAILED, JobStatus.INTERRUPTED, JobStatus.PAUSED):
        jobs.append(job(status.value, status, created_at=old, finished_at=old))

    def listed() -> list[str]:
        model.mark_changed()
        model.read()
        return [card.id for card in model.state().downloads]

    assert listed() == ["failed", "interrupted", "paused"]
    revision = model.state().revision
    assert (listed(), model.state().revision) == (["failed", "interrupted", "paused"], revision)
    model.cleared.add("failed")
    assert listed() == ["interrupted", "paused"]
    model.cleared.discard("failed")
    assert listed() == ["failed", "interrupted", "paused"]


def test_cancel_takes_a_failed_one_off_the_list(
    widget: DownloadFromHF, ws: Workspace, jobs: list[JobRecord], sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.append(job("job_1", JobStatus.FAILED, error=ErrorInfo("Lost the connection 3 times.", "Press Retry.")))
    monkeypatch.setattr(type(ws.jobs), "get", lambda self, job_id: SimpleNamespace(status=JobStatus.FAILED))
    widget._model.mark_changed()
    state = ask(widget, sent, kind="refresh", revision=0)["value"]
    assert state["downloads"][0]["note"]["hint"] == "Press Retry."
    assert ask(widget, sent, kind="refresh", revision=10_000)["value"] is None
    ask(widget, sent, kind="hub_action", action="cancel", job_ids=["job_1"])
    wait_until(lambda: not widget.state["downloads"])


def test_what_it_starts_with_and_open_calls_back(
    widget: DownloadFromHF, ws: Workspace, sent: Sent, opened: list[str]
) -> None:
    alone = DownloadFromHF(ws, repository="a/b", embedded=True)
    assert (alone.state["repository"], alone.state["can_open"], alone.state["embedded"]) == ("a/b", False, True)
    alone.close()
    assert widget.state["can_open"]
    assert repr(widget) == f"<DownloadFromHF {widget.workspace.label}: 0 downloads, 0 running>"
    assert ask(widget, sent, kind="hub_open", sae_id="sae_1")["value"] is None
    assert opened == ["sae_1"]
    assert ask(widget, sent, kind="hub_teleport")["kind"] == "failure"  # a page of another version


# ------------------------------------------------------------------------------------------------- as Python sees it


def test_in_a_notebook_the_static_copy_follows_now_and_then(
    ws: Workspace, jobs: list[JobRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[bool, str]] = []
    outputs = SimpleNamespace(
        pub_socket=None,
        publish=lambda data, metadata, transient, update: sent.append((update, data["text/html"])),
    )
    monkeypatch.setattr(shell, "get_ipython", lambda: SimpleNamespace(display_pub=outputs))
    monkeypatch.setattr(shell, "COPY_EVERY", 60.0)
    monkeypatch.setattr(ws, "devices", list)
    widget = DownloadFromHF(ws)
    wait_until(lambda: widget.state["known"])
    data, _ = widget._repr_mimebundle_()
    assert data["text/html"] == ""
    assert [(update, "No downloads" in html) for update, html in sent] == [(False, True)]
    jobs.append(job("job_1"))
    widget._changed()
    wait_until(lambda: len(sent) == 2)  # the first change at once
    jobs[0] = dataclasses.replace(jobs[0], status=JobStatus.COMPLETED)
    widget._changed()
    wait_until(lambda: status(widget) == ["completed"])
    assert len(sent) == 2
    widget.close()  # what was last seen stays
    assert [update for update, _ in sent] == [False, True, True]
    assert "Completed" in sent[-1][1]
