"""Many labels: planned exactly, asked at once, resumed, bounded, interrupted; errors stay with their latent."""

import asyncio
import re
import threading
import time
from typing import Any

import pytest

from saewidgets.errors import ConfigError
from saewidgets.events import Interruption, NullControl, Progress, Request
from saewidgets.features.labels import (
    Example,
    FeatureEvidence,
    Label,
    LabelOptions,
    LLMAnswerError,
    Message,
    MissingKeyError,
    NoFundsError,
    Price,
    echo,
    label_features,
    plan,
)
from saewidgets.features.labels.llm import Reply
from tests.features.labels.examples import Fixed

WORDS = ("king", "queen", "", "whale", "ship")


def named(messages: list[Message]) -> str:
    """Answers with the marked word, as a good model would."""
    word = re.search(r"<< (\w+)>>", messages[-1]["content"])
    assert word is not None
    return f"[EXPLANATION]: the word {word[1]}"


def test_every_live_latent_gets_its_label() -> None:
    seen: list[Progress] = []
    run = label_features(range(5), named, Fixed(*WORDS), progress=seen.append)
    assert [(x.index, x.text) for x in run.labels] == [(i, f"the word {w}") for i, w in enumerate(WORDS) if w]
    assert run.dead == [2]
    assert (run.failures, run.left, run.stopped, run.cost) == ([], [], None, None)
    assert {(x.source, x.method, x.model) for x in run.labels} == {("auto", "examples, mixed", "named")}
    assert [p.done for p in seen] == [1, 2, 3, 4, 5]
    assert seen[-1].total == 5
    assert str(run) == "4 labelled, 1 dead"


def test_coroutines_and_threads_run_side_by_side() -> None:
    under_way, most = 0, 0

    async def answer(messages: list[Message]) -> str:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.05)
        under_way -= 1
        return named(messages)

    run = label_features(range(8), answer, Fixed(*["king"] * 8), concurrency=4)
    assert len(run.labels) == 8
    assert 2 <= most <= 4
    barrier = threading.Barrier(3, timeout=10)

    def together(messages: list[Message]) -> str:
        barrier.wait()
        return named(messages)

    assert len(label_features(range(6), together, Fixed(*["king"] * 6), concurrency=3).labels) == 6


def test_failures_stay_with_their_latent_and_are_asked_again() -> None:
    def answer(messages: list[Message]) -> str:
        if "queen" in messages[-1]["content"]:
            raise ValueError("bad Bearer abcdef123 \ud800")
        return "It fires on\ntwo\0 things." if "whale" in messages[-1]["content"] else named(messages)

    run = label_features(range(5), answer, Fixed(*WORDS))
    assert [x.index for x in run.labels] == [0, 4]
    errors = {x.index: x.error for x in run.failures}
    assert errors[1] == "ValueError: bad … ?"
    assert errors[3].endswith("it says: It fires on↵two[U+0000] things.")
    assert run.failures[1].description == "It fires on\ntwo[U+0000] things."
    fixed = label_features(range(5), named, Fixed(*WORDS), existing=[*run.labels, *run.failures], model="answer")
    assert [x.index for x in fixed.labels] == [1, 3]
    assert fixed.same == [0, 4]


def test_broken_evidence_fails_only_its_latent() -> None:
    class Broken(Fixed):
        def of(self, index: int) -> FeatureEvidence:
            if index == 1:
                Example((" a",), (float("inf"),), 0)
            return super().of(index)

    run = label_features([0, 1, 2, 9], named, Broken("king", "queen", "ship"))
    assert [x.index for x in run.labels] == [0, 2]
    assert "not an example" in run.failures[0].error
    assert "There is no latent 9." in run.failures[1].error
    run = label_features([0], lambda messages: 3, Fixed("king"))  # type: ignore[arg-type, return-value] # on purpose
    assert "int instead of text" in run.failures[0].error


def test_an_interrupted_run_goes_on_where_it_ended() -> None:
    words = [f"word{i}" for i in range(30)]

    class Later(NullControl):
        def check(self) -> None:
            if len(done) >= 10:
                raise Interruption(Request.PAUSE)

    done: list[Label] = []
    with pytest.raises(Interruption):
        label_features(range(30), named, Fixed(*words), control=Later(), on_label=done.append)
    before = len(done)
    assert 10 <= before < 30
    llm = echo(named)
    run = label_features(range(30), llm, Fixed(*words), existing=done, model="named")
    assert len(run.same) == before
    assert len(llm.seen) == 30 - before
    whole = {x.index: x.text for x in (*done, *run.labels)}
    assert whole == {i: f"the word {w}" for i, w in enumerate(words)}


