"""Defines `plan` (what labelling would ask and cost, before it is asked), `LabelOptions`, `Price` and `Budget`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from saewidgets.config.arguments import count, number
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.features.labels.evidence import (
    SAMPLINGS,
    Example,
    Examples,
    FeatureEvidence,
    Sampling,
    shown_examples,
)
from saewidgets.features.labels.label import Label
from saewidgets.features.labels.label_files import Journal
from saewidgets.features.labels.llm import LLM, Message, Reader, Reply, check_asking, estimate_tokens, model_name
from saewidgets.features.labels.prompts import EXAMPLES, Template, build, prompt_hash
from saewidgets.render.html import Html, facts_table, join, tag

_PROMPT = "white-space:pre-wrap;overflow-wrap:anywhere;max-height:24em;overflow:auto;font-size:12px;margin:4px 0 8px"


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
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ConfigError(
                    f"{value!r} is not a price.", where=f"price.{name}", hint="Give it per million tokens."
                )

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """The cost of so many tokens."""
        return (tokens_in * self.tokens_in + tokens_out * self.tokens_out) / 1_000_000


class Budget:
    """Counts tokens and money; used from one thread.

    A question's estimate is set aside before it is asked, so the limit also holds for what is under way. Estimates of
    tokens are not exact, so the true cost can differ from the count by as much, unless the provider reports usage.

    Args:
        price: None: nothing is known of the cost.
        limit: most that may be spent.
        tokens_out: tokens set aside for an answer.

    Raises:
        ConfigError: a limit without a price, or below zero.
    """

    def __init__(self, price: Price | None, limit: float | None, tokens_out: int) -> None:
        if limit is not None:
            number(limit, "max_cost", "the most that may be spent")
            if price is None:
                raise ConfigError(
                    "A cost limit needs a price.", where="max_cost", hint="Pass price=Price(per million in, out)."
                )
        self.price, self.limit = price, limit
        self.tokens_in = self.tokens_out = 0
        self._answer = tokens_out
        self._reserved = 0.0

    @property
    def cost(self) -> float | None:
        """Spent so far; None without a price."""
        return None if self.price is None else self.price.of(self.tokens_in, self.tokens_out)

    def reserve(self, tokens_in: int, answers: int = 1) -> bool:
        """Set aside what so many tokens and answers may cost; False if that would pass the limit."""
        if self.price is None:
            return True
        estimate = self.price.of(tokens_in, answers * self._answer)
        if self.limit is not None and (self.cost or 0.0) + self._reserved + estimate > self.limit * (1 + 1e-9):
            return False
        self._reserved += estimate
        return True

    def settle(self, reserved_in: int, used: tuple[int, int], answers: int = 1) -> None:
        """Replace what was set aside by the tokens in and out that it took."""
        if self.price is not None:
            self._reserved = max(0.0, self._reserved - self.price.of(reserved_in, answers * self._answer))
        self.tokens_in += used[0]
        self.tokens_out += used[1]


def usage_of(answer: str, estimated_in: int) -> tuple[int, int]:
    """Tokens in and out: what the provider reports, else estimates."""
    tokens_in = answer.tokens_in if isinstance(answer, Reply) else None
    tokens_out = answer.tokens_out if isinstance(answer, Reply) else None
    return (
        estimated_in if tokens_in is None else tokens_in,
        math.ceil(len(answer.encode("utf-8", "replace")) / 4) if tokens_out is None else tokens_out,
    )


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
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"This is not between {least} and {most:,}.", where=f"options.{name}")
        if self.sampling not in SAMPLINGS:
            raise ConfigError(
                f"{self.sampling!r} is not a way to choose examples.", where="options.sampling",
                hint=f"Use {', '.join(SAMPLINGS)}.",
            )

    @property
    def method(self) -> str:
        """What labels carry as their method."""
        return f"{self.template.name}, {self.sampling}"


@dataclass(frozen=True, slots=True)
class Question:
    """One latent and the exact messages that ask for its label."""

    index: int
    messages: tuple[Message, ...]
    prompt_hash: str
    tokens_in: int
    evidence: FeatureEvidence = field(repr=False)
    examples: tuple[Example, ...] = field(repr=False)

    def __str__(self) -> str:
        head = f"latent {self.index}, about {self.tokens_in:,} tokens"
        return "\n\n".join([head, *(f"{m['role']}:\n{m['content']}" for m in self.messages)])


@dataclass(frozen=True, slots=True)
class Skipped:
    """A latent that is not asked about: it is ``dead``, has the ``same`` label already, or its examples are broken."""

    index: int
    why: str
    error: str = ""


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
    journal: Journal | None = None,
    price: Price | None = None,
    first: int = 3,
    model: str | None = None,
) -> Plan:
    """What `label_features` with the same arguments would do. Nothing is asked, sent or written.

    Args:
        features: numbers of latents; one that is named twice counts once.
        llm: who would be asked.
        examples: where the evidence is.
        options: how.
        existing: labels that there are.
        journal: of an earlier run.
        price: of the provider.
        first: how many questions to show whole.
        model: what to call `llm`, if it does not say.
    """
    check_asking(llm, model=model)
    first = count(first, "first", "how many prompts to show")
    options, model = options or LabelOptions(), model or model_name(llm)
    answered = answered_questions(existing, journal, model, options.method)
    asked = tokens_in = 0
    preview: list[Question] = []
    skipped: dict[str, list[Skipped]] = {"same": [], "dead": [], "broken": []}
    for index in dict.fromkeys(features):
        item = question(index, examples, options, answered)
        if isinstance(item, Skipped):
            skipped[item.why].append(item)
            continue
        asked += 1
        tokens_in += item.tokens_in
        if len(preview) < first:
            preview.append(item)
    if not preview and first and skipped["same"]:  # shown where nothing would be asked
        again = question(skipped["same"][0].index, examples, options, set())
        preview += [again] if isinstance(again, Question) else []
    free = isinstance(llm, Reader)  # it reads the examples, not the prompt
    tokens_in, tokens_out = (0, 0) if free else (tokens_in, asked * options.answer_tokens)
    return Plan(
        model=model, n_questions=asked, tokens_in=tokens_in, tokens_out=tokens_out, first=tuple(preview),
        sent=not free, cost=price.of(tokens_in, tokens_out) if price else None,
        same=tuple(s.index for s in skipped["same"]), dead=tuple(s.index for s in skipped["dead"]),
        broken={s.index: s.error for s in skipped["broken"]},
    )


def question(
    index: int, examples: Examples, options: LabelOptions, answered: set[tuple[int, str]]
) -> Question | Skipped:
    """What is asked about one latent, or why nothing is."""
    try:
        evidence = examples.of(index)
        chosen = shown_examples(evidence, options.n_examples, options.sampling)
        windows = tuple(example.around(options.context, options.context) for example in chosen)
        if not windows and not ("tokens_table" in options.template.required and evidence.token_counts):
            return Skipped(index, "dead")
        messages = tuple(build(options.template, evidence, windows))
    except SAEWidgetsError as error:
        return Skipped(index, "broken", str(error))
    hashed = prompt_hash(messages)
    if (index, hashed) in answered:
        return Skipped(index, "same")
    return Question(index, messages, hashed, estimate_tokens(messages), evidence, windows)


def answered_questions(
    existing: Iterable[Label], journal: Journal | None, model: str, method: str
) -> set[tuple[int, str]]:
    """(latent, prompt hash) of every question that `model` has answered."""
    return {
        (label.index, label.prompt_hash)
        for label in (*existing, *(journal.labels() if journal else ()))
        if label.source == "auto" and label.model == model and label.method == method and not label.error
    }
