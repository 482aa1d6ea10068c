"""Defines `label_features` (many latents, a few questions at a time) and the run that scoring shares with it.

Used by `ws.features.auto_label` and `score`; a run that was interrupted goes on where it ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypeVar

from saewidgets.errors import SAEWidgetsError
from saewidgets.events import Control, NullControl, Progress
from saewidgets.features.labels.escaping import redacted
from saewidgets.features.labels.evidence import Examples
from saewidgets.features.labels.label import MAX_DESCRIPTION, Label
from saewidgets.features.labels.label_files import Journal
from saewidgets.features.labels.llm import LLM, Asker, LLMError, Reader, check_asking, model_name
from saewidgets.features.labels.planning import (
    Budget,
    LabelOptions,
    Price,
    Question,
    answered_questions,
    question,
    usage_of,
)
from saewidgets.features.labels.prompts import parse

T = TypeVar("T")
Q = TypeVar("Q", bound="_Question")
R = TypeVar("R")

_LOOK = 0.1  # seconds between two looks at whether somebody asked to stop


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
    stopped: Literal["max_cost", "failures"] | None = None

    def __str__(self) -> str:
        counts = (
            (self.labels, "labelled"), (self.failures, "failed"), (self.same, "labelled before"), (self.dead, "dead"),
            (self.left, "left"),
        )
        text = ", ".join(f"{len(found):,} {word}" for found, word in counts if found) or "nothing to label"
        return text + ("" if self.cost is None else f"; cost {self.cost:.4g}")


class _Question(Protocol):
    @property
    def tokens_in(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A label that came of a question, the tokens it took, why there is none, and whether no other will come either."""

    label: Label
    used: tuple[int, int]
    error: str = ""
    fatal: LLMError | None = None


def run_questions(
    run: Any,
    subjects: list[T],
    ask: Callable[[T], Q | None],
    work: Callable[[Q, Reader | Asker], Answer],
    keep: Callable[[Answer], None],
    *,
    llm: LLM | Reader,
    phase: str,
    budget: Callable[[bool], Budget],
    answers: Callable[[Q], int] = lambda _: 1,
    concurrency: int,
    max_failures: int,
    control: Control | None,
    progress: Callable[[Progress], None] | None,
) -> None:
    """Ask about every subject, and fill `run` (a `LabelRun` or `ScoreRun`).

    Args:
        run: its `left`, `stopped`, `tokens_in`, `tokens_out` and `cost` are filled here.
        subjects: about what is asked.
        ask: the question about a subject; None where there is none, which it has noted.
        work: the answer, made in another thread.
        keep: called with every answer, in the calling thread.
        llm: who is asked; a `Reader` is free, and asked in the calling thread.
        phase: what `progress` calls it.
        budget: of a run that is free, or not.
        answers: how many answers a question takes.
        concurrency, max_failures, control, progress: as of `label_features`.
    """
    free = isinstance(llm, Reader)
    spent, control = budget(free), control or NullControl()
    done, start, in_a_row = 0, time.monotonic(), 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            took = time.monotonic() - start
            rate = done / took if took > 0 else None
            eta = (len(subjects) - done) / rate if rate else None
            progress(Progress(done, len(subjects), "features", rate, eta, phase=phase))

    def questions() -> Iterator[Q]:
        for subject in subjects:
            item = None if run.stopped else ask(subject)
            if item is not None and spent.reserve(item.tokens_in, answers(item)):
                yield item
                continue
            if item is not None:
                run.stopped = "max_cost"
            if run.stopped:
                run.left.append(subject)
            else:
                tick()

    with ExitStack() as stack:
        who = llm if isinstance(llm, Reader) else stack.enter_context(Asker(llm))
        found = each(questions(), lambda item: work(item, who), 0 if free else concurrency, control.check)
        for item, answer in stack.enter_context(closing(found)):
            spent.settle(item.tokens_in, answer.used, answers(item))
            if answer.fatal is not None:
                raise answer.fatal
            keep(answer)
            in_a_row = in_a_row + 1 if answer.error else 0
            if in_a_row >= max_failures:
                run.stopped = run.stopped or "failures"
            tick()
    run.labels.sort(key=lambda label: label.index)
    run.tokens_in, run.tokens_out, run.cost = spent.tokens_in, spent.tokens_out, spent.cost


def each(
    items: Iterable[T], work: Callable[[T], R], concurrency: int, check: Callable[[], None]
) -> Generator[tuple[T, R], None, None]:
    """Every item with its result, in the order in which they are done.

    At most `concurrency` are under way; `items` is read in the caller's thread, just in time. With 0 everything runs in
    the caller's thread. `check` is called ten times a second, and what it raises ends everything at once: what has not
    begun is dropped, what is under way ends in its thread, unseen.
    """
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
    settings, model = options or LabelOptions(), model or model_name(llm)
    run = LabelRun()
    blank = Label(0, "-", source="auto", method=settings.method, model=model)
    answered = answered_questions(existing, journal, model, settings.method)

    def keep(answer: Answer) -> None:
        (run.failures if answer.error else run.labels).append(answer.label)
        if on_label is not None:
            on_label(answer.label)

    def ask(index: int) -> Question | None:
        item = question(index, examples, settings, answered)
        if isinstance(item, Question):
            return item
        if item.why == "broken":
            keep(_failure(replace(blank, index=index), item.error))
        else:
            (run.same if item.why == "same" else run.dead).append(index)
        return None

    def work(item: Question, who: Reader | Asker) -> Answer:
        answer = _label(item, who, replace(blank, index=item.index, prompt_hash=item.prompt_hash))
        if journal is not None and not answer.fatal:
            journal.add(answer.label)  # here, so that an answer that comes after an interruption is kept
        return answer

    run_questions(
        run, list(dict.fromkeys(features)), ask, work, keep, llm=llm, phase="labelling",
        budget=lambda free: Budget(None if free else price, None if free else max_cost, settings.answer_tokens),
        concurrency=concurrency, max_failures=max_failures, control=control, progress=progress,
    )
    run.failures.sort(key=lambda label: label.index)
    return run


def _label(item: Question, who: Reader | Asker, blank: Label) -> Answer:
    used = 0, 0
    try:
        if isinstance(who, Asker):
            said = who.ask(item.messages)
            used = usage_of(said, item.tokens_in)
            text, description = parse(said)
        else:
            text, description = who.explain(item.evidence, item.examples)
        label = replace(blank, text=text, description=description[:MAX_DESCRIPTION], created_at=time.time())
        return Answer(label, used)
    except CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - of the user's own function: anything; it is kept with the latent
        return _failure(blank, error_text(error), used, error if isinstance(error, LLMError) and error.fatal else None)


def _failure(blank: Label, error: str, used: tuple[int, int] = (0, 0), fatal: LLMError | None = None) -> Answer:
    error = printable(error)
    return Answer(replace(blank, text="", error=error, created_at=time.time()), used, error, fatal)


def error_text(error: Exception) -> str:
    """What is kept of an error: no keys, nothing that no file can hold."""
    return printable(str(error) if isinstance(error, SAEWidgetsError) else f"{type(error).__name__}: {error}")


def printable(said: str) -> str:
    """`said` without keys and without what no file can hold."""
    return redacted(said).encode("utf-8", "replace").decode().replace("\0", "")[:2000] or "unknown error"
