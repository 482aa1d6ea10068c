"""Language models as functions of messages: the protocol `LLM`, its errors, and asking one from several threads.

With `openai_compatible` (any server that speaks OpenAI's chat completions), `transformers_local` (a model in memory)
and `echo`; used by `label_features` and `score_labels`.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, Literal, Protocol, Self, TypedDict, cast, runtime_checkable

from pydantic import SecretStr

from saewidgets.config import arguments
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.features.labels.evidence import Example, FeatureEvidence
from saewidgets.features.labels.http import RequestError, Server


class Message(TypedDict):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


LLM = Callable[[list[Message]], str | Awaitable[str]]
"""Answers a chat. A coroutine function does, too. A `model` attribute is what labels call it."""


class Reply(str):
    """An answer that knows its tokens and those of the prompt, as far as the provider says."""

    tokens_in: int | None
    tokens_out: int | None

    def __new__(cls, text: str, tokens_in: int | None = None, tokens_out: int | None = None) -> Self:
        self = super().__new__(cls, text)
        self.tokens_in, self.tokens_out = tokens_in, tokens_out
        return self


@runtime_checkable
class Reader(Protocol):
    """Something that reads the evidence itself instead of a prompt: the heuristic."""

    @property
    def model(self) -> str:
        """What labels call it."""

    def explain(self, evidence: FeatureEvidence, examples: Sequence[Example]) -> tuple[str, str]:
        """Text and description of a label for these examples."""

    def judge(self, text: str, tokens: Sequence[str], marks: Sequence[bool] | None) -> bool | None:
        """Whether the label `text` fits a window, or the marked tokens of it; None if it cannot say."""


class LLMError(SAEWidgetsError):
    """A language model did not answer.

    Attributes:
        fatal: every other question would end the same way (no key, a wrong one, no such model).
    """

    fatal = False


class MissingKeyError(LLMError):
    """The environment variable that should hold the key is not set."""

    fatal = True


class RefusedKeyError(LLMError):
    """The provider does not accept the key, or does not allow it this model."""

    fatal = True


class NoFundsError(LLMError):
    """The key is good, but the account's money or quota is used up."""

    fatal = True


class UnknownModelError(LLMError):
    """The server has no such model or address."""

    fatal = True


class RateLimitedError(LLMError):
    """The provider asks to wait for longer than is waited."""


class LLMTimeoutError(LLMError):
    """No answer in time."""


class LLMServerError(LLMError):
    """The server cannot be reached, or failed."""


class LLMAnswerError(LLMError):
    """An answer came, but it cannot be used.

    Attributes:
        used: tokens in and out that the provider counts for it, if known.
    """

    used: tuple[int, int] | None = None


def named(llm: object, model: str | None = None) -> str:
    """What labels call `llm`: `model`, else its own `model`, else the function's name. Raises `ConfigError`."""
    if not callable(llm) and not isinstance(llm, Reader):
        arguments.refuse(
            llm, "llm", "a language model to ask",
            "Give openai_compatible(…), transformers_local(…), a function, or None for the offline heuristic.",
        )
    found = model or getattr(llm, "model", None) or getattr(llm, "__name__", None)
    return found if isinstance(found, str) else type(llm).__name__


def estimate_tokens(messages: Sequence[Message]) -> int:
    """About how many tokens a chat has: a quarter of its UTF-8 bytes, and four per message.

    For English text and usual tokenizers that is within a third of the truth; it needs no tokenizer of the provider.
    """
    return sum(4 + math.ceil(len(m["content"].encode("utf-8", "replace")) / 4) for m in messages)


