"""Any server that speaks OpenAI's chat completions: hosted ones, and vLLM, llama.cpp or Ollama on this machine."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from saewidgets.errors import ConfigError
from saewidgets.features.labels.http import (
    BadAnswerError,
    Client,
    Refused,
    RequestError,
    RequestTimeoutError,
    ServerBusyError,
    is_private_line,
)
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
from saewidgets.settings import secret

_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
_KEY = re.compile(r"[\x21-\x7e]{1,1000}")


class OpenAICompatible:
    """A language model behind an address; call it with messages. Safe to call from several threads.

    The key is read from the environment for every request. It is not kept, and in no message, repr or error.
    """

    def __init__(
        self, base_url: str, model: str, *, api_key_env: str | None, temperature: float | None, max_tokens: int,
        timeout: float, retries: int, extra: Mapping[str, Any] | None, sleep: Callable[[float], None],
    ) -> None:
        if not model.strip():
            raise ConfigError("The model has no name.", where="model")
        if api_key_env is not None and not _NAME.fullmatch(api_key_env):
            raise ConfigError(  # without showing it: somebody may have pasted the key itself
                "This is not the name of an environment variable.", where="api_key_env",
                hint='Give the name in capitals ("OPENAI_API_KEY"), not the key; None where no key is needed.',
            )
        self.model = model
        self._client = Client(base_url, timeout=timeout, retries=retries, sleep=sleep)
        self._key_env = api_key_env
        if api_key_env is not None and not is_private_line(self._client.base_url):
            raise ConfigError(
                "A key would travel over an open line.", where="base_url",
                hint="Use https, or api_key_env=None for a server that needs no key.",
            )
        if not 1 <= max_tokens <= 1_000_000:
            raise ConfigError(f"{max_tokens} is not a length.", where="max_tokens")
        self._extra = dict(extra or {})
        self._lock = threading.Lock()
        self._settings: dict[str, Any] = {"max_tokens": max_tokens}
        if temperature is not None:
            self._settings["temperature"] = temperature

    def __repr__(self) -> str:
        return f"openai_compatible({self._client.base_url!r}, {self.model!r}, api_key_env={self._key_env!r})"

    def __call__(self, messages: list[Message]) -> Reply:
        """The model's answer.

        Raises:
            LLMError: as one of its children, which say whether there is no key, a wrong one, no money, no such model,
                a limit of requests, no answer in time, a server that fails, or an answer without text.
        """
        headers = self._headers()
        for _ in range(3):
            body = {"model": self.model, "messages": messages, **self._current(), **self._extra}
            try:
                return self._read(self._client.json("/chat/completions", headers=headers, body=body))
            except Refused as refused:
                if not self._adapt(refused, body):
                    raise self._for_people(refused) from None
            except RequestError as error:
                raise _as_llm_error(error) from error
        raise LLMServerError("The server refuses the request's settings.", where=self._client.host)

    def _headers(self) -> dict[str, str]:
        if self._key_env is None:
            return {}
        key = secret(self._key_env)
        if key is None:
            raise MissingKeyError(
                f"The environment variable {self._key_env} is not set.", where="api_key_env",
                hint="Set it to your key before Python starts, or with os.environ, and try again.",
            )
        if not _KEY.fullmatch(key):
            raise MissingKeyError(
                f"The environment variable {self._key_env} holds characters that no key has.", where="api_key_env",
                hint="Copy the key again.",
            )
        return {"Authorization": f"Bearer {key}"}

    def _current(self) -> dict[str, Any]:
        with self._lock:
            return dict(self._settings)

    def _adapt(self, refused: Refused, body: Mapping[str, Any]) -> bool:
        """Whether the request can be put in another way: newer models take other settings than older ones."""
        if refused.status != 400:
            return False
        said = f"{refused.message} {refused.text}".lower()
        with self._lock:
            if "max_completion_tokens" in said and "max_tokens" in body and "max_tokens" not in self._extra:
                if "max_tokens" in self._settings:
                    self._settings["max_completion_tokens"] = self._settings.pop("max_tokens")
                return True
            if "temperature" in said and "temperature" in body and "temperature" not in self._extra:
                self._settings.pop("temperature", None)
                return True
        return False

    def _for_people(self, refused: Refused) -> LLMError:
        host, said = self._client.host, refused.message
        key = f"the key in {self._key_env}" if self._key_env else "a request without a key"
        if refused.status == 401:
            return RefusedKeyError(f"The server does not accept {key}: {said}", where=host, hint="Check the key.")
        if refused.status == 403:
            return RefusedKeyError(
                f"The server does not allow {key} to use {self.model}: {said}", where=host,
                hint="Check what the key may do.",
            )
        if refused.status in (402, 429):
            kind = NoFundsError if refused.status == 402 or "quota" in f"{refused.body}" else RateLimitedError
            return kind(f"The account's money or quota is used up: {said}", where=host, hint="See its billing page.")
        if refused.status == 404:
            return UnknownModelError(
                f"There is no model {self.model!r} at this address: {said}", where=host,
                hint="Check the model's name and that the address ends in /v1 where the server wants it.",
            )
        return LLMServerError(f"The server refuses the request (status {refused.status}): {said}", where=host)

    def _read(self, data: Any) -> Reply:
        host = self._client.host
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
    return OpenAICompatible(
        base_url, model, api_key_env=api_key_env, temperature=temperature, max_tokens=max_tokens, timeout=timeout,
        retries=retries, extra=extra, sleep=sleep,
    )


def _as_llm_error(error: RequestError) -> LLMError:
    kinds: dict[type[RequestError], type[LLMError]] = {
        RequestTimeoutError: LLMTimeoutError, ServerBusyError: RateLimitedError, BadAnswerError: LLMAnswerError
    }
    return kinds.get(type(error), LLMServerError)(error.what, where=error.where, hint=error.hint)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None
