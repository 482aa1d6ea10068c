"""Defines `evaluate`: the metrics of SAEs from one pass over held-out text."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from saewidgets.config.packing import SeqposSlice
from saewidgets.errors import ConfigError
from saewidgets.evaluation.ce import CrossEntropy, ce_loss_score, kl_div_score
from saewidgets.evaluation.metrics import ratio
from saewidgets.evaluation.place import PlacedSAE
from saewidgets.lm import (
    ForwardTrace,
    HookPoint,
    LoadedModel,
    capture,
    check_context,
    evaluating,
    forward,
    hooked,
    note_points,
    resumable,
    resumed,
    special_tokens,
)
from saewidgets.lm.tokens import TokenMask
from saewidgets.sae import SAE
from saewidgets.sae.scaler import RAW, Scaler

# Several SAEs evaluated in one pass over the text: what does not depend on an SAE is computed once for all.
#
# A batch takes one forward that notes the activations at all hook points, to its end where the model's own loss is
# still wanted, and then, for every SAE and every ablated place, what comes behind that place (`lm.partial_forward`).
# Each number is, to the last bit, what an evaluation of that SAE alone gives.

Check = Callable[[], None] | None


class Batches:
    """The contexts ``[n, context]`` in parts, each with two masks: the positions that count, and the tokens whose
    prediction does. Where the cross-entropy is measured (`losses`) parts may be smaller."""

    def __init__(
        self, lm: LoadedModel, contexts: Tensor, rule: TokenMask, batch_size: int, losses: CrossEntropy | None,
        check: Check,
    ) -> None:  # fmt: skip
        self._contexts, self._check = contexts, check
        special = special_tokens(lm.tokenizer).all if rule.exclude_special else ()
        self._excluded = torch.tensor(sorted({*special, *rule.exclude_ids}), dtype=contexts.dtype)
        self._in_slice = torch.from_numpy(rule.in_slice(contexts.shape[1])).to(contexts.device)
        self._size = batch_size if losses is None else min(batch_size, losses.batch_limit(contexts.shape[1]))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        # Token t is predicted at position t - 1; the first, where this wraps around, is never predicted.
        predicted = self._in_slice.roll(1)
        for ids in self._contexts.split(self._size):
            usual = ~torch.isin(ids, self._excluded)
            yield ids, usual & self._in_slice, usual & predicted

    def run_check(self) -> None:
        if self._check is not None:
            self._check()


@dataclass(frozen=True, slots=True)
class Baseline:
    """Cross-entropy of the language model by itself, and with zeros at the hook point: nats per token, the same for
    every SAE on the same contexts at the same place."""

    clean: float
    zero: float

    @classmethod
    def of(cls, metrics: Mapping[str, float]) -> Baseline | None:
        """The baseline of an evaluation, from its numbers; None if it did not measure the cross-entropy."""
        if "ce_loss_clean" not in metrics:
            return None
        return cls(metrics["ce_loss_clean"], metrics["ce_loss_zero"])


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """An SAE to evaluate; `evaluate` explains its attributes."""

    sae: SAE
    hook_name: str
    hook_name_out: str | None = None
    scaler: Scaler = RAW
    baseline: Baseline | None = None


class Evaluator:
    """Evaluates SAEs of one language model; what it found out about the model is kept for the next time. So is, up to
    `room` bytes, what forwards came upon at the hook points: they are not repeated for the same contexts, as long as
    nobody changes the model."""

    def __init__(self, lm: LoadedModel, room: int = 0) -> None:
        self.lm, self.keeps, self._room = lm, room > 0, room
        self._resumable: dict[str, bool] = {}
        self._traces: dict[tuple[object, ...], ForwardTrace] = {}

    @functools.cached_property
    def losses(self) -> CrossEntropy:
        """The losses of the model. Raises `ConfigError` if it does not predict the next token."""
        return CrossEntropy(self.lm)

    def resumes(self, point: HookPoint) -> bool:
        """Whether forwards can go on from a hook point; see `saewidgets.lm.resumable`."""
        if point.name not in self._resumable:
            self._resumable[point.name] = resumable(self.lm.model, point)
        return self._resumable[point.name]

    def reached(self, points: Iterable[str], ids: Tensor, run: Callable[[], ForwardTrace]) -> ForwardTrace:
        """What a forward of `ids` comes upon at `points`: kept, or by `run`."""
        key = (*points, ids.shape, ids.cpu().numpy().tobytes())
        if (found := self._traces.get(key)) is None:
            found = run()
            if found.nbytes <= self._room:
                self._traces[key], self._room = found, self._room - found.nbytes
        return found

    def evaluate(
        self,
        subjects: Sequence[Subject],
        contexts: Tensor,
        *,
        rule: TokenMask | None = None,
        batch_size: int = 16,
        cross_entropy: bool = True,
        divergence: bool = False,
        mean_ablation: bool = False,
        ce_contexts: int | None = None,
        check: Check = None,
    ) -> list[tuple[dict[str, float], Tensor]]:
        """Evaluate SAEs on the same contexts; arguments as in `evaluate`. The first `ce_contexts` of them also count
        in the cross-entropies and divergences (None: all). Returns of each the numbers that `evaluate` lists, and the
        density of its latents, ``[d_sae]`` float64 on the CPU."""
        lm = self.lm
        placed = [PlacedSAE(s.sae, lm, s.hook_name, s.hook_name_out, s.scaler) for s in subjects]
        check_context(lm.name, lm.context, contexts.shape[-1], "contexts")
        losses = self.losses if cross_entropy and lm.is_causal else None
        rule = rule or TokenMask()
        with ExitStack() as stack:
            for each in subjects:
                stack.enter_context(evaluating(each.sae))
            stack.enter_context(torch.no_grad())
            if losses is None:
                self._reconstruct(placed, Batches(lm, contexts, rule, batch_size, None, check))
                return [_found(each) for each in placed]
            first, rest = contexts[:ce_contexts], contexts[len(contexts[:ce_contexts]) :]
            known = [None if divergence else each.baseline for each in subjects]
            batches = Batches(lm, first, rule, batch_size, losses, check)
            measured = _Pass(self, placed, known, batches, divergence, mean_ablation)
            if len(rest):
                self._reconstruct(placed, Batches(lm, rest, rule, batch_size, None, check))
            return measured.run()

    def _reconstruct(self, placed: Sequence[PlacedSAE], batches: Batches) -> None:
        """Measure the reconstructions alone; the model is not run further than that takes."""
        names = list(_points(placed))
        for ids, kept, _ in batches:
            batches.run_check()
            trace = self.reached(names, ids, lambda ids=ids: ForwardTrace(capture(self.lm.model, names, ids), {}))  # type: ignore[misc]
            for each in placed:
                each.take(trace.found, kept)


def _points(placed: Sequence[PlacedSAE]) -> dict[str, HookPoint]:
    return {point.name: point for each in placed for point in (each.read, each.written)}


def _found(placed: PlacedSAE) -> tuple[dict[str, float], Tensor]:
    if not placed.stats.n_tokens:
        raise ConfigError(
            "There is no token to evaluate on.", where="contexts", hint="Give text with more than special tokens."
        )
    return placed.stats.result(), placed.stats.density.cpu()


class _Pass:
    """One pass with the cross-entropy; arguments as in `Evaluator.evaluate`, `known` the baseline of each SAE."""

    def __init__(
        self, evaluator: Evaluator, placed: Sequence[PlacedSAE], known: Sequence[Baseline | None], batches: Batches,
        divergence: bool, mean_ablation: bool,
    ) -> None:  # fmt: skip
        self._placed, self._known, self._batches = placed, known, batches
        self._lm, self._losses, self._divergence = evaluator.lm, evaluator.losses, divergence
        self._reached = evaluator.reached
        self._points = _points(placed)
        self._written = {each.written.name: each.written for each in placed}
        self._unknown = [
            self._written[name] for name in dict.fromkeys(
                each.written.name for each, baseline in zip(placed, known, strict=True) if baseline is None
            )
        ]  # fmt: skip
        self._means = self._measure_means() if mean_ablation else {}
        several = len(placed) > 1 or bool(self._unknown) or mean_ablation or evaluator.keeps
        self._resumable = {name for name, p in self._written.items() if several and evaluator.resumes(p)}
        # What a single SAE makes of the activations goes into the very forward that computes them.
        self._within = not self._unknown and not self._means and not self._resumable
        self._predictions, self._positions = 0, 0
        # Of the model itself ("clean"), of the zero and mean ablation of a place, and of each SAE by its number.
        self._loss: defaultdict[object, float] = defaultdict(float)
        self._kl: defaultdict[object, float] = defaultdict(float)

    def run(self) -> list[tuple[dict[str, float], Tensor]]:
        for ids, kept, counted in self._batches:
            self._predictions += int(counted[:, 1:].sum())
            self._positions += int(kept.sum())
            (self._spliced if self._within else self._resumed)(ids, kept, counted)
        return [self._result(number, placed) for number, placed in enumerate(self._placed)]

    def _spliced(self, ids: Tensor, kept: Tensor, counted: Tensor) -> None:
        for number, each in enumerate(self._placed):
            self._batches.run_check()
            with each.spliced(kept):
                outputs = self._losses.outputs(ids)
            self._loss[number] += self._losses.loss(outputs, ids, counted)[0]

    def _resumed(self, ids: Tensor, kept: Tensor, counted: Tensor) -> None:
        model, losses = self._lm.model, self._losses
        clean: list[Tensor] = []
        run: Callable[[], object] = lambda: clean.append(losses.outputs(ids))  # noqa: E731
        if not self._unknown:
            run = lambda: forward(model, ids)  # noqa: E731
        self._batches.run_check()
        note = functools.partial(note_points, model, list(self._points.values()), run, whole=bool(self._unknown))
        whole = note() if self._unknown else None
        reached = self._reached(self._points, ids, note if whole is None else lambda: whole)
        if clean:
            self._loss["clean"] += losses.loss(clean[0], ids, counted)[0]

        def add(to: object, point: HookPoint, instead: Callable[[Tensor], Tensor]) -> None:
            self._batches.run_check()
            behind = resumed(model, point, reached) if point.name in self._resumable else nullcontext()
            with behind, hooked(point, instead):
                outputs = losses.outputs(ids)
            self._loss[to] += losses.loss(outputs, ids, counted)[0]
            if self._divergence:
                self._kl[to] += losses.divergence(clean[0], outputs, kept)

        for point in self._unknown:
            add(("zero", point.name), point, _filled(kept, 0.0))
        for name, mean in self._means.items():
            add(("mean", name), self._written[name], _filled(kept, mean))
        for number, each in enumerate(self._placed):
            mixed = each.take(reached.found, kept)
            add(number, each.written, lambda x, mixed=mixed: mixed)  # type: ignore[misc]

    def _measure_means(self) -> dict[str, Tensor]:
        """The mean activation of the tokens that count at each place, ``[width]`` float64; nan where there is none."""
        totals = {name: torch.zeros(p.width, dtype=torch.float64) for name, p in self._written.items()}
        number = 0
        for ids, kept, _ in self._batches:
            self._batches.run_check()
            for name, x in capture(self._lm.model, list(totals), ids).items():
                totals[name] += x[kept.to(x.device)].double().sum(0).cpu()
            number += int(kept.sum())
        return {name: total / number for name, total in totals.items()}

    def _result(self, number: int, placed: PlacedSAE) -> tuple[dict[str, float], Tensor]:
        result, density = _found(placed)
        name, n = placed.written.name, self._predictions
        by_sae, known = ratio(self._loss[number], n), self._known[number]
        if known is None:
            known = Baseline(ratio(self._loss["clean"], n), ratio(self._loss["zero", name], n))
        result |= {"ce_loss_clean": known.clean, "ce_loss_sae": by_sae, "ce_loss_zero": known.zero}
        result["ce_tokens"] = float(n)
        result["ce_loss_delta"] = by_sae - known.clean
        result["ce_loss_score"] = ce_loss_score(known.clean, by_sae, known.zero)
        if self._means:
            result["ce_loss_mean"] = by_mean = ratio(self._loss["mean", name], n)
            result["ce_loss_score_mean_ablation"] = ce_loss_score(known.clean, by_sae, by_mean)
        if self._divergence:
            kl_sae, kl_zero = (ratio(self._kl[key], self._positions) for key in (number, ("zero", name)))
            result |= {"kl_div_sae": kl_sae, "kl_div_zero": kl_zero, "kl_div_score": kl_div_score(kl_sae, kl_zero)}
        return result, density


def _filled(kept: Tensor, value: float | Tensor) -> Callable[[Tensor], Tensor]:
    """A hook that puts `value` (a number, or ``[width]``) in place of the activations that are kept."""

    def fill(x: Tensor) -> Tensor:
        mask = kept.to(x.device)[..., None]
        return torch.where(mask, torch.as_tensor(value, device=x.device, dtype=x.dtype), x)

    return fill


def evaluate(
    sae: SAE,
    lm: LoadedModel,
    contexts: Tensor,
    hook_name: str,
    *,
    hook_name_out: str | None = None,
    scaler: Scaler = RAW,
    exclude_special_tokens: bool = True,
    exclude_token_ids: Sequence[int] = (),
    seqpos_slice: SeqposSlice | None = None,
    batch_size: int = 16,
    cross_entropy: bool = True,
    divergence: bool = False,
    mean_ablation: bool = False,
    baseline: Baseline | None = None,
    check: Check = None,
) -> dict[str, float]:
    """Evaluate `sae` at `hook_name` on `contexts`.

    Args:
        sae: the autoencoder; it runs in evaluation mode (its threshold decides, for BatchTopK) and is left as it was.
        lm: the language model; left as it was.
        contexts: ``[n, context]`` token ids.
        hook_name: where the SAE reads, and, unless it is a transcoder, what it reconstructs.
        hook_name_out: what a transcoder reconstructs: its output is compared with the activations there and takes
            their place. For all others None.
        scaler: what the SAE sees of the activations, where that is not yet folded into its weights, as while it
            trains; it is undone in the reconstruction. All numbers are in the units of the raw activations, but `l1`,
            which is in the SAE's own.
        exclude_special_tokens: leave special tokens out of every number (see `saewidgets.evaluation.ce` for what that
            means for the cross-entropy).
        exclude_token_ids: leave these tokens out in the same way.
        seqpos_slice: only these positions of every context count, and are replaced: start, stop and maybe step, as
            Python slices.
        batch_size: contexts per forward of the language model.
        cross_entropy: False leaves the ``ce_…`` entries out, and the model is run up to the hook point only. They are
            absent in any case for a model that does not predict the next token (`LoadedModel.is_causal`), such as BERT.
        divergence: also the ``kl_div_…`` entries; they need what a `baseline` would give.
        mean_ablation: also the cross-entropy with the mean activation in place of every one, which takes one more
            forward up to the hook point and one from there on.
        baseline: `Baseline.of` an earlier evaluation on the same contexts at the same place of the model. It does not
            depend on the SAE; with it, one forward is enough. Without it the model runs once as it is, and from the
            hook point on twice more: with the reconstruction, and with zeros.
        check: called before every forward; what it raises ends the evaluation.

    Returns:
        The numbers of `saewidgets.evaluation.metrics`; `ce_loss_clean`, `ce_loss_sae`, `ce_loss_zero` (nats per token),
        `ce_loss_delta` = sae − clean, `ce_loss_score`, and `ce_tokens`, the number of predictions; `ce_loss_mean` and
        `ce_loss_score_mean_ablation`; `kl_div_sae`, `kl_div_zero` (nats per position), `kl_div_score`. A ratio of which
        the denominator is zero is nan.

    Raises:
        HookError: the model has no such hook point.
        ConfigError: the SAE has another width, contexts are longer than the model reads, no token is left to evaluate
            on, or the hook points are not those of a transcoder (or of an SAE that is none).
    """
    subject = Subject(sae, hook_name, hook_name_out, scaler, baseline)
    return Evaluator(lm).evaluate(
        [subject], contexts, rule=TokenMask(exclude_special_tokens, tuple(exclude_token_ids), seqpos_slice),
        batch_size=batch_size, cross_entropy=cross_entropy, divergence=divergence, mean_ablation=mean_ablation,
        check=check,
    )[0][0]  # fmt: skip