class LLMClient:
    """Asks `llm` from any thread; coroutines run in one event loop of its own (a notebook's is busy).

    Use as a context manager: leaving it cancels what is still under way.
    """

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def __enter__(self) -> LLMClient:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._loop.stop)

    def ask(self, messages: Sequence[Message]) -> str:
        """The answer. Raises whatever `llm` raises, `CancelledError` after the asker was left."""
        answer = self._llm([cast(Message, dict(m)) for m in messages])  # a copy: what was asked stays what it was
        if inspect.isawaitable(answer):
            answer = self._await(answer)
        if not isinstance(answer, str):
            raise LLMAnswerError(
                f"The language model returned {type(answer).__name__} instead of text.", where="llm",
                hint="Give a function that takes a list of messages and returns a string.",
            )
        return answer

    def _await(self, value: Awaitable[Any]) -> Any:
        with self._lock:
            if self._closed:
                if inspect.iscoroutine(value):
                    value.close()  # it will not run; Python would warn about that
                raise CancelledError
            if self._loop is None:
                started: Future[asyncio.AbstractEventLoop] = Future()
                threading.Thread(target=_run, args=(started,), name="labels-loop", daemon=True).start()
                self._loop = started.result()
            future = asyncio.run_coroutine_threadsafe(_awaited(value), self._loop)
        return future.result()


