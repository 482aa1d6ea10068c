"""Automatic labels: many latents, a few questions at a time, resumed where they ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.events import Control, NullControl, Progress
from saewidgets.features.labels.evidence import Examples
from saewidgets.features.labels.journal import Journal
from saewidgets.features.labels.label import MAX_DESCRIPTION, Label
from saewidgets.features.labels.llm import LLM, Asker, LLMError, Reader, check_asking, model_name
from saewidgets.features.labels.planning import (
    Budget,
    LabelOptions,
    Price,
    Question,
    Usage,
    answered,
    question,
    usage_of,
)
from saewidgets.features.labels.prompts import parse
from saewidgets.features.labels.text import redacted

T = TypeVar("T")
R = TypeVar("R")

MAX_CONCURRENCY = 256
_LOOK = 0.1  # seconds between two looks at whether somebody asked to stop


def each(
    items: Iterable[T], work: Callable[[T], R], *, concurrency: int, check: Callable[[], None]
) -> Generator[tuple[T, R], None, None]:
    """Every item with its result, in the order in which they are done.

    At most `concurrency` are under way; `items` is read in the caller's thread, just in time. With 0 everything runs in
    the caller's thread. `check` is called ten times a second, and what it raises ends everything at once: what has not
    begun is dropped, what is under way ends in its thread, unseen.

    Raises:
        ConfigError: the concurrency is out of range.
    """
    if not 0 <= concurrency <= MAX_CONCURRENCY:
        raise ConfigError(f"{concurrency} at once is not possible.", where="concurrency", hint="Choose 1 to 256.")
    if concurrency == 0:
        for item in items:
            check()
            yield item, work(item)
        return
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


Stopped = Literal["max_cost", "failures"]


@dataclass
class LabelRun:
    """What a run of `label_features` did.

    Attributes:
        labels: new labels, by latent.
        failures: latents that failed, as labels without a text and with an `error`.
        same: latents that had the same label already.
        dead: latents without examples.
        left: latents that were not asked about, because the run `stopped`.
        tokens_in, tokens_out: what was used; the provider's numbers where it reports them, else estimates.
        cost: of that; None without a price.
        stopped: ``max_cost``: the next question might have passed the limit; ``failures``: too many failed in a row.
    """

    labels: list[Label] = field(default_factory=list)
    failures: list[Label] = field(default_factory=list)
    same: list[int] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    stopped: Stopped | None = None

    def __str__(self) -> str:
        counts = (
            (self.labels, "labelled"), (self.failures, "failed"), (self.same, "labelled before"), (self.dead, "dead"),
            (self.left, "left"),
        )
        text = ", ".join(f"{len(found):,} {word}" for found, word in counts if found) or "nothing to label"
        return text + ("" if self.cost is None else f"; cost {self.cost:.4g}")


@dataclass(frozen=True, slots=True)
class _Answer:
    label: Label
    usage: Usage
    fatal: LLMError | None = None


def label_features(
    features: Iterable[int],
    llm: LLM | Reader,
    examples: Examples,
    *,
    options: LabelOptions | None = None,
    existing: Iterable[Label] = (),
    journal: Journal | None = None,
    concurrency: int = 4,
    price: Price | None = None,
    max_cost: float | None = None,
    max_failures: int = 10,
    control: Control | None = None,
    progress: Callable[[Progress], None] | None = None,
    on_label: Callable[[Label], None] | None = None,
    model: str | None = None,
) -> LabelRun:
    """Ask `llm` for a label of every latent in `features`.

    A latent whose exact question `model` has answered before (in `existing` or in the journal) is not asked about
    again; one that failed is. Other labels are left alone: `merge` puts them together.

    Args:
        features: numbers of latents.
        llm: a function of messages, or `offline()`.
        examples: where the evidence is; asked in the calling thread.
        options: the prompt and the examples in it.
        existing: labels that there are.
        journal: where every label is written as it comes.
        concurrency: questions under way at once.
        price: of the provider, for `max_cost` and the count.
        max_cost: most that may be spent: no question is asked whose estimate would pass it.
        max_failures: so many failures in a row end the run.
        control: asked ten times a second; what it raises ends the run at once.
        progress: called after every latent, in the calling thread.
        on_label: called with every label and failure as it comes, in the calling thread.
        model: what to call `llm`, if it does not say.

    Raises:
        Interruption: somebody asked to pause, stop or cancel. What was answered is in the journal, and answers that
            are on their way will be.
        LLMError: no question can be answered (no key, say).
        ConfigError: an argument cannot work.
    """
    check_asking(llm, concurrency, max_failures, model)
    options, control = options or LabelOptions(), control or NullControl()
    model = model or model_name(llm)
    numbers = list(dict.fromkeys(features))
    run = LabelRun()
    free = isinstance(llm, Reader)
    budget = Budget(None if free else price, None if free else max_cost, options.answer_tokens)
    blank = Label(0, "-", source="auto", method=options.method, model=model)
    known = answered(existing, journal, model, options.method)
    clock = Clock(len(numbers), "labelling", progress)
    in_a_row = 0

    def keep(label: Label) -> None:
        (run.failures if label.error else run.labels).append(label)
        if on_label is not None:
            on_label(label)

    def asked() -> Iterator[Question]:
        for index in numbers:
            if run.stopped:
                run.left.append(index)
                continue
            item = question(index, examples, options, known)
            if isinstance(item, Question):
                if budget.reserve(item.tokens_in):
                    yield item
                else:
                    run.stopped = "max_cost"
                    run.left.append(index)
                continue
            if item.why == "broken":
                keep(replace(blank, index=index, text="", error=failure_text(item.error)))
            else:
                (run.same if item.why == "same" else run.dead).append(index)
            clock.tick()

    with ExitStack() as stack:
        who = llm if isinstance(llm, Reader) else stack.enter_context(Asker(llm))

        def work(question: Question) -> _Answer:
            answer = _ask(question, who, replace(blank, index=question.index, prompt_hash=question.prompt_hash))
            if journal is not None and not answer.fatal:
                journal.add(answer.label)  # here, so that an answer that comes after an interruption is kept
            return answer

        at_once = 0 if free else max(1, concurrency)
        answers = stack.enter_context(closing(each(asked(), work, concurrency=at_once, check=control.check)))
        for asked_one, answer in answers:
            budget.settle(asked_one.tokens_in, answer.usage)
            if answer.fatal is not None:
                raise answer.fatal
            keep(answer.label)
            in_a_row = in_a_row + 1 if answer.label.error else 0
            if in_a_row >= max_failures:
                run.stopped = run.stopped or "failures"
            clock.tick()
    for found in (run.labels, run.failures):
        found.sort(key=lambda label: label.index)
    run.tokens_in, run.tokens_out, run.cost = budget.tokens_in, budget.tokens_out, budget.cost
    return run


def _ask(question: Question, who: Reader | Asker, blank: Label) -> _Answer:
    usage = Usage()
    try:
        if isinstance(who, Asker):
            answer = who.ask(question.messages)
            usage = usage_of(answer, question.tokens_in)
            text, description = parse(answer)
        else:
            text, description = who.explain(question.evidence, question.examples)
        label = replace(blank, text=text, description=description[:MAX_DESCRIPTION], created_at=time.time())
        return _Answer(label, usage)
    except CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - of the user's own function: anything; it is kept with the latent
        said = str(error) if isinstance(error, SAEWidgetsError) else f"{type(error).__name__}: {error}"
        failure = replace(blank, text="", error=failure_text(said), created_at=time.time())
        return _Answer(failure, usage, error if isinstance(error, LLMError) and error.fatal else None)


def failure_text(said: str) -> str:
    """What a label keeps of an error: no keys, nothing that no file can hold."""
    text = redacted(said).encode("utf-8", "replace").decode().replace("\0", "")
    return text[:2000] or "unknown error"


class Clock:
    """Counts latents and tells how fast they come."""

    def __init__(self, total: int, phase: str, progress: Callable[[Progress], None] | None) -> None:
        self._total, self._phase, self._progress = total, phase, progress
        self._done, self._start = 0, time.monotonic()

    def tick(self) -> None:
        """One more is done."""
        self._done += 1
        if self._progress is None:
            return
        took = time.monotonic() - self._start
        rate = self._done / took if took > 0 else None
        eta = (self._total - self._done) / rate if rate else None
        self._progress(Progress(self._done, self._total, "features", rate, eta, phase=self._phase))