def test_an_interruption_does_not_wait_for_a_slow_model() -> None:
    release = threading.Event()

    class Now(NullControl):
        def check(self) -> None:
            if begun.is_set():
                raise Interruption(Request.CANCEL)

    begun = threading.Event()

    def slow(messages: list[Message]) -> str:
        begun.set()
        release.wait(20)
        return named(messages)

    async def sleeping(messages: list[Message]) -> str:
        begun.set()
        try:
            await asyncio.sleep(20)
        finally:
            ended.set()
        return ""

    for llm, ended in ((slow, release), (sleeping, threading.Event())):
        begun.clear()
        start = time.monotonic()
        with pytest.raises(Interruption):
            label_features(range(5), llm, Fixed(*["king"] * 5), control=Now())
        assert time.monotonic() - start < 5
        if llm is sleeping:
            assert ended.wait(5), "the coroutine was not cancelled"
    release.set()


def test_the_cost_stays_below_its_limit() -> None:
    def costly(messages: list[Message]) -> str:
        return Reply(named(messages), 1000, 100)

    price = Price(10.0, 0.0)
    run = label_features(range(20), costly, Fixed(*["king"] * 20), price=price, max_cost=0.05, concurrency=3)
    assert run.stopped == "max_cost"
    assert run.cost is not None
    assert run.cost == pytest.approx(price.of(run.tokens_in, run.tokens_out))
    assert run.tokens_in == 1000 * len(run.labels)
    assert 1 <= len(run.labels) <= 7
    assert len(run.labels) + len(run.left) == 20
    nothing = label_features(range(3), costly, Fixed(*["king"] * 3), price=price, max_cost=0.0)
    assert (nothing.labels, nothing.left) == ([], [0, 1, 2])
    with pytest.raises(ConfigError, match="price"):
        label_features([0], costly, Fixed("king"), max_cost=1.0)
    with pytest.raises(ConfigError, match="price"):
        Price(-1, 0)


def test_estimates_hold_the_limit_where_usage_is_not_told() -> None:
    llm, price = echo("[EXPLANATION]: " + "a" * 385), Price(1.0, 1.0)
    one = plan([0], llm, Fixed("king"), price=price).cost or 0.0
    run = label_features(range(20), llm, Fixed(*["king"] * 20), price=price, max_cost=one * 5.5, concurrency=8)
    assert len(run.labels) == 5
    assert 0 < (run.cost or 0.0) <= one * 5.5


def test_what_ends_a_run() -> None:
    asked = []

    def keyless(messages: list[Message]) -> str:
        asked.append(1)
        raise MissingKeyError("There is no key.", where="KEY")

    with pytest.raises(MissingKeyError):
        label_features(range(50), keyless, Fixed(*["king"] * 50), concurrency=2)
    assert len(asked) <= 4

    def down(messages: list[Message]) -> str:
        raise ConnectionError("down")

    run = label_features(range(100), down, Fixed(*["king"] * 100), max_failures=5, concurrency=2)
    assert run.stopped == "failures"
    assert 5 <= len(run.failures) <= 8
    assert len(run.failures) + len(run.left) == 100
    assert run.failures[0].error == "ConnectionError: down"


def test_answers_that_were_paid_for_are_kept() -> None:
    """Those under way when the account runs dry, and those that are there when the run is interrupted."""
    together = threading.Barrier(4, timeout=10)

    def poor(messages: list[Message]) -> str:
        together.wait()
        if "king" in messages[-1]["content"]:
            raise NoFundsError("The account is empty.")
        time.sleep(0.2)
        return named(messages)

    done: list[Label] = []
    words = ("king", "queen", "whale", "ship", "ant", "bee")
    with pytest.raises(NoFundsError):
        label_features(range(6), poor, Fixed(*words), on_label=done.append, concurrency=4)
    assert sorted(label.index for label in done) == [1, 2, 3]

    asked: list[int] = []

    class Later(NullControl):
        def check(self) -> None:
            if asked:
                time.sleep(0.3)  # all of them have answered
                raise Interruption(Request.CANCEL)

    def quick(messages: list[Message]) -> str:
        asked.append(1)
        return named(messages)

    done.clear()
    with pytest.raises(Interruption):
        label_features(range(6), quick, Fixed(*words), on_label=done.append, concurrency=4, control=Later())
    assert len(done) == len(asked) >= 1


def test_a_cancelled_coroutine_and_an_empty_answer_fail_only_their_latent() -> None:
    async def answer(messages: list[Message]) -> str:
        if "king" in messages[-1]["content"]:
            raise asyncio.CancelledError
        if "queen" in messages[-1]["content"]:
            error = LLMAnswerError("The answer is empty.")
            error.used = (1000, 500)
            raise error
        return Reply(named(messages), 10, 5)

    run = label_features(range(3), answer, Fixed("king", "queen", "ship"), price=Price(1.0, 1.0))
    assert [x.index for x in run.labels] == [2]
    assert [x.index for x in run.failures] == [0, 1]
    assert (run.tokens_in, run.tokens_out) == (1010, 505)  # thoughts that led to nothing are paid for


@pytest.mark.parametrize(
    ("options", "where"),
    [({"n_examples": 0}, "n_examples"), ({"context": -1}, "context"), ({"sampling": "best"}, "sampling")],
)
def test_wrong_options(options: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError, match=where):
        LabelOptions(**options)
