"""`label auto` with a language model behind a loopback server: what is asked, what is shown, what is kept secret."""

from collections.abc import Iterator

import pytest

from saewidgets.cli.session import FAILED
from tests.cli.conftest import Demo, Invoke
from tests.features.labels.server import Answer, Asked, Scripted, chat, serving

KEY = "sk-0123456789abcdef"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with serving(_answer) as scripted:
        yield scripted


def _answer(asked: Asked) -> Answer:
    question = asked.body["messages"][1]["content"]
    if question.startswith("Label:"):
        windows = question.count("\nWindow ")
        return chat(str([1] * windows), usage={"prompt_tokens": 50, "completion_tokens": 5})
    return chat("[EXPLANATION]: ships at sea", usage={"prompt_tokens": 100, "completion_tokens": 10})


def test_a_dry_run_prints_the_very_prompts_that_are_then_sent(
    invoke: Invoke, own_demo: Demo, server: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    asked = ["label", "auto", own_demo.sae, "--again", "--llm", "openai", "--base-url", f"{server.url}/v1",
             "--model-name", "judge", "--key-env", "MY_KEY", "--limit", "2", "--price", "1", "2"]  # fmt: skip
    dry = invoke(*asked, "--dry-run", "--json")
    assert dry.code == 0, dry.err
    plan = dry.json()
    assert (plan["model"], plan["features"], plan["sent"], len(plan["prompts"])) == ("judge", 2, True, 2)
    assert plan["cost"] == pytest.approx((plan["tokens_in"] + 2 * plan["tokens_out"]) / 1e6)
    shown = invoke(*asked, "--dry-run")
    assert "2 features would be asked about; model: judge." in shown.out
    assert "Example 1: " in shown.out
    assert not server.seen

    done = invoke(*asked, "--concurrency", "1", "--json", "--quiet")
    assert done.code == 0, done.err
    assert [one.body["messages"] for one in server.seen] == [prompt["messages"] for prompt in plan["prompts"]]
    assert done.json() == {
        "labelled": 2, "failed": 0, "same": 0, "dead": 0, "left": 0, "tokens_in": 200, "tokens_out": 20,
        "cost": pytest.approx(240e-6), "stopped": None,
    }  # fmt: skip
    assert {one.headers["authorization"] for one in server.seen} == {f"Bearer {KEY}"}
    assert not any(KEY in text for one in (dry, shown, done) for text in (one.out, one.err))
    index = str(plan["prompts"][0]["index"])
    assert any(one["text"] == "ships at sea" and one["model"] == "judge"
               for one in invoke("features", "show", own_demo.sae, index, "--json").json()["labels"])  # fmt: skip


def test_failures_are_printed_with_their_reasons(invoke: Invoke, own_demo: Demo) -> None:
    with serving(chat("I can't help with that.")) as server:
        done = invoke("label", "auto", own_demo.sae, "--again", "--llm", "openai", "--base-url", server.url,
                      "--model-name", "m", "--limit", "7", "--quiet")  # fmt: skip
    assert done.code == FAILED
    assert done.err.count("Not labelled: ") == 6
    assert "The answer has no [EXPLANATION]: line and is not a short phrase; it says: I can't help with" in done.err
    assert "Not labelled: 2 more" in done.err
