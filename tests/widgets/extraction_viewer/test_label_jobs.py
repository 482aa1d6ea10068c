"""Labels by a language model from the viewer: a server on the loopback interface, a plan, a job, what a judge said."""

import json
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from saewidgets.widgets.commands import FieldsError
from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer
from saewidgets.widgets.messages.features import FeatureQuery, LabelRequest
from saewidgets.workspace import Workspace
from tests.features.labels.server import Answer, Asked, chat, serving
from tests.jobs.conftest import wait_until
from tests.widgets.extraction_viewer.conftest import state

KEY = "very-private-key-0123456789"
LABELLED = FeatureQuery(show="labelled")


def answer(asked: Asked) -> Answer:
    """A label, or as a judge: every window has it."""
    windows = re.findall(r"^Window \d+:", asked.body["messages"][1]["content"], re.MULTILINE)
    said = json.dumps([1] * len(windows)) if windows else "It may be\n[EXPLANATION]: a toy label"
    return chat(said, usage={"prompt_tokens": 100, "completion_tokens": 10})


def job(viewer: ExtractionViewer) -> dict[str, Any]:
    return state(viewer)["labelling"] or {}


def ended(viewer: ExtractionViewer, status: str) -> dict[str, Any]:
    wait_until(lambda: job(viewer).get("status") == status)
    return job(viewer)


def test_a_plan_then_labels_as_they_come_and_what_the_judge_said(
    viewer: ExtractionViewer, ws: Workspace, live: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    commands, ext = viewer._commands, viewer.view["extraction_id"]
    with serving(answer) as server:
        asked = LabelRequest(base_url=f"{server.url}/v1", model="toy", limit=3, score=True, price=(1.0, 2.0))
        plan = commands.plan_labels(ext, asked)
        assert (plan.features, plan.skipped, "Example 1:" in plan.prompt, server.seen) == (3, 0, True, [])
        assert plan.cost == pytest.approx((plan.tokens_in + 2 * plan.tokens_out) / 1e6)
        commands.start_labels(ext, asked, SecretStr(KEY))
        done = ended(viewer, "completed")
    assert len(server.seen) == plan.requests > 3
    assert {one.headers["authorization"] for one in server.seen} == {f"Bearer {KEY}"}
    judged = "1 judged, mean 0.50, 2 could not be. For example: evidence.negatives: There is no window in which"
    assert done["said"].startswith(f"3 labelled; cost {0.00012 * plan.requests:.4g}; {judged}")
    rows = commands.query_features(ext, LABELLED).rows
    assert [(row.index, row.label, row.auto) for row in rows] == [(index, "a toy label", True) for index in live[:3]]
    label = commands.open_feature(ext, live[0]).value.notes.labels[0]
    table = commands.read_judged(ext, live[0], label.score_at)
    said = table.value
    assert set(said.said) == {True}
    assert list(said.fires) == sorted(said.fires)  # what was judged wrongly first
    assert len(table.buffers[0]) == 4 * sum(map(len, said.windows))
    for file in tmp_path.rglob("*"):  # the key is in no file, log or trait
        assert file.is_dir() or KEY.encode() not in file.read_bytes()
    assert KEY not in json.dumps(state(viewer), default=str)
    one = commands.plan_labels(ext, asked.model_copy(update={"index": live[0]}))
    assert (one.features, one.requests, one.skipped) == (0, 0, 1)


def test_labels_of_the_heuristic_are_no_obstacle(viewer: ExtractionViewer, ws: Workspace, live: list[int]) -> None:
    commands, ext = viewer._commands, viewer.view["extraction_id"]
    ws.features.auto_label(ext)
    commands.edit_feature(ext, live[0], label="mine")
    asked = LabelRequest(base_url="http://127.0.0.1:9/v1", model="toy", limit=1000)
    assert commands.plan_labels(ext, asked).features == len(live) - 1
    assert commands.plan_labels(ext, asked.model_copy(update={"unlabelled": False})).features == len(live)


def test_labels_that_were_made_before_are_judged(viewer: ExtractionViewer, live: list[int]) -> None:
    commands, ext = viewer._commands, viewer.view["extraction_id"]
    with serving(answer) as server:
        asked = LabelRequest(base_url=f"{server.url}/v1", model="toy", index=live[0])
        for request in (asked, asked.model_copy(update={"score": True})):
            before, plan = len(server.seen), commands.plan_labels(ext, request)
            commands.start_labels(ext, request)
            wait_until(lambda before=before, plan=plan: len(server.seen) == before + plan.requests)
            ended(viewer, "completed")
        wait_until(lambda: job(viewer)["said"].startswith("1 labelled before; 1 judged"))  # the second job's words
    assert (plan.features, plan.skipped) == (0, 1)


def test_a_job_is_cancelled_and_keeps_its_labels(viewer: ExtractionViewer, live: list[int]) -> None:
    commands, ext = viewer._commands, viewer.view["extraction_id"]
    go, asked_for = threading.Event(), threading.Semaphore(2)

    def slow(asked: Asked) -> Answer:
        if not asked_for.acquire(blocking=False):
            go.wait(30)
        return answer(asked)

    with serving(slow) as server:
        commands.start_labels(ext, LabelRequest(base_url=server.url, model="toy", limit=1000))
        wait_until(lambda: job(viewer).get("done", 0) >= 2)
        commands.cancel_labels(job(viewer)["id"])
        wait_until(lambda: job(viewer)["status"] == "cancelled")
        go.set()
    assert "The labels that came are kept." in job(viewer)["said"]
    assert commands.query_features(ext, LABELLED).matching == 2 < len(live)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Answer({"error": {"message": f"bad key {KEY}"}}, 401), "does not accept the typed key: bad key …"),
        (Answer({"error": {"message": "no such model"}}, 404), "There is no model 'toy' at this address"),
        (None, "The server cannot be reached"),
    ],
)
def test_errors_are_said_in_words(
    viewer: ExtractionViewer, reply: Answer | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saewidgets.features.labels.http.random.uniform", lambda a, b: 0.0)  # no pauses
    with serving(reply or answer) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = server.url if reply else f"http://127.0.0.1:{closed.getsockname()[1]}"
        asked = LabelRequest(base_url=url, model="toy")
        viewer._commands.start_labels(viewer.view["extraction_id"], asked, SecretStr(KEY))
        note = ended(viewer, "failed")["note"]
    assert said in note["what"]
    assert KEY not in str(note)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"base_url": "ftp://x"}, "base_url"), ({"model": None}, "model_name"), ({"max_cost": 1.0}, "max_cost"),
        ({"key_env": "a key"}, "api_key_env"), ({"base_url": "http://example.com", "key_env": "KEY"}, "base_url"),
    ],
)  # fmt: skip
def test_what_was_typed_wrongly_is_named(call: Callable[..., Any], given: dict[str, Any], field: str) -> None:
    asked = LabelRequest(**{"base_url": "http://127.0.0.1:9", "model": "toy", **given})
    with pytest.raises(FieldsError) as raised:
        call("start_labels", asked=asked)
    assert list(raised.value.fields) == [field]
