"""Defines `label_features` (labels for many latents), `plan` (its questions and cost), and `LLMOptions` (how it asks).

`run_questions` asks a language model about many latents, within a cost limit; `score_labels` uses it, too.
"""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal, TypeVar

from saewidgets.config import arguments
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.events import Control, NullControl, Progress
from saewidgets.features.labels.evidence import SAMPLINGS, Example, Examples, FeatureEvidence, Sampling, shown_examples
from saewidgets.features.labels.http import redacted
from saewidgets.features.labels.label import MAX_DESCRIPTION, Label
from saewidgets.features.labels.llm import LLM, LLMClient, LLMError, Message, Reader, Reply, estimate_tokens, named
from saewidgets.features.labels.prompts import EXAMPLES, Template, build, parse, prompt_hash, readable
from saewidgets.render.html import Html, facts_table, join, tag

T = TypeVar("T")
Q = TypeVar("Q", bound="Question")
R = TypeVar("R")

_LOOK = 0.1  # seconds between two checks for a request to stop
_PROMPT = "white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto;font-size:12px;margin:4px 0 8px"

# --- asking about many latents --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a million tokens of prompts and of answers, in any currency."""

    tokens_in: float
    tokens_out: float

    def __post_init__(self) -> None:
        for name in ("tokens_in", "tokens_out"):
            arguments.number(getattr(self, name), f"price.{name}", "the price of a million tokens")

    def of(self, tokens_in: float, tokens_out: float) -> float:
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LLMOptions:
    """How a language model is asked about many latents.

    Attributes:
        concurrency: questions under way at once.
        price: of the provider, for `max_cost` and the count.
        max_cost: most that may be spent: no question is asked whose estimate would pass it.
        spent: so much of it was spent before.
        max_failures: number of failures in a row that ends the run.
        control: asked ten times a second; what it raises ends the run at once.
        progress: called after every latent, in the calling thread.
        on_label: called with every label (of `label_features` also with failures) as it comes, in the calling thread.
        model: the name of the language model, if it does not have one.

    Raises:
        ConfigError: one of them cannot work.
    """

    concurrency: int = 4
    price: Price | None = None
    max_cost: float | None = None
    spent: float = 0.0
    max_failures: int = 10
    control: Control | None = None
    progress: Callable[[Progress], None] | None = None
    on_label: Callable[[Label], None] | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        what = "a number of questions to ask at once"
        arguments.count(self.concurrency, "concurrency", what, least=1, most=256)
        arguments.count(self.max_failures, "max_failures", "a number of failures in a row", least=1)
        arguments.optional_text(self.model, "model", "the name of the model")
        if self.max_cost is not None:
            arguments.number(self.max_cost, "max_cost", "a cost limit")
            if self.price is None:
                hint = "Give the prices of a million tokens in and out."
                raise ConfigError("A cost limit needs a price.", where="max_cost", hint=hint)


