"""Defines `Asking` (how a language model is asked about many latents, and what that may cost) and the run that does it.

Used by `label_features` and `score_labels`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from saewidgets.config import arguments
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.events import Control, NullControl, Progress
from saewidgets.features.labels.escaping import redacted
from saewidgets.features.labels.label import Label
from saewidgets.features.labels.llm import LLM, Asker, LLMError, Reader, Reply

T = TypeVar("T")
Q = TypeVar("Q", bound="_Question")
R = TypeVar("R")

_LOOK = 0.1  # seconds between two looks at whether somebody asked to stop


@dataclass(frozen=True, slots=True)
class Price:
    """What a provider takes, in any currency.

    Attributes:
        tokens_in: per million tokens of prompts.
        tokens_out: per million tokens of answers.
    """

    tokens_in: float
    tokens_out: float

    def __post_init__(self) -> None:
        for name in ("tokens_in", "tokens_out"):
            arguments.number(getattr(self, name), f"price.{name}", "the price of a million tokens")

    def of(self, tokens_in: float, tokens_out: float) -> float:
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How a language model is asked about many latents.

    Attributes:
        concurrency: questions under way at once.
        price: of the provider, for `max_cost` and the count.
        max_cost: most that may be spent: no question is asked whose estimate would pass it.
        max_failures: so many failures in a row end the run.
        control: asked ten times a second; what it raises ends the run at once.
        progress: called after every latent, in the calling thread.
        on_label: called with every label (of `label_features` also with failures) as it comes, in the calling thread.
        model: what to call who is asked, if it does not say.

    Raises:
        ConfigError: one of them cannot work.
    """

    concurrency: int = 4
    price: Price | None = None
    max_cost: float | None = None
    max_failures: int = 10
    control: Control | None = None
    progress: Callable[[Progress], None] | None = None
    on_label: Callable[[Label], None] | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        what = "how many questions are under way at once"
        arguments.count(self.concurrency, "concurrency", what, least=1, most=256)
        arguments.count(self.max_failures, "max_failures", "after how many failures in a row to end", least=1)
        arguments.optional_text(self.model, "model", "what to call who is asked")
        if self.max_cost is not None:
            arguments.number(self.max_cost, "max_cost", "the most that may be spent")


@dataclass(kw_only=True)
class Outcome:
    """What a run did and used.

    Attributes:
        labels: with what came of it.
        left: what was not asked about, because the run `stopped`.
        tokens_in, tokens_out: the provider's numbers where it reports them, else estimates.
        cost: of that; None without a price.
        stopped: ``max_cost``: the next question might have passed the limit; ``failures``: too many failed in a row.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    stopped: Literal["max_cost", "failures"] | None = None
    left: list[Any] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)


class _Question(Protocol):
    @property
    def tokens_in(self) -> int: ...

    @property
    def tokens_out(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A label that came of a question, the tokens it took, why there is none, and whether no other will come either."""

    label: Label
    used: tuple[int, int]
    error: str = ""
    fatal: LLMError | None = None


