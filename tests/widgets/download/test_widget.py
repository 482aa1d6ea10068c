"""The download widget over a real workspace and a loopback hub: every button is one call of the workspace."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saewidgets.errors import NotFoundError, SAEWidgetsError
from saewidgets.events import JobStatus
from saewidgets.hub_records import RepoInfo, Variant
from saewidgets.jobs import JobSettings
from saewidgets.records import ErrorInfo, JobRecord
from saewidgets.widgets import shell
from saewidgets.widgets.download import commands as module
from saewidgets.widgets.download.state import LISTINGS, MASK, RECENT, DownloadModel
from saewidgets.widgets.download.widget import DownloadFromHF
from saewidgets.widgets.messages.hub import PAGE
from saewidgets.widgets.shell import workers
from saewidgets.workspace import Workspace
from tests.hub.repos import Repo
from tests.hub.server import Hub
from tests.widgets.conftest import Sent, ask, wait_for
from tests.workspace.hub import LARGE, READER, SAELENS, cache, repositories, server  # noqa: F401 - fixtures

FIRST = "blocks.0.hook_resid_pre"
TOKEN = "hf_AbCdEfGhIjKlMnOp"
COMMIT = "9" * 40
SAE = {"repo_id": "a/b", "revision": COMMIT, "path": "l0"}
HOSTILE = "<img src=x onerror=alert(1)>"


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


def variant(path: str = "l0", repo_id: str = "a/b", **changes: Any) -> Variant:
    return Variant(**{
        "repo_id": repo_id, "revision": COMMIT, "path": path, "format": "saelens", "size_bytes": 1000, **changes,
    })  # fmt: skip


@pytest.fixture
def jobs(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[JobRecord]:
    """What the workspace lists as downloads."""
    found: list[JobRecord] = []
    monkeypatch.setattr(ws.hub, "downloads", lambda: tuple(found))
    return found


class Calls:
    """What the hub was asked: (what, text); `found` and `errors` by repository."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.tokens: list[str | None] = []
        self.found: dict[str, list[Variant]] = {"a/b": [variant()]}
        self.errors: dict[str, Exception] = {}
        self.wait: dict[str, threading.Event] = {}

    def __call__(self, what: str, text: str, token: str | None) -> str:
        repo_id = text.partition("@")[0]
        self.seen.append((what, text))
        self.tokens.append(token)
        if repo_id in self.wait:
            self.wait[repo_id].wait(10)
        if repo_id in self.errors:
            raise self.errors[repo_id]
        if repo_id not in self.found:
            raise NotFoundError(f"Repository not found: {repo_id}.", where=repo_id)
        return repo_id


