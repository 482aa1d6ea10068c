"""How well labels hold: a judge sees a label and windows it was not made from, and says which ones it describes.

With tp, fp, tn, fn counted over the judged windows: precision = tp / (tp + fp), recall = tp / (tp + fn),
specificity = tn / (tn + fp), F1 = 2·tp / (2·tp + fp + fn). The value of a score is the balanced accuracy,
(recall + specificity) / 2.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from saewidgets.config.arguments import count
from saewidgets.errors import SAEWidgetsError
from saewidgets.events import Control, NullControl, Progress
from saewidgets.features.labels import judging
from saewidgets.features.labels.evidence import Examples
from saewidgets.features.labels.journal import Journal
from saewidgets.features.labels.judging import Sample, Scorer
from saewidgets.features.labels.label import Label, Score
from saewidgets.features.labels.labelling import Clock, Stopped, each, failure_text
from saewidgets.features.labels.llm import (
    LLM,
    Asker,
    LLMError,
    Message,
    Reader,
    check_asking,
    estimate_tokens,
    model_name,
)
from saewidgets.features.labels.merge import identity, merge
from saewidgets.features.labels.planning import Budget, Price, Usage, usage_of
from saewidgets.features.labels.prompts import prompt_hash


@dataclass
class ScoreRun:
    """What a run of `score_labels` did.

    Attributes:
        labels: labels with their new score.
        errors: (label, what went wrong) of those without one: no windows, or no answer at all.
        same: labels that had this very score already.
        left: labels that were not judged, because the run `stopped`.
        tokens_in, tokens_out, cost, stopped: as of `LabelRun`.
    """

    labels: list[Label] = field(default_factory=list)
    errors: list[tuple[Label, str]] = field(default_factory=list)
    same: list[Label] = field(default_factory=list)
    left: list[Label] = field(default_factory=list)
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    stopped: Stopped | None = None


@dataclass(frozen=True, slots=True)
class _Test:
    label: Label
    batches: tuple[tuple[Sample, ...], ...]
    prompts: tuple[list[Message], ...]
    prompt_hash: str
    tokens_in: int


@dataclass(frozen=True, slots=True)
class _Verdict:
    score: Score
    error: str
    usage: Usage
    fatal: LLMError | None = None


def score_labels(
    labels: Iterable[Label],
    examples: Examples,
    llm: LLM | Reader,
    *,
    scorer: Scorer = "detection",
    n_pos: int = 10,
    n_neg: int = 10,
    seed: int = 0,
    per_prompt: int = 5,
    context: int = 16,
    journal: Journal | None = None,
    concurrency: int = 4,
    price: Price | None = None,
    max_cost: float | None = None,
    max_failures: int = 10,
    control: Control | None = None,
    progress: Callable[[Progress], None] | None = None,
    on_label: Callable[[Label], None] | None = None,
    model: str | None = None,
) -> ScoreRun:
    """Have `llm` judge every label. Failures among `labels` are passed over.

    Args:
        labels: to be judged; several of one latent are judged on the same windows.
        examples: where the evidence is.
        llm: the judge: a function of messages, or `offline()`.
        scorer: ``detection`` or ``fuzzing``, see `judging`.
        n_pos, n_neg: windows in which the latent fires, and in which it is silent; fewer where there are fewer.
        seed: of the choice and the order.
        per_prompt: windows in one question. More are cheaper, but tell the judge something about each other; 1 is
            strictest.
        context: tokens shown on either side of a window's peak.
        journal, concurrency, price, max_cost, max_failures, control, progress, on_label: as of `label_features`. A
            label that has this very score, here or in the journal, is not judged again.
        model: what to call the judge, if it does not say.

    Raises:
        Interruption, LLMError, ConfigError: as of `label_features`.
    """
    check_asking(llm, concurrency, max_failures, model)
    judging.check_scorer(scorer)
    for name, value, least, most in (
        ("n_pos", n_pos, 1, 10_000), ("n_neg", n_neg, 1, 10_000), ("per_prompt", per_prompt, 1, 100),
        ("context", context, 0, 1000),
    ):
        count(value, name, "a number", least=least, most=most)
    count(seed, "seed", "what fixes the choice")
    control, model = control or NullControl(), model or model_name(llm)
    todo = [label for label in labels if not label.error]
    run, clock = ScoreRun(), Clock(len(todo), "judging", progress)
    free = isinstance(llm, Reader)
    budget = Budget(None if free else price, None if free else max_cost, 3 * per_prompt)
    kept = {identity(label): label for label in merge((), journal.labels())} if journal else {}
    in_a_row = 0

    def keep(label: Label) -> None:
        run.labels.append(label)
        if on_label is not None:
            on_label(label)

    def tests() -> Iterator[_Test]:
        for label in todo:
            if run.stopped:
                run.left.append(label)
                continue
            try:
                windows = judging.samples(examples.of(label.index), scorer, n_pos, n_neg, seed, context)
            except SAEWidgetsError as error:
                run.errors.append((label, str(error)))
                clock.tick()
                continue
            test = _test(label, scorer, windows, per_prompt)
            known = [s for version in (label, kept.get(identity(label), label)) if version.text == label.text
                     for s in version.scores if _same(s, scorer, model, test.prompt_hash)]
            if known:
                run.same.append(label.with_score(known[-1]))
                clock.tick()
            elif budget.reserve(test.tokens_in, len(test.prompts)):
                yield test
            else:
                run.stopped = "max_cost"
                run.left.append(label)

    with ExitStack() as stack:
        who = llm if isinstance(llm, Reader) else stack.enter_context(Asker(llm))

        def work(test: _Test) -> _Verdict:
            verdict = _judged(test, who, scorer, model)
            if journal is not None and not verdict.error:
                journal.add(test.label.with_score(verdict.score))
            return verdict

        at_once = 0 if free else max(1, concurrency)
        verdicts = stack.enter_context(closing(each(tests(), work, concurrency=at_once, check=control.check)))
        for test, verdict in verdicts:
            budget.settle(test.tokens_in, verdict.usage, len(test.prompts))
            if verdict.fatal is not None:
                raise verdict.fatal
            if verdict.error:
                run.errors.append((test.label, verdict.error))
            else:
                keep(test.label.with_score(verdict.score))
            in_a_row = in_a_row + 1 if verdict.error else 0
            if in_a_row >= max_failures:
                run.stopped = run.stopped or "failures"
            clock.tick()
    run.labels.sort(key=lambda label: label.index)
    run.tokens_in, run.tokens_out, run.cost = budget.tokens_in, budget.tokens_out, budget.cost
    return run


def _test(label: Label, scorer: Scorer, windows: Sequence[Sample], per_prompt: int) -> _Test:
    batches = tuple(tuple(windows[i : i + per_prompt]) for i in range(0, len(windows), per_prompt))
    prompts = tuple(judging.messages(label.text, scorer, batch) for batch in batches)
    hashed = prompt_hash([message for prompt in prompts for message in prompt])
    return _Test(label, batches, prompts, hashed, sum(map(estimate_tokens, prompts)))


def _same(score: Score, scorer: Scorer, model: str, hashed: str) -> bool:
    return (score.scorer, score.model, score.prompt_hash) == (scorer, model, hashed)


def _judged(test: _Test, who: Reader | Asker, scorer: Scorer, model: str) -> _Verdict:
    """One label's score. Windows whose question failed are not judged; if all failed, that is the label's error."""
    usage, error, fatal = Usage(), "", None
    seen: list[tuple[Sample, bool]] = []
    answered = False
    for batch, prompt in zip(test.batches, test.prompts, strict=True):
        try:
            if isinstance(who, Asker):
                answer = who.ask(prompt)
                usage += usage_of(answer, estimate_tokens(prompt))
                answered = True
                verdicts = judging.read_answer(answer, len(batch))
                if verdicts is not None:
                    seen += zip(batch, verdicts, strict=True)
            else:
                answered = True
                for sample in batch:
                    verdict = who.judge(test.label.text, sample.tokens, sample.marks)
                    if verdict is not None:
                        seen.append((sample, verdict))
        except CancelledError:
            raise
        except Exception as raised:  # noqa: BLE001 - of the user's own function: anything; said with the label
            known = isinstance(raised, SAEWidgetsError)
            error = failure_text(str(raised) if known else f"{type(raised).__name__}: {raised}")
            if isinstance(raised, LLMError) and raised.fatal:
                fatal = raised
                break
    score = score_of(seen, sum(map(len, test.batches)), scorer, model, test.prompt_hash)
    return _Verdict(score, "" if answered else error, usage, fatal)


def score_of(
    judged: Sequence[tuple[Sample, bool]], n_asked: int, scorer: str, model: str = "", hashed: str = ""
) -> Score:
    """The score of these verdicts; its value is None unless windows of both kinds were judged."""
    tp = sum(sample.positive and verdict for sample, verdict in judged)
    fp = sum(not sample.positive and verdict for sample, verdict in judged)
    fn = sum(sample.positive and not verdict for sample, verdict in judged)
    tn = len(judged) - tp - fp - fn
    value = (tp / (tp + fn) + tn / (tn + fp)) / 2 if tp + fn and tn + fp else None
    return Score(
        scorer=scorer, value=value, model=model, n_judged=len(judged), n_asked=n_asked, tp=tp, fp=fp, tn=tn, fn=fn,
        prompt_hash=hashed, created_at=time.time(),
    )
