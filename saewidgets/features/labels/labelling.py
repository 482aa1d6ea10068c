"""Defines `label_features` (a label for each of many latents) and `plan`: what that would ask and cost.

Used by `ws.features.auto_label`, `suggest` and `plan_labels`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from typing import Any

from saewidgets.config.arguments import count
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.features.labels.asking import Answer, Asking, Outcome, Price, error_text, run_questions, usage_of
from saewidgets.features.labels.evidence import (
    SAMPLINGS,
    Example,
    Examples,
    FeatureEvidence,
    Sampling,
    shown_examples,
)
from saewidgets.features.labels.label import MAX_DESCRIPTION, Label
from saewidgets.features.labels.llm import LLM, Asker, LLMError, Message, Reader, estimate_tokens, named
from saewidgets.features.labels.prompts import EXAMPLES, Template, build, parse, prompt_hash
from saewidgets.render.html import Html, facts_table, join, tag

_PROMPT = "white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto;font-size:12px;margin:4px 0 8px"


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
            count(getattr(self, name), f"options.{name}", "a number", least=least, most=most)
        if self.sampling not in SAMPLINGS:
            raise ConfigError(
                f"{self.sampling!r} is not a way to choose examples.", where="options.sampling",
                hint=f"Use {', '.join(SAMPLINGS)}.",
            )

    @property
    def method(self) -> str:
        return f"{self.template.name}, {self.sampling}"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about one latent; `tokens_in` and `tokens_out` are estimates."""

    index: int
    messages: tuple[Message, ...]
    prompt_hash: str
    tokens_in: int
    tokens_out: int
    evidence: FeatureEvidence = field(repr=False)
    examples: tuple[Example, ...] = field(repr=False)

    def __str__(self) -> str:
        head = f"latent {self.index}, about {self.tokens_in:,} tokens"
        return "\n\n".join([head, *(f"{m['role']}:\n{m['content']}" for m in self.messages)])


def _question(index: int, examples: Examples, options: LabelOptions) -> Question | None:
    """What is asked about one latent; None of a dead one. Raises where its examples cannot be read."""
    evidence = examples.of(index)
    chosen = shown_examples(evidence, options.n_examples, options.sampling)
    windows = tuple(example.around(options.context, options.context) for example in chosen)
    if not windows and not ("tokens_table" in options.template.required and evidence.token_counts):
        return None
    messages = tuple(build(options.template, evidence, windows))
    return Question(
        index, messages, prompt_hash(messages), estimate_tokens(messages), options.answer_tokens, evidence, windows
    )


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
        model: who would be asked.
        n_questions: how many latents.
        same, dead, broken: latents that are skipped, and why (`broken`: with the error of their examples).
        tokens_in, tokens_out: estimates.
        cost: estimate; None without a price.
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
    first: tuple[Question, ...]
    sent: bool = True

    def __str__(self) -> str:
        cost = "" if self.cost is None else f", about {self.cost:.4g} in the price's currency"
        latents = f"{self.n_questions:,} latent{'' if self.n_questions == 1 else 's'}"
        lines = [
            f"{latents} would be asked about; model: {self.model}.",
            f"About {self.tokens_in:,} tokens in and {self.tokens_out:,} out{cost}." if self.sent
            else "Nothing would be sent: it reads the examples themselves"
            + (", here shown as a prompt." if self.first else "."),
        ]
        lines += [
            f"{len(found):,} {'is' if len(found) == 1 else 'are'} skipped: {why}."
            for why, found in self._skipped() if found
        ]  # fmt: skip
        if self.first and not self.n_questions:
            lines.append("An example, which would not be asked again:")
        return "\n\n".join(["\n".join(lines), *map(str, self.first)])

    def _repr_html_(self) -> str:
        facts = [("Features that would be asked about", f"{self.n_questions:,}")]
        facts += [(f"Skipped: {why}", f"{len(found):,}") for why, found in self._skipped() if found]
        if self.sent:
            facts.append(("Tokens in (estimate)", f"{self.tokens_in:,}"))
            facts.append(("Tokens out (estimate)", f"{self.tokens_out:,}"))
            facts += [] if self.cost is None else [("Cost (estimate, in the price's currency)", f"{self.cost:.4g}")]
        what = "Nothing was sent." if self.sent else "Nothing would be sent: it reads the examples themselves."
        asked = (_folded(question, opened=question is self.first[0]) for question in self.first)
        return join([facts_table(f"Labels by {self.model}. {what}", dict(facts)), *asked])

    def _skipped(self) -> list[tuple[str, Sequence[int]]]:
        return [
            ("labelled by the same question", self.same), ("dead", self.dead),
            ("without examples that can be read", tuple(self.broken)),
        ]