def _run(started: Future[asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner() as runner:  # which cancels what is under way once the loop is stopped
        started.set_result(runner.get_loop())
        runner.get_loop().run_forever()


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


class Echo:
    """`echo`: answers without a model, for trying things out; `seen` are the messages of every call.

    Args:
        answer: what to answer: always the same, in turn from a list, or what a function of the messages returns. None:
            a label that says how many lines it was shown.
    """

    model = "echo"

    def __init__(self, answer: str | Sequence[str] | Callable[[list[Message]], str] | None = None) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self.seen: list[list[Message]] = []

    def __call__(self, messages: list[Message]) -> str:
        with self._lock:
            number = len(self.seen)
            self.seen.append(messages)
        if callable(self._answer):
            return self._answer(messages)
        if not self._answer:
            lines = messages[-1]["content"].splitlines()
            return f"[EXPLANATION]: a prompt of {len(lines)} lines"
        return self._answer if isinstance(self._answer, str) else self._answer[number % len(self._answer)]


class TransformersLocal:
    """`transformers_local`: a transformers model that is loaded already.

    It gives the most likely answer (no sampling), one at a time.

    Args:
        model: a causal language model, a `LoadedModel`, or a text-generation pipeline; used as it is, not moved.
        tokenizer: its tokenizer; None for a pipeline or `LoadedModel`. Its chat template is used if it has one.
        max_tokens: longest answer.
        name: what labels call it; its own name if left out.

    Raises:
        ConfigError: not a language model of this kind.
    """

    def __init__(self, model: Any, tokenizer: Any = None, *, max_tokens: int = 200, name: str | None = None) -> None:
        if tokenizer is None and hasattr(model, "tokenizer") and hasattr(model, "model"):  # a pipeline, a LoadedModel
            model, tokenizer = model.model, model.tokenizer
        if tokenizer is None or not callable(getattr(model, "generate", None)):
            raise ConfigError(
                "This is not a text-generating model with its tokenizer.", where="model",
                hint="Pass a transformers model and its tokenizer, a LoadedModel, or a text-generation pipeline.",
            )
        arguments.count(max_tokens, "max_tokens", "a number of tokens", least=1, most=100_000)
        if not name:
            path = str(getattr(getattr(model, "config", None), "_name_or_path", "") or "")
            name = path if path.count("/") == 1 and not path.startswith(("/", ".")) else ""
            # Of a folder the last part: its place on this machine stays private.
            name = name or path.replace("\\", "/").rstrip("/").rpartition("/")[2] or type(model).__name__
        self.model = name
        self._model, self._tokenizer, self._max_tokens = model, tokenizer, max_tokens
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"transformers_local({self.model!r})"

    def __call__(self, messages: list[Message]) -> Reply:
        """The model's answer. Raises `LLMAnswerError`: the prompt does not fit into the model's context."""
        # Torch: seconds to import.
        import torch

        from saewidgets.lm import evaluating

        tokenizer, model = self._tokenizer, self._model
        if getattr(tokenizer, "chat_template", None):
            whole: Message = {"role": "user", "content": "\n\n".join(message["content"] for message in messages)}
            try:
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            except Exception:  # noqa: BLE001 - Jinja's error; some templates, such as Gemma's, refuse a system message
                text = tokenizer.apply_chat_template([whole], tokenize=False, add_generation_prompt=True)
            ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        else:  # a base model goes on with a text
            text = "\n\n".join(message["content"] for message in messages) + "\n\n"
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
        length, context = int(ids.shape[1]), getattr(model.config, "max_position_embeddings", None)
        if isinstance(context, int) and length + self._max_tokens > context:
            raise LLMAnswerError(
                f"The prompt has {length:,} tokens and the answer may have {self._max_tokens:,}; the model's context "
                f"has {context:,}.",
                where=self.model, hint="Show fewer or shorter examples (n_examples, context), or lower max_tokens.",
            )
        padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        with self._lock, evaluating(model), torch.no_grad():
            ids = ids.to(next(model.parameters()).device)
            out = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=self._max_tokens, do_sample=False,
                pad_token_id=padding,
            )
        answer = tokenizer.decode(out[0, length:], skip_special_tokens=True)
        return Reply(answer, length, int(out.shape[1]) - length)


# --- servers --------------------------------------------------------------------------------------------

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
    """`openai_compatible`: a language model behind an OpenAI-compatible address, hosted or on this machine.

    Args:
        base_url: up to before ``/chat/completions``: ``https://api.openai.com/v1``, ``http://127.0.0.1:8000/v1``.
        model: as the server calls it; labels carry it.
        api_key_env: name of the environment variable that holds the key, or a key that was typed; None: no key is sent.
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

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key_env: str | SecretStr | None = "OPENAI_API_KEY",
        temperature: float | None = 0.0,
        max_tokens: int = 500,
        timeout: float = 120.0,
        retries: int = 4,
        extra: Mapping[str, Any] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not model.strip():
            raise ConfigError("The model has no name.", where="model")
        arguments.count(max_tokens, "max_tokens", "a number of tokens", least=1, most=1_000_000)
        self.model = model
        self._server = Server(base_url, key_env=api_key_env, timeout=timeout, retries=retries, sleep=sleep)
        self._settings: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature}
        self._extra = dict(extra or {})
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"openai_compatible({self._server.base_url!r}, {self.model!r}, api_key_env={self._server.key_env!r})"

    def __call__(self, messages: list[Message]) -> Reply:
        """The model's answer. Raises `LLMError`, as one of its children."""
        for _ in range(3):
            with self._lock:
                settings = {name: value for name, value in self._settings.items() if value is not None}
            body = {"model": self.model, "messages": messages, **settings, **self._extra}
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
        said = error.said.lower() if error.status == 400 else ""
        with self._lock:
            if "max_completion_tokens" in said and "max_tokens" in body and "max_tokens" not in self._extra:
                self._settings["max_completion_tokens"] = self._settings.pop("max_tokens", body["max_tokens"])
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
        env = "" if isinstance(self._server.key_env, SecretStr) else self._server.key_env
        key = f"the key in {env}" if env else "the typed key" if env == "" else "a request without a key"
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
        usage = data.get("usage") if isinstance(data.get("usage"), dict) else {}
        counts = (usage.get(name) for name in ("prompt_tokens", "completion_tokens"))
        used_in, used_out = (n if type(n) is int and 0 <= n < 2**53 else None for n in counts)
        if not isinstance(content, str) or not content.strip():
            if refusal := message.get("refusal"):
                what, hint = f"The model refuses to answer: {str(refusal)[:200]}", None
            elif choice.get("finish_reason") == "length":
                what, hint = "The answer is empty: max_tokens was used up before it began.", "Raise max_tokens."
            else:
                what, hint = "The answer is empty.", "Try again."
            error = LLMAnswerError(what, where=host, hint=hint)
            error.used = (used_in or 0, used_out or 0)  # thoughts are paid for as well
            raise error
        return Reply(content, used_in, used_out)


echo, transformers_local, openai_compatible = Echo, TransformersLocal, OpenAICompatible