def run_questions(
    run: Outcome,
    subjects: list[T],
    ask: Callable[[T], Q | None],
    work: Callable[[Q, Reader | Asker], Answer],
    keep: Callable[[Answer], None],
    llm: LLM | Reader,
    asking: Asking,
    phase: str,
) -> None:
    """Ask about every subject, and count in `run` what that takes.

    A question's estimate is set aside before it is asked, so that the limit also holds for what is under way.

    Args:
        run: where that is counted.
        subjects: about what is asked.
        ask: the question about a subject; None where there is none, which it has noted.
        work: the answer, made in another thread.
        keep: called with every answer, in the calling thread.
        llm: who is asked; a `Reader` is free.
        asking: how.
        phase: what `progress` calls it.
    """
    free = isinstance(llm, Reader)
    price, limit = (None, None) if free else (asking.price, asking.max_cost)
    if limit is not None and price is None:
        hint = "Pass price=Price(per million in, out)."
        raise ConfigError("A cost limit needs a price.", where="max_cost", hint=hint)
    done, start, in_a_row, reserved = 0, time.monotonic(), 0, 0.0

    def estimate(item: Q) -> float:
        return price.of(item.tokens_in, item.tokens_out) if price is not None else 0.0

    def tick() -> None:
        nonlocal done
        done += 1
        if asking.progress is not None:
            rate = done / max(1e-9, time.monotonic() - start)
            asking.progress(
                Progress(done, len(subjects), "features", rate, (len(subjects) - done) / rate, phase=phase)
            )

    def questions() -> Iterator[Q]:
        nonlocal reserved
        for subject in subjects:
            item = None if run.stopped else ask(subject)
            spent = (run.cost or 0.0) + reserved
            if item is not None and limit is not None and spent + estimate(item) > limit * (1 + 1e-9):
                item, run.stopped = None, "max_cost"
            if item is not None:
                reserved += estimate(item)
                yield item
            elif run.stopped:
                run.left.append(subject)
            else:
                tick()

    with ExitStack() as stack:
        who = llm if isinstance(llm, Reader) else stack.enter_context(Asker(llm))
        check = (asking.control or NullControl()).check
        found = _each(questions(), lambda item: work(item, who), 1 if free else asking.concurrency, check)
        for item, answer in stack.enter_context(closing(found)):
            reserved -= estimate(item)
            run.tokens_in, run.tokens_out = run.tokens_in + answer.used[0], run.tokens_out + answer.used[1]
            run.cost = price.of(run.tokens_in, run.tokens_out) if price is not None else None
            if answer.fatal is not None:
                raise answer.fatal
            keep(answer)
            in_a_row = in_a_row + 1 if answer.error else 0
            if in_a_row >= asking.max_failures:
                run.stopped = run.stopped or "failures"
            tick()
    run.labels.sort(key=lambda label: label.index)


def _each(
    items: Iterable[T], work: Callable[[T], R], concurrency: int, check: Callable[[], None]
) -> Generator[tuple[T, R], None, None]:
    """Every item with its result, in the order in which they are done.

    `items` is read in the caller's thread, just in time. `check` is called ten times a second, and what it raises ends
    everything at once: what has not begun is dropped, what is under way ends in its thread, unseen.
    """
    source = iter(items)
    pending: dict[Future[R], T] = {}
    executor = ThreadPoolExecutor(concurrency, thread_name_prefix="labels")
    try:
        more = True
        while more or pending:
            check()
            while more and len(pending) < concurrency:
                try:
                    item = next(source)
                except StopIteration:
                    more = False
                else:
                    pending[executor.submit(work, item)] = item
            done, _ = wait(pending, timeout=_LOOK, return_when=FIRST_COMPLETED)
            for future in done:
                yield pending.pop(future), _result(future)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _result(future: Future[R]) -> R:
    try:
        return future.result()
    except CancelledError as error:  # a coroutine cancelled itself; it is no cancellation of ours
        raise RuntimeError("the language model's coroutine was cancelled") from error


def usage_of(answer: str, estimated_in: int) -> tuple[int, int]:
    """Tokens in and out: what the provider reports, else estimates."""
    tokens_in = answer.tokens_in if isinstance(answer, Reply) else None
    tokens_out = answer.tokens_out if isinstance(answer, Reply) else None
    return (
        estimated_in if tokens_in is None else tokens_in,
        math.ceil(len(answer.encode("utf-8", "replace")) / 4) if tokens_out is None else tokens_out,
    )


def error_text(error: Exception) -> str:
    """What is kept of an error: no keys, nothing that no file can hold."""
    said = str(error) if isinstance(error, SAEWidgetsError) else f"{type(error).__name__}: {error}"
    return redacted(said).encode("utf-8", "replace").decode().replace("\0", "")[:2000] or "unknown error"
