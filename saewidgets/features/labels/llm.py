"""Language models as functions of messages: what one is (`LLM`), its errors, and how it is asked from several threads.

With `transformers_local` (a model in memory) and `echo`; `openai_compatible` is a module of its own.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any, Literal, Protocol, Self, TypedDict, cast, runtime_checkable

from saewidgets.config import arguments
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.features.labels.evidence import Example, FeatureEvidence


class Message(TypedDict):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


LLM = Callable[[list[Message]], str | Awaitable[str]]
"""Answers a chat. A coroutine function does, too. A `model` attribute is what labels call it."""


class Reply(str):
    """An answer that knows what it cost, as far as the provider says.

    Attributes:
        tokens_in, tokens_out: of the prompt and of the answer; None where that is not known.
    """

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
    """An answer came, but it cannot be used."""


def named(llm: object, model: str | None = None) -> str:
    """What labels call `llm`: `model`, else its own `model`, else the function's name.

    Raises:
        ConfigError: it cannot be asked.
    """
    if not callable(llm) and not isinstance(llm, Reader):
        arguments.refuse(
            llm, "llm", "who is asked, a function of messages",
            "Give openai_compatible(…), transformers_local(…), a function, or None for the offline heuristic.",
        )
    found = model or getattr(llm, "model", None) or getattr(llm, "__name__", None)
    return found if isinstance(found, str) else type(llm).__name__


def estimate_tokens(messages: Sequence[Message]) -> int:
    """About how many tokens a chat has: a quarter of its UTF-8 bytes, and four per message.

    For English text and usual tokenizers that is within a third of the truth; it needs no tokenizer of the provider.
    """
    return sum(4 + math.ceil(len(m["content"].encode("utf-8", "replace")) / 4) for m in messages)


class Asker:
    """Asks `llm` from any thread; coroutines run in one event loop of its own (a notebook's is busy).

    Use as a context manager: leaving it cancels what is still under way.
    """

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(_stop, self._loop)

    def ask(self, messages: Sequence[Message]) -> str:
        """The answer. Raises whatever `llm` raises, `CancelledError` after the asker was left.

        Raises:
            LLMAnswerError: it returned something that is not text.
        """
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
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=_run, args=(self._loop,), name="labels-loop", daemon=True).start()
            future = asyncio.run_coroutine_threadsafe(_awaited(value), self._loop)
        return future.result()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.call_soon(loop.stop)  # after the cancelled tasks had their turn


async def _awaited(value: Awaitable[Any]) -> Any:
    return await value


class Echo:
    """What `echo` returns; `seen` are the messages of every call."""

    model = "echo"

    def __init__(self, answer: str | Sequence[str] | Callable[[list[Message]], str] | None) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self.seen: list[list[Message]] = []

    def __repr__(self) -> str:
        return "echo()"

    def __call__(self, messages: list[Message]) -> str:
        with self._lock:
            number = len(self.seen)
            self.seen.append(messages)
        if callable(self._answer):
            return self._answer(messages)
        if isinstance(self._answer, str):
            return self._answer
        if self._answer:
            return self._answer[number % len(self._answer)]
        lines = messages[-1]["content"].count("\n") + 1
        return f"[EXPLANATION]: a prompt of {lines} lines"


def echo(answer: str | Sequence[str] | Callable[[list[Message]], str] | None = None) -> Echo:
    """Answers without a model, for trying things out.

    Args:
        answer: what to answer: always the same, in turn from a list, or what a function of the messages returns. None:
            a label that says how many lines it was shown.
    """
    return Echo(answer)


def transformers_local(
    model: Any, tokenizer: Any = None, *, max_tokens: int = 200, name: str | None = None
) -> TransformersLocal:
    """A transformers model that is loaded already. It gives the most likely answer (no sampling), one at a time.

    Args:
        model: a causal language model, a `LoadedModel`, or a text-generation pipeline; used as it is, not moved.
        tokenizer: its tokenizer; None for a pipeline or `LoadedModel`. Its chat template is used if it has one.
        max_tokens: longest answer.
        name: what labels call it; its own name if left out.

    Raises:
        ConfigError: it is no such model.
    """
    if tokenizer is None and hasattr(model, "tokenizer") and hasattr(model, "model"):  # a pipeline, a LoadedModel
        model, tokenizer = model.model, model.tokenizer
    if tokenizer is None or not callable(getattr(model, "generate", None)):
        raise ConfigError(
            "This is not a text-generating model with its tokenizer.", where="model",
            hint="Pass a transformers model and its tokenizer, a LoadedModel, or a text-generation pipeline.",
        )
    if not 1 <= max_tokens <= 100_000:
        raise ConfigError(f"{max_tokens} is not a length.", where="max_tokens")
    if not name:
        path = str(getattr(getattr(model, "config", None), "_name_or_path", "") or "")
        name = path if path.count("/") == 1 and not path.startswith(("/", ".")) else ""
        # Of a folder the last part: where it lies on this machine is nobody's business.
        name = name or path.replace("\\", "/").rstrip("/").rpartition("/")[2] or type(model).__name__
    return TransformersLocal(model, tokenizer, max_tokens, name)


class TransformersLocal:
    """What `transformers_local` returns; call it with messages."""

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int, name: str) -> None:
        self.model = name
        self._model, self._tokenizer, self._max_tokens = model, tokenizer, max_tokens
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"transformers_local({self.model!r})"

    def __call__(self, messages: list[Message]) -> Reply:
        """The model's answer.

        Raises:
            LLMAnswerError: the prompt does not fit into the model's context.
        """
        # Torch: seconds to import.
        import torch

        from saewidgets.lm import evaluating

        tokenizer, model = self._tokenizer, self._model
        if getattr(tokenizer, "chat_template", None):
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
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
