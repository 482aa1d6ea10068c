"""Defines `openai_compatible`: any server that speaks OpenAI's chat completions, hosted or on this machine.

vLLM, llama.cpp and Ollama are such servers. Used by `ws.features.auto_label` and ``saewidgets label auto``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from saewidgets.errors import ConfigError
from saewidgets.features.labels.http import RequestError, Server
from saewidgets.features.labels.llm import (
    LLMAnswerError,
    LLMError,
    LLMServerError,
    LLMTimeoutError,
    Message,
    MissingKeyError,
    NoFundsError,
    RateLimitedError,
    RefusedKeyError,
    Reply,
    UnknownModelError,
)

_KINDS: dict[str, type[LLMError]] = {
    "timeout": LLMTimeoutError, "busy": RateLimitedError, "answer": LLMAnswerError, "failed": LLMServerError,
    "refused": LLMServerError,
}  # fmt: skip
_NO_MONEY = (NoFundsError, "The account's money or quota is used up: {said}", "See its billing page.")
_STATUS: dict[int, tuple[type[LLMError], str, str]] = {
    401: (RefusedKeyError, "The server does not accept {key}: {said}", "Check the key."),
    402: _NO_MONEY,
    403: (RefusedKeyError, "The server does not allow {key} to use {model}: {said}", "Check what the key may do."),
    404: (
        UnknownModelError, "There is no model {model!r} at this address: {said}",
        "Check the model's name and that the address ends in /v1 where the server wants it.",
    ),
}  # fmt: skip


class OpenAICompatible:
    """A language model behind an address; call it with messages. Safe to call from several threads."""

    def __init__(
        self, server: Server, model: str, settings: dict[str, Any], extra: Mapping[str, Any] | None
    ) -> None:
        self.model = model
        self._server, self._settings, self._extra = server, settings, dict(extra or {})
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"openai_compatible({self._server.base_url!r}, {self.model!r}, api_key_env={self._server.key_env!r})"

    def __call__(self, messages: list[Message]) -> Reply:
        """The model's answer.

        Raises:
            LLMError: as one of its children, which say whether there is no key, a wrong one, no money, no such model,
                a limit of requests, no answer in time, a server that fails, or an answer without text.
        """
        for _ in range(3):
            with self._lock:
                body = {"model": self.model, "messages": messages, **self._settings, **self._extra}
            try:
                return self._reply(self._server.json("/chat/completions", body))
            except ConfigError as error:
                raise MissingKeyError(error.what, where=error.where, hint=error.hint) from None
            except RequestError as error:
                if not self._adapt(error, body):
                    raise self._llm_error(error) from None
        raise LLMServerError("The server refuses the request's settings.", where=self._server.host)

    def _adapt(self, error: RequestError, body: Mapping[str, Any]) -> bool:
        """Whether the request can be put in another way: newer models take other settings than older ones."""
        if error.status != 400:
            return False
        said = error.said.lower()
        with self._lock:
            if "max_completion_tokens" in said and "max_tokens" in body and "max_tokens" not in self._extra:
                if "max_tokens" in self._settings:
                    self._settings["max_completion_tokens"] = self._settings.pop("max_tokens")
                return True
            if "temperature" in said and "temperature" in body and "temperature" not in self._extra:
                self._settings.pop("temperature", None)
                return True
        return False

    def _llm_error(self, error: RequestError) -> LLMError:
        row = _NO_MONEY if error.no_money else _STATUS.get(error.status)
        if row is None:
            return _KINDS[error.kind](error.what, where=error.where, hint=error.hint)
        kind, what, hint = row
        key = f"the key in {self._server.key_env}" if self._server.key_env else "a request without a key"
        return kind(what.format(key=key, model=self.model, said=error.said), where=error.where, hint=hint)

    def _reply(self, data: Any) -> Reply:
        host = self._server.host
        try:
            choice = data["choices"][0]
            message = choice["message"]
            content = message.get("content")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise LLMAnswerError("The answer has no message in it.", where=host, hint="Check the address.") from None
        if isinstance(content, list):  # parts, as some servers give them
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        if not isinstance(content, str) or not content.strip():
            refusal = message.get("refusal")
            if isinstance(refusal, str) and refusal:
                raise LLMAnswerError(f"The model refuses to answer: {refusal[:200]}", where=host)
            cut = choice.get("finish_reason") == "length"
            raise LLMAnswerError(
                "The answer is empty" + (": its length was used up before it began." if cut else "."), where=host,
                hint="Raise max_tokens." if cut else "Try again.",
            )
        usage = data.get("usage") if isinstance(data.get("usage"), dict) else {}
        return Reply(content, _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def openai_compatible(
    base_url: str,
    model: str,
    *,
    api_key_env: str | None = "OPENAI_API_KEY",
    temperature: float | None = 0.0,
    max_tokens: int = 500,
    timeout: float = 120.0,
    retries: int = 4,
    extra: Mapping[str, Any] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> OpenAICompatible:
    """A language model behind an OpenAI-compatible address.

    Args:
        base_url: up to before ``/chat/completions``: ``https://api.openai.com/v1``, ``http://127.0.0.1:8000/v1``.
        model: as the server calls it; labels carry it.
        api_key_env: name of the environment variable that holds the key; None: no key is sent.
        temperature: None leaves it to the server.
        max_tokens: longest answer.
        timeout: seconds to wait for each piece of an answer.
        retries: how often a busy or failing server is asked again, waiting twice as long each time or as long as its
            `Retry-After` says.
        extra: further fields of the request (``{"reasoning_effort": "low"}``).
        sleep: how to wait.

    Raises:
        ConfigError: an argument cannot work, or a key would travel over an open line.
    """
    if not model.strip():
        raise ConfigError("The model has no name.", where="model")
    server = Server(base_url, key_env=api_key_env, timeout=timeout, retries=retries, sleep=sleep)
    if not 1 <= max_tokens <= 1_000_000:
        raise ConfigError(f"{max_tokens} is not a length.", where="max_tokens")
    settings: dict[str, Any] = {"max_tokens": max_tokens}
    if temperature is not None:
        settings["temperature"] = temperature
    return OpenAICompatible(server, model, settings, extra)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None
