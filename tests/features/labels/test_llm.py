"""A provider on the loopback interface (what is sent, shown and tried again; keys stay secret), a model in memory."""

import contextlib
import json
import logging
import socket
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import pytest

from saewidgets.errors import ConfigError
from saewidgets.features.labels import (
    LLMAnswerError,
    LLMError,
    LLMServerError,
    LLMTimeoutError,
    Message,
    MissingKeyError,
    NoFundsError,
    RateLimitedError,
    RefusedKeyError,
    UnknownModelError,
    label_features,
    openai_compatible,
    transformers_local,
)
from saewidgets.features.labels.http import is_private_line
from saewidgets.lm import LoadedModel, load_model
from tests.features.labels.examples import Fixed
from tests.features.labels.server import Answer, Asked, chat, serving

KEY = "very-private-key-0123456789"
ASK: list[Message] = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_KEY", KEY)


def _llm(url: str, waits: list[float] | None = None, **settings: Any) -> Any:
    return openai_compatible(
        url, "tiny", api_key_env="LABEL_KEY", sleep=(waits if waits is not None else []).append, **settings
    )


def test_a_question_and_its_answer() -> None:
    answer = chat("[EXPLANATION]: kings", usage={"prompt_tokens": 70, "completion_tokens": 5})
    with serving(answer) as server:
        reply = _llm(f"{server.url}/v1/", extra={"seed": 3})(ASK)
    assert (reply, reply.tokens_in, reply.tokens_out) == ("[EXPLANATION]: kings", 70, 5)
    asked = server.seen[0]
    assert (asked.method, asked.path) == ("POST", "/v1/chat/completions")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {"model": "tiny", "messages": ASK, "max_tokens": 500, "temperature": 0.0, "seed": 3}


def test_no_key_is_sent_where_none_is_needed() -> None:
    with serving(chat([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])) as server:
        assert openai_compatible(server.url, "tiny", api_key_env=None)(ASK) == "ab"
    assert "authorization" not in server.seen[0].headers


