"""Every button of the download widget is one call of the workspace; what waits for the hub blocks nobody."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from saewidgets.errors import NotFoundError, SAEWidgetsError
from saewidgets.events import JobStatus
from saewidgets.widgets.download.widget import DownloadFromHF
from saewidgets.widgets.messages.hub import PAGE
from saewidgets.widgets.shell import workers
from tests.widgets.conftest import Sent, ask, wait_for
from tests.widgets.fake_hub import GEMMA, HOSTILE, REVISION, SPARSIFY, FakeHubWorkspace, make_variant

Record = Callable[[Any], Sent]
TOKEN = "hf_AbCdEfGhIjKlMnOp"
LAYER_6 = {"repo_id": SPARSIFY, "revision": REVISION, "path": "layers.6"}


@pytest.fixture
def ws() -> FakeHubWorkspace:
    return FakeHubWorkspace()


@pytest.fixture
def opened() -> list[str]:
    return []


@pytest.fixture
def widget(ws: FakeHubWorkspace, opened: list[str]) -> Iterator[DownloadFromHF]:
    found = DownloadFromHF(ws, on_open=opened.append)
    yield found
    found.close()


@pytest.fixture
def sent(widget: DownloadFromHF, record_messages: Record) -> Sent:
    return record_messages(widget)


# ------------------------------------------------------------------------------------------------- looking


def test_known_repositories_and_releases(widget: DownloadFromHF, sent: Sent) -> None:
    value = ask(widget, sent, kind="hub_known")["value"]
    assert value["repositories"][0]["repo_id"] == GEMMA
    assert value["releases"][0]["label"] == "Gemma 2 2B, pretrained"


def test_a_listing_has_facts_and_rows(widget: DownloadFromHF, sent: Sent) -> None:
    value = ask(widget, sent, kind="hub_list", text=f"{SPARSIFY}@main")["value"]
    assert (value["total"], len(value["rows"])) == (4, 4)
    repo = value["repositories"][0]
    assert (repo["repo_id"], repo["revision"]) == (SPARSIFY, REVISION)
    assert value["rows"][1]["cached"]


def test_a_folder_that_is_named_is_found_again(widget: DownloadFromHF, sent: Sent) -> None:
    assert ask(widget, sent, kind="hub_list", text=f"{SPARSIFY}/layers.18.mlp")["value"]["path"] == "layers.18.mlp"


def test_long_listings_come_in_pages(widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent) -> None:
    ws.hub.variants_of["big/one"] = [make_variant(f"l{i}", "big/one") for i in range(PAGE + 500)]
    value = ask(widget, sent, kind="hub_list", text="big/one")["value"]
    assert (value["total"], len(value["rows"])) == (PAGE + 500, PAGE)
    page = ask(widget, sent, kind="hub_rows", listing=value["listing"], offset=PAGE, limit=PAGE)["value"]
    assert [row["path"] for row in page["rows"]] == [f"l{i}" for i in range(PAGE, PAGE + 500)]
    gone = ask(widget, sent, kind="hub_rows", listing=99, offset=0)
    assert gone["kind"] == "failure"
    assert "were listed since" in gone["what"]


def test_a_release_is_listed_at_once_and_names_what_fails(
    widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent
) -> None:
    value = ask(widget, sent, kind="hub_list", release="google/gemma-2-2b")["value"]
    assert value["total"] == 18
    assert [problem["what"] for problem in value["problems"]] == [
        "Repository not found: google/gemma-scope-2b-pt-mlp."
    ]
    assert ask(widget, sent, kind="hub_list", release="none")["kind"] == "failure"


def test_problems_come_with_names_to_try(widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent) -> None:
    value = ask(widget, sent, kind="hub_list", text="EleutherAI/sae-pythia-410-65k")["value"]
    assert value["total"] == 0
    assert value["problems"][0]["suggestions"] == [SPARSIFY]
    ws.hub.variants_of["openai-community/gpt2"] = []
    empty = ask(widget, sent, kind="hub_list", text="openai-community/gpt2")["value"]["problems"][0]
    assert empty["what"] == "No SAE found in openai-community/gpt2."
    assert empty["suggestions"] == ["jbloom/GPT2-Small-SAEs-Reformatted"]


def test_a_listing_of_the_cache_says_so(widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent) -> None:
    ws.hub.variants_of[SPARSIFY] = [replace(one, from_cache=True) for one in ws.hub.variants_of[SPARSIFY][:1]]
    value = ask(widget, sent, kind="hub_list", text=SPARSIFY)["value"]
    assert value["total"] == 1
    (problem,) = value["problems"]
    assert problem["kind"] == "cached"
    assert problem["what"] == "Offline mode is switched on: this is what the cache of this machine has."


def test_check_again_asks_the_hub_again(widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent) -> None:
    ask(widget, sent, kind="hub_list", text=SPARSIFY)
    assert ("refresh", SPARSIFY) not in ws.hub.calls
    ask(widget, sent, kind="hub_list", text=SPARSIFY, again=True)
    assert ("refresh", SPARSIFY) in ws.hub.calls
    ask(widget, sent, kind="hub_preview", sae=LAYER_6, again=True)
    assert ("refresh", f"{SPARSIFY}@{REVISION}") in ws.hub.calls
    ask(widget, sent, kind="hub_list", release="google/gemma-2-2b", again=True)
    assert ("refresh", None) in ws.hub.calls


def test_the_account_is_asked_once_per_token(widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent) -> None:
    for _ in range(2):
        ask(widget, sent, kind="hub_list", text=SPARSIFY)
    assert widget.state["account"] is None
    ask(widget, sent, kind="hub_token", token=TOKEN)
    ask(widget, sent, kind="hub_list", text=SPARSIFY)
    wait_for(lambda: widget.state["account"] == "ada")
    ask(widget, sent, kind="hub_token", token=None)
    wait_for(lambda: widget.state["account"] is None)


def test_no_name_is_a_failure(widget: DownloadFromHF, sent: Sent) -> None:
    assert ask(widget, sent, kind="hub_list", text="  ")["what"] == "No repository is named."


def test_a_preview_asks_for_the_listed_commit_and_the_device(
    widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent
) -> None:
    value = ask(widget, sent, kind="hub_preview", sae=LAYER_6, device="cuda:0")["value"]
    assert value["architecture"] == "TopK k 32"
    assert value["sae"] == LAYER_6
    assert ("preview", f"{SPARSIFY}@{REVISION}") in ws.hub.calls
    assert ("device", "cuda:0") in ws.hub.calls


def test_names_from_the_hub_travel_as_they_are(widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent) -> None:
    ws.hub.variants_of["a/b"] = [make_variant(HOSTILE, "a/b")]
    assert ask(widget, sent, kind="hub_list", text="a/b")["value"]["rows"][0]["path"] == HOSTILE


def test_while_the_hub_hangs_everything_else_is_answered(
    widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent
) -> None:
    hang = ws.hub.wait["slow/repo"] = threading.Event()
    ws.hub.variants_of["slow/repo"] = []
    started = time.monotonic()
    for index in range(8):  # more than there are worker threads
        slow = {"id": f"s{index}", "kind": "hub_list", "text": "slow/repo", "asker": f"a{index}"}
        widget._handle_custom_msg(slow, [])
    widget._handle_custom_msg({"id": "k", "kind": "hub_known"}, [])
    wait_for(lambda: len(sent.of("k")) == 2)
    assert time.monotonic() - started < 5
    assert workers().submit(lambda: 1).result(5) == 1
    assert [reply["kind"] for reply in sent.of("s0")] == ["ack"]
    hang.set()
    widget.drain()
    assert [reply["kind"] for reply in sent.of("s7")] == ["ack", "result"]


def test_a_newer_listing_of_the_same_asker_wins(widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent) -> None:
    hang = ws.hub.wait["slow/repo"] = threading.Event()
    ws.hub.variants_of["slow/repo"] = []
    widget._handle_custom_msg({"id": "old", "kind": "hub_list", "text": "slow/repo", "asker": "a"}, [])
    wait_for(lambda: ("repo_info", "slow/repo") in ws.hub.calls)
    widget._handle_custom_msg({"id": "new", "kind": "hub_list", "text": SPARSIFY, "asker": "a"}, [])
    wait_for(lambda: len(sent.of("new")) == 2)
    assert sent.of("new")[-1]["value"]["total"] == 4
    assert sent.of("old")[-1]["kind"] == "failure"
    hang.set()


# ------------------------------------------------------------------------------------------------- the token


def test_a_token_is_used_forgotten_and_never_shown(
    widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert ask(widget, sent, kind="hub_token", token=f" {TOKEN} ")["value"] is None
    wait_for(lambda: widget.state["has_token"])
    ask(widget, sent, kind="hub_list", text=SPARSIFY)
    ask(widget, sent, kind="hub_preview", sae=LAYER_6)
    ask(widget, sent, kind="hub_download", saes=[LAYER_6])
    assert set(ws.hub.tokens) == {TOKEN}
    ws.hub.errors["bad/one"] = SAEWidgetsError(f"401 for {TOKEN}", where=TOKEN, hint=f"Is {TOKEN} right?")
    ws.hub.errors["bad/two"] = RuntimeError(f"https://user:{TOKEN}@hub")
    for repo in ("bad/one", "bad/two"):
        ask(widget, sent, kind="hub_list", text=repo)
        ask(widget, sent, kind="hub_preview", sae={**LAYER_6, "repo_id": repo})
        ask(widget, sent, kind="hub_download", saes=[{**LAYER_6, "repo_id": repo}])
    ask(widget, sent, kind="hub_token", token=[TOKEN])  # malformed
    ask(widget, sent, kind="hub_token", token=TOKEN, surprise=1)
    everything = [repr(sent), caplog.text, repr(widget.get_state()), repr(widget), str(widget.export_html())]
    everything += [repr(widget._repr_mimebundle_())]
    assert [text for text in everything if TOKEN in text] == []
    ask(widget, sent, kind="hub_token", token=None)
    ask(widget, sent, kind="hub_list", text=SPARSIFY)
    assert ws.hub.tokens[-1] is None
    wait_for(lambda: not widget.state["has_token"])


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


def test_closing_forgets_the_token(widget: DownloadFromHF, sent: Sent) -> None:
    ask(widget, sent, kind="hub_token", token=TOKEN)
    widget.close()
    assert widget._model.token is None


# ------------------------------------------------------------------------------------------------- downloads


def test_several_downloads_start_with_one_press(widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent) -> None:
    saes = [LAYER_6, {**LAYER_6, "path": "layers.18"}]
    answer = ask(widget, sent, kind="hub_download", saes=saes)["value"]
    assert len(answer["job_ids"]) == 2
    assert [job.payload["path"] for job in ws.hub.downloads()] == ["layers.6", "layers.18"]
    assert {job.payload["revision"] for job in ws.hub.downloads()} == {REVISION}
    wait_for(lambda: len(widget.state["downloads"]) == 2)


def test_a_download_that_cannot_start_is_named_and_the_others_go_on(
    widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent
) -> None:
    ws.hub.errors["bad/one"] = NotFoundError("It is gone.")
    saes = [LAYER_6, {**LAYER_6, "repo_id": "bad/one"}]
    failure = ask(widget, sent, kind="hub_download", saes=saes)
    assert failure["what"] == "bad/one / layers.6 was not started: It is gone."
    assert failure["hint"] == "1 of 2 downloads were started."
    assert len(ws.hub.downloads()) == 1


@pytest.mark.parametrize(
    ("action", "before", "after"),
    [
        ("pause", JobStatus.RUNNING, JobStatus.PAUSED),
        ("resume", JobStatus.PAUSED, JobStatus.RUNNING),
        ("resume", JobStatus.INTERRUPTED, JobStatus.RUNNING),
        ("cancel", JobStatus.RUNNING, JobStatus.CANCELLED),
        ("cancel", JobStatus.PAUSED, JobStatus.CANCELLED),
        ("retry", JobStatus.FAILED, JobStatus.RUNNING),
        ("retry", JobStatus.CANCELLED, JobStatus.RUNNING),
    ],
)
def test_actions(
    widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent, action: str, before: JobStatus, after: JobStatus
) -> None:
    ws.hub.add("job_1", SPARSIFY, "layers.6", status=before)
    answer = ask(widget, sent, kind="hub_action", action=action, job_ids=["job_1"])
    assert answer["value"] == {"job_ids": ["job_1"]}
    assert ws.hub.record("job_1").status is after
    wait_for(lambda: [card["status"] for card in widget.state["downloads"]] == [after.value])


@pytest.mark.parametrize(("action", "status"), [("clear", JobStatus.COMPLETED), ("cancel", JobStatus.FAILED)])
def test_what_has_ended_is_taken_off_the_list(
    widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent, action: str, status: JobStatus
) -> None:
    ws.hub.add("job_1", SPARSIFY, "layers.6", status=status)
    wait_for(lambda: widget.state["downloads"])
    ask(widget, sent, kind="hub_action", action=action, job_ids=["job_1"])
    wait_for(lambda: not widget.state["downloads"])
    assert ws.hub.record("job_1").status is status


def test_what_runs_cannot_be_cleared(widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent) -> None:
    ws.hub.add("job_1", SPARSIFY, "layers.6")
    answer = ask(widget, sent, kind="hub_action", action="clear", job_ids=["job_1"])
    assert (answer["kind"], answer["hint"]) == ("failure", "Cancel it first.")


def test_open_calls_back(widget: DownloadFromHF, sent: Sent, opened: list[str]) -> None:
    assert ask(widget, sent, kind="hub_open", sae_id="sae_1")["value"] is None
    assert opened == ["sae_1"]


def test_refresh_answers_only_what_is_newer(widget: DownloadFromHF, ws: FakeHubWorkspace, sent: Sent) -> None:
    ws.hub.add("job_1", SPARSIFY, "layers.6")
    state = ask(widget, sent, kind="refresh", revision=0)["value"]
    assert len(state["downloads"]) == 1
    assert ask(widget, sent, kind="refresh", revision=10_000)["value"] is None