@dataclass(kw_only=True)
class LLMRun:
    """The results and costs of a run.

    Attributes:
        labels: with what came of it, by latent.
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


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and about how many tokens it and its answer take."""

    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A label that came of a question, the tokens it took, why there is none, and whether no other will come either."""

    label: Label
    used: tuple[int, int] = (0, 0)
    error: str = ""
    fatal: LLMError | None = None


def run_questions(
    run: LLMRun,
    subjects: list[T],
    ask: Callable[[T], Q | None],
    work: Callable[[Q, Reader | LLMClient], Answer],
    keep: Callable[[Answer], None],
    llm: LLM | Reader,
    asking: LLMOptions,
    phase: str,
) -> None:
    """Ask about every subject, and count in `run` what that takes.

    `ask` makes the question about a subject (None where there is none, which it has noted), `work` its answer in
    another thread; `keep` is called with every answer in this one. A question's estimate is set aside before it is
    asked, so that the limit also holds for what is under way. A `Reader` is free.
    """
    free = isinstance(llm, Reader)
    price, limit = (None, None) if free else (asking.price, asking.max_cost)
    done, start, in_a_row, reserved = 0, time.monotonic(), 0, 0.0
    fatal: LLMError | None = None

    def estimate(item: Q) -> float:
        return price.of(item.tokens_in, item.tokens_out) if price is not None else 0.0

    def tick() -> None:
        nonlocal done
        done += 1
        if asking.progress is not None:
            rate = done / max(1e-9, time.monotonic() - start)
            told = phase if run.cost is None else f"{phase}, {asking.spent + run.cost:.4g} spent"
            asking.progress(Progress(done, len(subjects), "features", rate, (len(subjects) - done) / rate, phase=told))

    def questions() -> Iterator[Q]:
        nonlocal reserved
        for subject in subjects:
            item = None if run.stopped else ask(subject)
            spent = asking.spent + (run.cost or 0.0) + reserved
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
        who = llm if isinstance(llm, Reader) else stack.enter_context(LLMClient(llm))
        check = (asking.control or NullControl()).check
        found = _each(questions(), lambda item: work(item, who), 1 if free else asking.concurrency, check)
        for item, answer in stack.enter_context(closing(found)):
            reserved -= estimate(item)
            run.tokens_in, run.tokens_out = run.tokens_in + answer.used[0], run.tokens_out + answer.used[1]
            run.cost = price.of(run.tokens_in, run.tokens_out) if price is not None else None
            if answer.fatal is not None:  # nothing else is asked; what is under way has to be paid, and is awaited
                fatal, run.stopped = fatal or answer.fatal, run.stopped or "failures"
                if answer.error:
                    continue
            keep(answer)
            in_a_row = in_a_row + 1 if answer.error else 0
            if in_a_row >= asking.max_failures:
                run.stopped = run.stopped or "failures"
            tick()
    if fatal is not None:
        raise fatal
    run.labels.sort(key=lambda label: label.index)


def _each(
    items: Iterable[T], work: Callable[[T], R], concurrency: int, check: Callable[[], None]
) -> Generator[tuple[T, R], None, None]:
    """Every item with its result, in the order in which they are done.

    `items` is read in the caller's thread, just in time. `check` is called ten times a second. If it raises, finished
    items are still yielded, and everything else ends: what has not begun is dropped, what is under way ends in its
    thread, unseen.
    """
    source = iter(items)
    pending: dict[Future[R], T] = {}
    executor = ThreadPoolExecutor(concurrency, thread_name_prefix="labels")
    try:
        while True:
            try:
                check()
            except BaseException:
                for future in [future for future in pending if future.done()]:
                    yield pending.pop(future), future.result()
                raise
            for item in islice(source, concurrency - len(pending)):
                pending[executor.submit(work, item)] = item
            if not pending:
                return
            for future in wait(pending, timeout=_LOOK, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future.result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def usage_of(answer: str, estimated_in: int) -> tuple[int, int]:
    """Tokens in and out: what the provider reports, else estimates."""
    tokens_in = answer.tokens_in if isinstance(answer, Reply) else None
    tokens_out = answer.tokens_out if isinstance(answer, Reply) else None
    return (
        estimated_in if tokens_in is None else tokens_in,
        math.ceil(len(answer.encode("utf-8", "replace")) / 4) if tokens_out is None else tokens_out,
    )


def failed(label: Label, error: Exception, used: tuple[int, int] = (0, 0)) -> Answer:
    """The part of an error that can be kept: without keys, and storable in a file."""
    said = str(error) if isinstance(error, SAEWidgetsError) else f"{type(error).__name__}: {error}"
    text = redacted(said).encode("utf-8", "replace").decode().replace("\0", "")[:2000] or "unknown error"
    used = getattr(error, "used", None) or used
    return Answer(label, used, text, error if isinstance(error, LLMError) and error.fatal else None)


# --- labels ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """How labels are asked for.

    Attributes:
        template: the prompt.
        n_examples: most windows in it.
        sampling: which windows: see `shown_examples`.
        context: tokens shown on either side of a window's peak.
        answer_tokens: tokens that an answer is expected to take, for estimates.
    """

    template: Template = EXAMPLES
    n_examples: int = 20
    sampling: Sampling = "mixed"
    context: int = 16
    answer_tokens: int = 100

    def __post_init__(self) -> None:
        for name, least, most in (("n_examples", 1, 1000), ("context", 0, 1000), ("answer_tokens", 1, 100_000)):
            arguments.count(getattr(self, name), f"options.{name}", "a number", least=least, most=most)
        if self.sampling not in SAMPLINGS:
            raise ConfigError(
                f"{self.sampling!r} is not a way to choose examples.", where="options.sampling",
                hint=f"Use {', '.join(SAMPLINGS)}.",
            )

    @property
    def method(self) -> str:
        return f"{self.template.name}, {self.sampling}"


@dataclass(frozen=True, slots=True)
class LabelQuestion(Question):
    """The question about one latent."""

    index: int
    messages: tuple[Message, ...]
    prompt_hash: str
    evidence: FeatureEvidence = field(repr=False)
    examples: tuple[Example, ...] = field(repr=False)

    def __str__(self) -> str:
        head = f"feature {self.index}, about {self.tokens_in:,} tokens"
        return "\n\n".join([head, *(f"{m['role']}:\n{m['content']}" for m in self.messages)])


def _question(index: int, examples: Examples, options: LabelOptions, llm: object) -> LabelQuestion | None:
    """The question about one latent; None for a dead one. Raises if its examples cannot be read."""
    evidence = examples.of(index)
    if isinstance(llm, Reader):  # effects on logits, which it does not read, make no new question
        evidence = replace(evidence, raises=(), lowers=())
    chosen = shown_examples(evidence, options.n_examples, options.sampling)
    windows = tuple(example.around(options.context, options.context) for example in chosen)
    if not windows:
        return None
    messages = tuple(build(options.template, evidence, windows))
    size = estimate_tokens(messages)
    return LabelQuestion(size, options.answer_tokens, index, messages, prompt_hash(messages), evidence, windows)


def _answered(existing: Iterable[Label], model: str, method: str) -> set[tuple[int, str]]:
    """(latent, prompt hash) of every question that `model` has answered."""
    return {
        (label.index, label.prompt_hash)
        for label in existing
        if label.source == "auto" and label.model == model and label.method == method and not label.error
    }


@dataclass(frozen=True, slots=True)
class Plan:
    """A dry run.

    Attributes:
        model: the language model that would be asked.
        n_questions: how many latents.
        same, dead, broken: latents that are skipped, and why (`broken`: with the error of their examples).
        tokens_in, tokens_out: estimates, with those of the judge.
        cost: estimate; None without a price.
        n_judgements: questions to a judge of the labels, several per latent.
        first: the first questions, exactly as they would be asked; where nothing would be asked because all are
            labelled already, the question of the first of these.
        sent: False: nothing would be sent, the heuristic reads the examples themselves.
    """

    model: str
    n_questions: int
    same: tuple[int, ...]
    dead: tuple[int, ...]
    broken: Mapping[int, str]
    tokens_in: int
    tokens_out: int
    cost: float | None
    first: tuple[LabelQuestion, ...]
    sent: bool = True
    n_judgements: int = 0

    def __str__(self) -> str:
        cost = "" if self.cost is None else f", about {self.cost:.4g} in the price's currency"
        features = f"{self.n_questions:,} feature{'' if self.n_questions == 1 else 's'}"
        lines = [
            f"{features} would be asked about; model: {self.model}.",
            *([f"{self.n_judgements:,} more questions would judge the labels."] if self.n_judgements else ()),
            f"About {self.tokens_in:,} tokens in and {self.tokens_out:,} out{cost}." if self.sent
            else "Nothing would be sent: it reads the examples themselves"
            + (", here shown as a prompt." if self.first else "."),
        ]
        lines += [f"{n:,} {'is' if n == 1 else 'are'} skipped: {why}." for why, n in self._skipped()]
        if self.first and not self.n_questions:
            lines.append("An example, which would not be asked again:")
        return "\n\n".join(["\n".join(lines), *map(str, self.first)])

    def _repr_html_(self) -> str:
        facts = {"Features that would be asked about": f"{self.n_questions:,}"}
        facts |= {f"Skipped: {why}": f"{n:,}" for why, n in self._skipped()}
        if self.sent:
            cost = {} if self.cost is None else {"Cost (estimate, in the price's currency)": f"{self.cost:.4g}"}
            facts |= {
                "Tokens in (estimate)": f"{self.tokens_in:,}", "Tokens out (estimate)": f"{self.tokens_out:,}", **cost
            }
        what = "Nothing was sent." if self.sent else "Nothing would be sent: it reads the examples themselves."
        asked = (_folded(question, opened=question is self.first[0]) for question in self.first)
        return join([facts_table(f"Labels by {self.model}. {what}", facts), *asked])

    def _skipped(self) -> list[tuple[str, int]]:
        counts = (
            ("labelled by the same question", len(self.same)), ("dead", len(self.dead)),
            ("without examples that can be read", len(self.broken)),
        )
        return [(why, n) for why, n in counts if n]


def _folded(question: LabelQuestion, *, opened: bool) -> Html:
    return tag(
        "details",
        tag("summary", f"Feature {question.index:,}: the exact prompt, about {question.tokens_in:,} tokens"),
        *(tag("pre", f"{m['role']}:\n{m['content']}", style=_PROMPT) for m in question.messages),
        open="" if opened else None,
    )


def plan(
    features: Iterable[int],
    llm: LLM | Reader,
    examples: Examples,
    *,
    options: LabelOptions | None = None,
    existing: Iterable[Label] = (),
    price: Price | None = None,
    first: int = 3,
    model: str | None = None,
) -> Plan:
    """What `label_features` with the same arguments would do; `first` questions are shown whole.

    Nothing is asked, sent or written.
    """
    first = arguments.count(first, "first", "a number of prompts to show")
    options, model = options or LabelOptions(), named(llm, model)
    answered = _answered(existing, model, options.method)
    shown: list[LabelQuestion] = []
    again: LabelQuestion | None = None  # shown where nothing would be asked
    same, dead, broken = [], [], {}
    n_questions = tokens_in = 0
    for index in dict.fromkeys(features):
        try:
            item = _question(index, examples, options, llm)
        except SAEWidgetsError as error:
            broken[index] = str(error)
            continue
        if item is None:
            dead.append(index)
        elif (index, item.prompt_hash) in answered:
            same.append(index)
            again = again or item
        else:
            n_questions += 1
            tokens_in += item.tokens_in
            shown += [item] if len(shown) < first else []
    free = isinstance(llm, Reader)  # it reads the examples, not the prompt
    tokens_in, tokens_out = (0, 0) if free else (tokens_in, n_questions * options.answer_tokens)
    return Plan(
        model=model, n_questions=n_questions, same=tuple(same), dead=tuple(dead), broken=broken,
        tokens_in=tokens_in, tokens_out=tokens_out, cost=price.of(tokens_in, tokens_out) if price else None,
        first=tuple(shown or ([again] if again and first else [])), sent=not free,
    )


@dataclass(kw_only=True)
class LabelRun(LLMRun):
    """The result of `label_features`; the rest as in `LLMRun`.

    Attributes:
        failures: latents that failed, as labels without a text and with an `error`. Their `description` is the answer
            that could not be used, if there was one.
        same: latents that had the same label already.
        dead: latents without examples.
        judged: what came of judging the labels, if that was asked for.
    """

    failures: list[Label] = field(default_factory=list)
    same: list[int] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)
    judged: LLMRun | None = None

    def __str__(self) -> str:
        counts = (
            (self.labels, "labelled"), (self.failures, "failed"), (self.same, "labelled before"), (self.dead, "dead"),
            (self.left, "left"),
        )
        text = ", ".join(f"{len(found):,} {word}" for found, word in counts if found) or "nothing to label"
        text += "" if self.stopped != "max_cost" else " at the cost limit"
        costs = [run.cost for run in (self, self.judged) if run is not None and run.cost is not None]
        return "; ".join(filter(None, (text, f"cost {sum(costs):.4g}" if costs else "", str(self.judged or ""))))


def label_features(
    features: Iterable[int],
    llm: LLM | Reader,
    examples: Examples,
    *,
    options: LabelOptions | None = None,
    existing: Iterable[Label] = (),
    **asking: Any,
) -> LabelRun:
    """Ask `llm` for a label of every latent in `features`.

    A latent whose exact question `model` has answered before (in `existing`) is not asked about again; one that
    failed is. Other labels are left alone: `merge` puts them together.

    Args:
        features: numbers of latents; one that is named twice counts once.
        llm: a function of messages, or `offline()`.
        examples: where the evidence is; asked in the calling thread.
        options: the prompt and the examples in it.
        existing: labels that there are.
        asking: attributes of `LLMOptions`: ``concurrency price max_cost max_failures control progress on_label model``.

    Raises:
        Interruption: a pause, stop or cancel was requested. `on_label` was called for all answers so far.
        LLMError: no question can be answered (no key, say).
        ConfigError: an argument cannot work.
    """
    how, settings, run = LLMOptions(**asking), options or LabelOptions(), LabelRun()
    blank = Label(0, "", source="auto", method=settings.method, model=named(llm, how.model))
    answered = _answered(existing, blank.model, blank.method)

    def keep(answer: Answer) -> None:
        label = replace(answer.label, error=answer.error, created_at=time.time())
        (run.failures if answer.error else run.labels).append(label)
        if how.on_label is not None:
            how.on_label(label)

    def ask(index: int) -> LabelQuestion | None:
        try:
            item = _question(index, examples, settings, llm)
        except SAEWidgetsError as error:
            keep(failed(replace(blank, index=index), error))
            return None
        if item is not None and (index, item.prompt_hash) not in answered:
            return item
        (run.dead if item is None else run.same).append(index)
        return None

    def work(item: LabelQuestion, who: Reader | LLMClient) -> Answer:
        label, used, said = replace(blank, index=item.index, prompt_hash=item.prompt_hash), (0, 0), ""
        try:
            if isinstance(who, LLMClient):
                said = who.ask(item.messages)
                used = usage_of(said, item.tokens_in)
                text, description = parse(said)
            else:
                text, description = who.explain(item.evidence, item.examples)
        except Exception as error:  # noqa: BLE001 - of the user's own function: anything; it is kept with the latent
            return failed(replace(label, description=readable(said)[:MAX_DESCRIPTION]), error, used)
        return Answer(replace(label, text=text, description=description[:MAX_DESCRIPTION]), used)

    run_questions(run, list(dict.fromkeys(features)), ask, work, keep, llm, how, "labelling")
    run.failures.sort(key=lambda label: label.index)
    return run