def _folded(question: Question, *, opened: bool) -> Html:
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
    first = count(first, "first", "how many prompts to show")
    options, model = options or LabelOptions(), named(llm, model)
    answered = _answered(existing, model, options.method)
    shown: list[Question] = []
    again: Question | None = None  # shown where nothing would be asked
    same, dead, broken = [], [], {}
    n_questions = tokens_in = 0
    for index in dict.fromkeys(features):
        try:
            item = _question(index, examples, options)
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
class LabelRun(Outcome):
    """What a run of `label_features` did.

    Attributes:
        labels: new labels, by latent.
        failures: latents that failed, as labels without a text and with an `error`.
        same: latents that had the same label already.
        dead: latents without examples.
        left: latents that were not asked about, because the run `stopped`.
        tokens_in, tokens_out, cost, stopped: as of `Outcome`.
    """

    failures: list[Label] = field(default_factory=list)
    same: list[int] = field(default_factory=list)
    dead: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        counts = (
            (self.labels, "labelled"), (self.failures, "failed"), (self.same, "labelled before"), (self.dead, "dead"),
            (self.left, "left"),
        )
        text = ", ".join(f"{len(found):,} {word}" for found, word in counts if found) or "nothing to label"
        return text + ("" if self.cost is None else f"; cost {self.cost:.4g}")


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
        asking: attributes of `Asking`: ``concurrency price max_cost max_failures control progress on_label model``.

    Raises:
        Interruption: somebody asked to pause, stop or cancel. `on_label` was given what was answered.
        LLMError: no question can be answered (no key, say).
        ConfigError: an argument cannot work.
    """
    how, settings, run = Asking(**asking), options or LabelOptions(), LabelRun()
    blank = Label(0, "-", source="auto", method=settings.method, model=named(llm, how.model))
    answered = _answered(existing, blank.model, blank.method)

    def keep(answer: Answer) -> None:
        (run.failures if answer.error else run.labels).append(answer.label)
        if how.on_label is not None:
            how.on_label(answer.label)

    def ask(index: int) -> Question | None:
        try:
            item = _question(index, examples, settings)
        except SAEWidgetsError as error:
            keep(_failure(replace(blank, index=index), error))
            return None
        if item is not None and (index, item.prompt_hash) not in answered:
            return item
        (run.dead if item is None else run.same).append(index)
        return None

    def work(item: Question, who: Reader | Asker) -> Answer:
        return _label(item, who, replace(blank, index=item.index, prompt_hash=item.prompt_hash))

    run_questions(run, list(dict.fromkeys(features)), ask, work, keep, llm, how, "labelling")
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
    except CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - of the user's own function: anything; it is kept with the latent
        return _failure(blank, error, used)
    label = replace(blank, text=text, description=description[:MAX_DESCRIPTION], created_at=time.time())
    return Answer(label, used)


def _failure(blank: Label, error: Exception, used: tuple[int, int] = (0, 0)) -> Answer:
    fatal = error if isinstance(error, LLMError) and error.fatal else None
    label = replace(blank, text="", error=error_text(error), created_at=time.time())
    return Answer(label, used, label.error, fatal)