@pytest.fixture
def hub(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """A hub without a network, whose answers a test decides."""
    calls = Calls()
    ids = itertools.count()

    def preview(text: str, path: str = "", token: str | None = None, device: str | None = None) -> Any:
        calls("preview", text, token)
        calls.seen.append(("device", device))
        raise NotFoundError("There is no preview.")

    def download(text: str, path: str = "", revision: str | None = None, token: str | None = None) -> Any:
        calls("download", text, token)
        return SimpleNamespace(id=f"job_{next(ids)}")

    monkeypatch.setattr(ws.hub, "repo_info", lambda text, token=None: RepoInfo(calls("info", text, token), COMMIT))
    monkeypatch.setattr(ws.hub, "variants", lambda text, token=None: calls.found[calls("variants", text, token)])
    monkeypatch.setattr(ws.hub, "refresh", lambda text=None: calls.seen.append(("refresh", text)))
    monkeypatch.setattr(ws.hub, "account", lambda token=None: "ada" if token else None)
    monkeypatch.setattr(ws.hub, "preview", preview)
    monkeypatch.setattr(ws.hub, "download", download)
    return calls


# ------------------------------------------------------------------------------------------------- a whole hub


@pytest.mark.usefixtures("server")
def test_from_the_box_to_the_library(widget: DownloadFromHF, ws: Workspace, sent: Sent) -> None:
    listing = ask(widget, sent, kind="hub_list", text=f"https://huggingface.co/{SAELENS}/tree/main/{FIRST}")["value"]
    assert [row["path"] for row in listing["rows"]] == [FIRST]
    assert listing["path"] == FIRST
    sae = chosen(listing)
    preview = ask(widget, sent, kind="hub_preview", sae=sae, device="cpu")["value"]
    assert (preview["d_in"], preview["architecture"], preview["sae"]) == (32, "Standard", sae)
    ask(widget, sent, kind="hub_download", saes=[sae])
    wait_for(lambda: status(widget) == ["completed"], 30)
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
    wait_for(lambda: widget.state["downloads"] and widget.state["downloads"][0]["bytes_done"] > 0, 30)
    job = widget.state["downloads"][0]["id"]
    refused = ask(widget, sent, kind="hub_action", action="clear", job_ids=[job])
    assert (refused["kind"], refused["hint"]) == ("failure", "Cancel it first.")
    for action, after in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        ask(widget, sent, kind="hub_action", action=action, job_ids=[job])
        wait_for(lambda after=after: status(widget) == [after], 30)
    server.state.bandwidth = 0
    ask(widget, sent, kind="hub_action", action="retry", job_ids=[job])
    wait_for(lambda: status(widget) == ["completed"], 60)
    ask(widget, sent, kind="hub_action", action="clear", job_ids=[job])
    wait_for(lambda: status(widget) == [])
    assert len(ws.saes.list()) == 1


@pytest.mark.usefixtures("server")
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


@pytest.mark.usefixtures("server")
def test_a_release_is_listed_at_once_and_names_what_fails(widget: DownloadFromHF, sent: Sent) -> None:
    known = ask(widget, sent, kind="hub_known")["value"]
    assert known["releases"][0]["label"] == "Gemma 2 2B, pretrained"
    named = {repo_id for release in known["releases"] for repo_id in release["repo_ids"]}
    assert named == {each["repo_id"] for each in known["repositories"] if "/gemma-scope-" in each["repo_id"]}
    wait_for(lambda: widget.state["known"] == len(known["repositories"]))
    listing = ask(widget, sent, kind="hub_list", release="google/gemma-2-2b")["value"]
    rows = [row for row in listing["rows"] if row["layer"] == 12]
    assert {row["site"] for row in rows} == {"resid_post"}
    assert {row["width"] for row in rows} == {"16k", "65k"}
    assert all(row["l0"] for row in rows)
    assert listing["repositories"][0]["base_models"] == ["google/gemma-2-2b"]
    assert len(listing["problems"]) == len(known["releases"][0]["repo_ids"]) - 1  # this hub has one of them
    assert ask(widget, sent, kind="hub_list", release="none")["kind"] == "failure"


def test_a_language_model_is_not_an_sae(
    widget: DownloadFromHF, sent: Sent, server: Hub  # noqa: F811 - the fixture
) -> None:
    server.state.add([Repo("openai-community/gpt2", {"config.json": b"{}", "model.safetensors": b"x" * 2000})])
    (problem,) = ask(widget, sent, kind="hub_list", text="openai-community/gpt2")["value"]["problems"]
    assert problem["what"] == "No SAE found in openai-community/gpt2."
    assert SAELENS in problem["suggestions"]
    assert problem["hint"].startswith("It holds a language model")


# ------------------------------------------------------------------------------------------------- looking


def test_long_listings_come_in_pages(widget: DownloadFromHF, hub: Calls, sent: Sent) -> None:
    hub.found["a/b"] = [variant(f"l{i}") for i in range(PAGE + 500)]
    value = ask(widget, sent, kind="hub_list", text="a/b")["value"]
    assert (value["total"], len(value["rows"])) == (PAGE + 500, PAGE)
    page = ask(widget, sent, kind="hub_rows", listing=value["listing"], offset=PAGE, limit=PAGE)["value"]
    assert [row["path"] for row in page] == [f"l{i}" for i in range(PAGE, PAGE + 500)]
    for _ in range(LISTINGS):
        ask(widget, sent, kind="hub_list", text="a/b")
    gone = ask(widget, sent, kind="hub_rows", listing=value["listing"], offset=0)
    assert "were listed since" in gone["what"]


def test_a_listing_of_the_cache_says_so(widget: DownloadFromHF, hub: Calls, sent: Sent) -> None:
    hub.found["a/b"] = [variant(HOSTILE, from_cache=True)]
    value = ask(widget, sent, kind="hub_list", text="a/b")["value"]
    (problem,) = value["problems"]
    assert problem["kind"] == "cached"
    assert problem["what"] == "Offline mode is switched on: this is what the cache of this machine has."
    assert value["rows"][0]["path"] == HOSTILE, "names from the hub travel as they are"
    assert ask(widget, sent, kind="hub_list", text="  ")["what"] == "No repository is named."


def test_check_again_asks_the_hub_again(widget: DownloadFromHF, hub: Calls, sent: Sent) -> None:
    ask(widget, sent, kind="hub_list", text="a/b")
    assert ("refresh", "a/b") not in hub.seen
    ask(widget, sent, kind="hub_list", text="a/b", again=True)
    ask(widget, sent, kind="hub_preview", sae=SAE, device="cuda:0", again=True)
    ask(widget, sent, kind="hub_list", release="google/gemma-2-2b", again=True)
    assert [text for what, text in hub.seen if what == "refresh"] == ["a/b", f"a/b@{COMMIT}", None]
    assert {("preview", f"a/b@{COMMIT}"), ("device", "cuda:0")} <= set(hub.seen)


def test_the_account_is_asked_once_per_token(widget: DownloadFromHF, hub: Calls, sent: Sent) -> None:
    for token, account in ((None, None), (TOKEN, "ada"), (None, None)):
        ask(widget, sent, kind="hub_token", token=token)
        ask(widget, sent, kind="hub_list", text="a/b")
        wait_for(lambda account=account: widget.state["account"] == account)


def test_while_the_hub_hangs_everything_else_is_answered(widget: DownloadFromHF, hub: Calls, sent: Sent) -> None:
    hang = hub.wait["a/b"] = threading.Event()
    started = time.monotonic()
    for index in range(8):  # more than there are worker threads
        slow = {"id": f"s{index}", "kind": "hub_list", "text": "a/b"}
        widget._handle_custom_msg(slow, [])
    widget._handle_custom_msg({"id": "k", "kind": "hub_known"}, [])
    wait_for(lambda: len(sent.of("k")) == 2)
    assert time.monotonic() - started < 5
    assert workers().submit(lambda: 1).result(5) == 1
    assert [reply["kind"] for reply in sent.of("s0")] == ["ack"]
    hang.set()
    widget.drain()
    assert [reply["kind"] for reply in sent.of("s6")] == ["ack", "result"]


def test_a_hub_that_hangs_is_not_asked_without_end(
    widget: DownloadFromHF, hub: Calls, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    ask(widget, sent, kind="hub_list", text="a/b")  # the account is asked for once
    hub.wait["a/b"] = threading.Event()
    for index in range(2):
        widget._handle_custom_msg({"id": f"s{index}", "kind": "hub_list", "text": "a/b"}, [])
    wait_for(lambda: widget._commands._asking == 2)
    refused = {"id": "r", "kind": "hub_list", "text": "a/b"}
    widget._handle_custom_msg(refused, [])
    wait_for(lambda: len(sent.of("r")) == 2)
    assert sent.of("r")[-1]["what"].startswith("2 earlier questions")
    hub.wait["a/b"].set()


# ------------------------------------------------------------------------------------------------- the token


def test_a_token_is_used_forgotten_and_never_shown(
    widget: DownloadFromHF, hub: Calls, sent: Sent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert ask(widget, sent, kind="hub_token", token=f" {TOKEN} ")["value"] is None
    wait_for(lambda: widget.state["has_token"])
    hub.errors["bad/one"] = SAEWidgetsError(f"401 for {TOKEN}", where=TOKEN, hint=f"Is {TOKEN} right?")
    hub.errors["bad/two"] = RuntimeError(f"https://user:{TOKEN}@hub")
    hub.errors["bad/three"] = SAEWidgetsError("Could not connect.")
    hub.errors["bad/three"].__cause__ = ValueError(TOKEN)
    for repo in ("a/b", "bad/one", "bad/two", "bad/three"):
        ask(widget, sent, kind="hub_list", text=repo)
        ask(widget, sent, kind="hub_preview", sae={**SAE, "repo_id": repo})
        ask(widget, sent, kind="hub_download", saes=[{**SAE, "repo_id": repo}])
    assert set(hub.tokens) == {TOKEN}
    ask(widget, sent, kind="hub_token", token=[TOKEN])  # malformed
    ask(widget, sent, kind="hub_token", token=TOKEN, surprise=1)
    everything = [repr(sent), caplog.text, repr(widget.get_state()), repr(widget), str(widget.export_html())]
    everything += [repr(widget._repr_mimebundle_())]
    assert [text for text in everything if TOKEN in text] == []
    assert f"401 for {MASK}" in repr(sent)
    ask(widget, sent, kind="hub_token", token=None)
    ask(widget, sent, kind="hub_list", text="a/b")
    assert hub.tokens[-1] is None
    wait_for(lambda: not widget.state["has_token"])
    ask(widget, sent, kind="hub_token", token=TOKEN)
    widget.close()
    assert widget._model.token is None


@pytest.mark.parametrize(
    "wrong", ["hf_with blank", "hf_tab\tbed", "hf_zero\x00byte", "hf_gr\u00fc\u00dfe", "hf_" + "x" * 500]
)
def test_what_cannot_be_a_token_is_refused_where_it_is_typed(
    widget: DownloadFromHF, sent: Sent, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    caplog.set_level(logging.DEBUG)
    ask(widget, sent, kind="hub_token", token=TOKEN)
    answer = ask(widget, sent, kind="hub_token", token=wrong)
    assert answer["kind"] == "failure"
    assert "access token" in answer["what"]
    assert "Copy it again" in answer["hint"]
    shown = (repr(sent), caplog.text, repr(widget.get_state()))
    assert not [text for text in shown if wrong in text or repr(wrong)[1:-1] in text]
    assert "Traceback" not in caplog.text
    assert widget._model.token == TOKEN, "the one that is kept stays"


# ------------------------------------------------------------------------------------------------- downloads


def test_a_download_that_cannot_start_is_named_and_the_others_go_on(
    widget: DownloadFromHF, hub: Calls, sent: Sent
) -> None:
    answer = ask(widget, sent, kind="hub_download", saes=[SAE, {**SAE, "path": "l1"}])["value"]
    assert answer["job_ids"] == ["job_0", "job_1"]
    hub.errors["bad/one"] = NotFoundError("It is gone.")
    failure = ask(widget, sent, kind="hub_download", saes=[SAE, {**SAE, "repo_id": "bad/one"}])
    assert failure["what"] == "bad/one / l0 was not started: It is gone."
    assert failure["hint"] == "1 of 2 downloads were started."


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
    wait_for(lambda: not widget.state["downloads"])


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
    wait_for(lambda: widget.state["known"])
    data, _ = widget._repr_mimebundle_()
    assert data["text/html"] == ""
    assert [(update, "No downloads" in html) for update, html in sent] == [(False, True)]
    jobs.append(job("job_1"))
    widget._changed()
    wait_for(lambda: len(sent) == 2)  # the first change at once
    jobs[0] = dataclasses.replace(jobs[0], status=JobStatus.COMPLETED)
    widget._changed()
    wait_for(lambda: status(widget) == ["completed"])
    assert len(sent) == 2
    widget.close()  # what was last seen stays
    assert [update for update, _ in sent] == [False, True, True]
    assert "Completed" in sent[-1][1]