@pytest.mark.parametrize(("value", "said"), [(None, "not set"), ("  ", "not set"), ("a b", "no key can have")])
def test_a_missing_key(monkeypatch: pytest.MonkeyPatch, value: str | None, said: str) -> None:
    monkeypatch.delenv("LABEL_KEY") if value is None else monkeypatch.setenv("LABEL_KEY", value)
    with serving(chat("a")) as server, pytest.raises(MissingKeyError, match=said):
        _llm(server.url)(ASK)
    assert server.seen == []


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (Answer({"error": {"message": f"bad key {KEY} Bearer {KEY}"}}, 401), RefusedKeyError, "does not accept"),
        (Answer({"error": {"message": "no"}}, 403), RefusedKeyError, "does not allow"),
        (Answer({"error": {"message": "pay", "code": "insufficient_quota"}}, 429), NoFundsError, "money or quota"),
        (Answer({"error": "pay"}, 402), NoFundsError, "money or quota"),
        (Answer({"detail": "no model"}, 404), UnknownModelError, "no model 'tiny'"),
        (Answer(b"<html>no</html>", 418), LLMServerError, "418"),
        (Answer({}, 302, {"Location": "http://127.0.0.1:1/steal"}), LLMServerError, "302"),
        (Answer(b"not json"), LLMAnswerError, "not JSON"),
        (Answer(b"[" * 100_000), LLMAnswerError, "not JSON"),
        (Answer([]), LLMAnswerError, "no message"),
        (chat(None), LLMAnswerError, "empty"),
        (Answer({"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}), LLMAnswerError, "max_tokens"),
        (Answer({"choices": [{"message": {"content": None, "refusal": "I will not"}}]}), LLMAnswerError, "I will not"),
        (Answer(b" " * 9_000_000), LLMAnswerError, "larger than"),
    ],
)
def test_each_failure_has_its_own_error(answer: Answer, kind: type[LLMError], said: str) -> None:
    with serving(answer) as server, pytest.raises(kind, match=said) as caught:
        _llm(server.url)(ASK)
    assert len(server.seen) == 1
    assert caught.value.fatal == (kind in (RefusedKeyError, NoFundsError, UnknownModelError))
    assert caught.value.where == server.url.removeprefix("http://")


@pytest.mark.parametrize(
    ("status", "headers", "waited"),
    [(429, {}, (0.4, 0.6)), (500, {}, (0.4, 0.6)), (529, {}, (0.4, 0.6)), (429, {"Retry-After": "7"}, (7, 7))],
)
def test_busy_servers_are_asked_again(status: int, headers: dict[str, str], waited: tuple[float, float]) -> None:
    waits: list[float] = []
    busy = Answer({"error": {"message": "busy"}}, status, headers)
    with serving(busy, busy, chat("yes")) as server:
        assert _llm(server.url, waits)(ASK) == "yes"
    assert len(server.seen) == 3
    assert waited[0] <= waits[0] <= waited[1]
    assert waited[1] <= waits[1] <= 2 * waited[1]


def test_it_gives_up_in_the_end() -> None:
    waits: list[float] = []
    with serving(Answer({}, 429, {"Retry-After": "3600"})) as server, pytest.raises(RateLimitedError, match="3600"):
        _llm(server.url, waits)(ASK)
    assert len(server.seen) == 1
    with serving(Answer({"error": {"message": "overloaded"}}, 503)) as server:
        with pytest.raises(LLMServerError, match="overloaded"):
            _llm(server.url, waits, retries=2)(ASK)
    assert (len(server.seen), len(waits)) == (3, 2)
    long = chat("x" * 5000)
    broken = Answer(long.body, cut=1000)
    with serving(broken, long) as server:
        assert len(_llm(server.url)(ASK)) == 5000
    with serving(broken) as server, pytest.raises(LLMServerError, match="cannot be reached"):
        _llm(server.url, retries=1)(ASK)


def test_a_slow_server_is_a_time_out() -> None:
    with serving(Answer({}, pause=1.0)) as server, pytest.raises(LLMTimeoutError, match=r"within 0\.2 seconds"):
        _llm(server.url, timeout=0.2)(ASK)
    assert len(server.seen) == 2


def test_a_server_that_drips_comes_to_an_end() -> None:
    def drip(taken: socket.socket) -> None:
        peer, _ = taken.accept()
        with peer, contextlib.suppress(OSError):
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while True:
                peer.sendall(b" ")
                time.sleep(0.05)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        threading.Thread(target=drip, args=(taken,), daemon=True).start()
        start = time.monotonic()
        with pytest.raises(LLMTimeoutError):
            _llm(f"http://127.0.0.1:{taken.getsockname()[1]}", timeout=0.2, retries=0)(ASK)
        assert time.monotonic() - start < 5


def test_newer_models_take_other_settings() -> None:
    def answer(asked: Asked) -> Answer:
        if "max_tokens" in asked.body:
            said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return Answer({"error": {"message": said}}, 400)
        if "temperature" in asked.body:
            return Answer({"error": {"message": "'temperature' does not support 0"}}, 400)
        return chat("yes")

    with serving(answer) as server:
        llm = _llm(server.url)
        assert llm(ASK) == "yes"
        assert llm(ASK) == "yes"
    assert len(server.seen) == 4
    assert server.seen[-1].body == {"model": "tiny", "messages": ASK, "max_completion_tokens": 500}


def test_the_key_is_nowhere(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.DEBUG)
    said = {"error": {"message": f"Incorrect API key provided: {KEY}, sk-{KEY}"}}
    echoing = Answer(said, 401)
    with serving(Answer(said, 503)) as server, pytest.raises(LLMServerError) as caught:
        _llm(server.url, retries=1)(ASK)
    assert KEY not in str(caught.value)
    with serving(chat(f"[EXPLANATION]: you sent Bearer {KEY}")) as server:
        assert _llm(server.url)(ASK) == "[EXPLANATION]: you sent Bearer …"
    with serving(echoing) as server:
        llm = _llm(server.url)
        shown = [repr(llm), str(llm), json.dumps({k: repr(v) for k, v in vars(llm).items()})]
        try:
            llm(ASK)
        except RefusedKeyError as error:
            shown += [str(error), repr(error), "".join(traceback.format_exception(error))]
        with pytest.raises(RefusedKeyError):
            label_features([0], llm, Fixed("king"))
    out = capsys.readouterr()
    assert KEY not in "".join([*shown, caplog.text, out.out, out.err])
    assert "Incorrect API key provided" in shown[3]


@pytest.mark.parametrize(
    "url",
    ["", "host/v1", "ftp://host", "https://user:secretpw@host/v1", "https://host/v1?key=1", "http://api.example.com/v1",
     "https://host:99999", "https://ho st", "file:///etc/passwd", "https://host/a\nb"],
)
def test_wrong_addresses(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        openai_compatible(url, "m")
    assert caught.value.where == "base_url"
    assert "secretpw" not in str(caught.value)


@pytest.mark.parametrize("name", ["sk-abcdef0123456789", "my key", "", "openai_key", "A" * 200])
def test_a_pasted_key_is_refused_and_not_shown(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        openai_compatible("http://127.0.0.1:1", "m", api_key_env=name)
    assert caught.value.where == "api_key_env"
    assert not name or name not in str(caught.value)


def test_open_lines() -> None:
    assert [is_private_line(url) for url in (
        "https://a.b", "http://localhost:1", "http://127.0.0.1", "http://[::1]:8", "http://10.0.0.5", "http://127.evil.com"
    )] == [True, True, True, True, False, False]
    openai_compatible("http://10.0.0.5:8000/v1", "m", api_key_env=None)


@pytest.fixture(scope="module")
def lm(tiny_model_folder: Path) -> LoadedModel:
    return load_model(str(tiny_model_folder))


def test_a_model_answers_the_same_every_time(lm: LoadedModel) -> None:
    llm, ask = transformers_local(lm.model, lm.tokenizer, max_tokens=8), [*ASK, *ASK]
    lm.model.train()
    try:
        first = llm(ask)
        assert lm.model.training
    finally:
        lm.model.eval()
    assert first == llm(ask) == transformers_local(lm, max_tokens=8)(ask)
    ids = lm.tokenizer("hello\n\nhello\n\n", return_tensors="pt")
    out: Any = lm.model.generate(**ids, max_new_tokens=8, do_sample=False, pad_token_id=lm.tokenizer.eos_token_id)  # type: ignore[operator]
    length = ids["input_ids"].shape[1]
    assert first == lm.tokenizer.decode(out[0, length:], skip_special_tokens=True)
    assert (first.tokens_in, first.tokens_out) == (length, out.shape[1] - length)


def test_pipelines_and_chat_templates(lm: LoadedModel) -> None:
    from transformers import pipeline

    pipe = pipeline("text-generation", model=lm.model, tokenizer=lm.tokenizer)
    assert transformers_local(pipe, max_tokens=4)(ASK) == transformers_local(lm, max_tokens=4)(ASK)
    lm.tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}\n{% endfor %}"
    try:
        reply = transformers_local(lm.model, lm.tokenizer, max_tokens=1)(ASK)
        assert reply.tokens_in == len(lm.tokenizer("user:hello\n", add_special_tokens=False)["input_ids"])
        refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        lm.tokenizer.chat_template = refusal + "{{ messages[0]['content'] }}"
        reply = transformers_local(lm.model, lm.tokenizer, max_tokens=1)([{"role": "system", "content": "be"}, *ASK])
        assert reply.tokens_in == len(lm.tokenizer("be\n\nhello", add_special_tokens=False)["input_ids"])
    finally:
        lm.tokenizer.chat_template = None


def test_what_a_model_in_memory_refuses_and_shows(lm: LoadedModel, tiny_model_folder: Path) -> None:
    with pytest.raises(LLMAnswerError, match="context has 64"):
        transformers_local(lm, max_tokens=8)([{"role": "user", "content": "king " * 100}])
    for wrong in (lm.model, object(), "gpt2"):
        with pytest.raises(ConfigError, match="tokenizer"):
            transformers_local(wrong)
    assert transformers_local(lm).model == tiny_model_folder.name
    assert transformers_local(lm, name="mine").model == "mine"
    assert str(tiny_model_folder.parent) not in repr(transformers_local(lm))
