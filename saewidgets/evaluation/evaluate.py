"""One pass over held-out text: how well an SAE reconstructs, and what the language model loses by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from saewidgets.activations.kept import Kept
from saewidgets.config.positions import SeqposSlice
from saewidgets.errors import ConfigError
from saewidgets.evaluation.ce import CrossEntropy, ce_loss_score, kl_div_score
from saewidgets.evaluation.metrics import ReconstructionStats
from saewidgets.lm import (
    HookPoint,
    LoadedModel,
    capture,
    check_context,
    evaluating,
    hooked,
    resolve_hook,
    special_tokens,
)
from saewidgets.sae import SAE

LATENT_BYTES = 1 << 28  # most memory for latents at once

Check = Callable[[], None] | None


@dataclass(frozen=True, slots=True)
class Baseline:
    """Cross-entropy of the language model by itself, and with zeros at the hook point: nats per token."""

    clean: float
    zero: float


def evaluate(
    sae: SAE,
    lm: LoadedModel,
    contexts: Tensor,
    hook_name: str,
    *,
    hook_name_out: str | None = None,
    scale: float = 1.0,
    scale_out: float | None = None,
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
        scale: the SAE sees ``scale · x`` and its output is divided by it: the factor of a run whose scale is not yet
            folded into the weights. All numbers are in the units of the raw activations, but `l1`, which is in the
            SAE's own.
        scale_out: what a transcoder's output is divided by, if that is another factor.
        exclude_special_tokens: leave special tokens out of every number (see `saewidgets.evaluation.ce` for what that
            means for the cross-entropy).
        exclude_token_ids: leave these tokens out in the same way.
        seqpos_slice: only these positions of every context count, and are replaced: start, stop and maybe step, as
            Python slices.
        batch_size: contexts per forward of the language model.
        cross_entropy: False leaves the ``ce_…`` entries out, and with them two of three forwards. They are absent in
            any case for a model that does not predict the next token (`LoadedModel.is_causal`), such as BERT.
        divergence: also the ``kl_div_…`` entries; they need the cross-entropy's forwards, and those of a `baseline`.
        mean_ablation: also the cross-entropy with the mean activation in place of every one, which takes one more
            forward and one up to the hook point.
        baseline: what `measure_baseline` returned for the same model, contexts and hook point. It does not depend on
            the SAE; with it, one forward is enough instead of three.
        check: called before every forward; what it raises ends the evaluation.

    Returns:
        The numbers of `saewidgets.evaluation.metrics`; `ce_loss_clean`, `ce_loss_sae`, `ce_loss_zero` (nats per token),
        `ce_loss_delta` = sae − clean, `ce_loss_score`; `ce_loss_mean` and `ce_loss_score_mean_ablation`; `kl_div_sae`,
        `kl_div_zero` (nats per position), `kl_div_score`. A ratio of which the denominator is zero is nan.

    Raises:
        HookError: the model has no such hook point.
        ConfigError: the SAE has another width, contexts are longer than the model reads, no token is left to evaluate
            on, or the hook points are not those of a transcoder (or of an SAE that is none).
    """
    return evaluate_latents(
        sae, lm, contexts, hook_name, hook_name_out=hook_name_out, scale=scale, scale_out=scale_out,
        exclude_special_tokens=exclude_special_tokens, exclude_token_ids=exclude_token_ids, seqpos_slice=seqpos_slice,
        batch_size=batch_size, cross_entropy=cross_entropy, divergence=divergence, mean_ablation=mean_ablation,
        baseline=baseline, check=check,
    )[0]  # fmt: skip


def evaluate_latents(
    sae: SAE,
    lm: LoadedModel,
    contexts: Tensor,
    hook_name: str,
    *,
    hook_name_out: str | None = None,
    scale: float = 1.0,
    scale_out: float | None = None,
    exclude_special_tokens: bool = True,
    exclude_token_ids: Sequence[int] = (),
    seqpos_slice: SeqposSlice | None = None,
    batch_size: int = 16,
    cross_entropy: bool = True,
    divergence: bool = False,
    mean_ablation: bool = False,
    baseline: Baseline | None = None,
    check: Check = None,
) -> tuple[dict[str, float], Tensor]:
    """`evaluate`, and the density of every latent: ``[d_sae]`` float64 on the CPU."""
    read, written = _points(sae, lm, hook_name, hook_name_out)
    check_context(lm.name, lm.context, contexts.shape[-1], "contexts")
    losses = CrossEntropy(lm) if cross_entropy and lm.is_causal else None
    divergence, mean_ablation = divergence and losses is not None, mean_ablation and losses is not None
    if divergence:
        baseline = None  # what the model puts out by itself is needed, not only its loss
    rule = Kept(exclude_special_tokens, tuple(exclude_token_ids), seqpos_slice)
    batches = _Batches(lm, contexts, rule, batch_size, losses, check)
    measured = _Measured(sae, read, written, scale, scale if scale_out is None else scale_out)
    mean = _mean_at(batches, written) if mean_ablation else None
    totals = dict.fromkeys(("clean", "sae", "zero", "mean", "kl_sae", "kl_zero"), 0.0)
    predictions = 0
    with evaluating(sae), torch.no_grad():
        for ids, kept, counted in batches:
            batches.run_check()
            if losses is None:
                measured.read_only(lm, ids, kept)
                continue
            with measured.spliced(kept):
                outputs = losses.outputs(ids)
            lost, number = losses.loss(outputs, ids, counted)
            totals["sae"] += lost
            predictions += number
            if mean is not None:
                batches.run_check()
                with hooked(written, _filled(kept, mean)):
                    totals["mean"] += losses.sums(ids, counted)[0]
            if baseline is not None:
                continue
            batches.run_check()
            clean = losses.outputs(ids)
            totals["clean"] += losses.loss(clean, ids, counted)[0]
            if divergence:
                totals["kl_sae"] += losses.divergence(clean, outputs, kept)
            batches.run_check()
            with hooked(written, _filled(kept, 0.0)):
                outputs = losses.outputs(ids)
            totals["zero"] += losses.loss(outputs, ids, counted)[0]
            if divergence:
                totals["kl_zero"] += losses.divergence(clean, outputs, kept)
    stats = measured.stats
    result = stats.result()
    if not stats.n_tokens:
        raise ConfigError(
            "There is no token to evaluate on.", where="contexts",
            hint="Give text with more than special tokens, or choose other positions.",
        )
    if losses is not None:
        means = {name: total / predictions if predictions else math.nan for name, total in totals.items()}
        if baseline is not None:
            means |= {"clean": baseline.clean, "zero": baseline.zero}
        clean_loss, sae_loss, zero_loss = means["clean"], means["sae"], means["zero"]
        result |= {"ce_loss_clean": clean_loss, "ce_loss_sae": sae_loss, "ce_loss_zero": zero_loss}
        result["ce_loss_delta"] = sae_loss - clean_loss
        result["ce_loss_score"] = ce_loss_score(clean_loss, sae_loss, zero_loss)
        if mean_ablation:
            result["ce_loss_mean"] = means["mean"]
            result["ce_loss_score_mean_ablation"] = ce_loss_score(clean_loss, sae_loss, means["mean"])
    if divergence:
        by_sae, by_zero = totals["kl_sae"] / stats.n_tokens, totals["kl_zero"] / stats.n_tokens
        result |= {"kl_div_sae": by_sae, "kl_div_zero": by_zero, "kl_div_score": kl_div_score(by_sae, by_zero)}
    return result, stats.density.cpu()


def measure_baseline(
    lm: LoadedModel,
    contexts: Tensor,
    hook_name: str,
    *,
    exclude_special_tokens: bool = True,
    exclude_token_ids: Sequence[int] = (),
    seqpos_slice: SeqposSlice | None = None,
    batch_size: int = 16,
    check: Check = None,
) -> Baseline:
    """The part of an evaluation that is the same for every SAE; arguments as in `evaluate`.

    `hook_name` is where activations are replaced: of a transcoder its `hook_name_out`.
    """
    point = resolve_hook(lm.model, hook_name)
    check_context(lm.name, lm.context, contexts.shape[-1], "contexts")
    losses = CrossEntropy(lm)
    rule = Kept(exclude_special_tokens, tuple(exclude_token_ids), seqpos_slice)
    batches = _Batches(lm, contexts, rule, batch_size, losses, check)
    clean = zero = 0.0
    predictions = 0
    with torch.no_grad():
        for ids, kept, counted in batches:
            batches.run_check()
            lost, number = losses.sums(ids, counted)
            clean += lost
            predictions += number
            batches.run_check()
            with hooked(point, _filled(kept, 0.0)):
                zero += losses.sums(ids, counted)[0]
    if not predictions:
        return Baseline(math.nan, math.nan)
    return Baseline(clean / predictions, zero / predictions)


def _points(sae: SAE, lm: LoadedModel, hook_name: str, hook_name_out: str | None) -> tuple[HookPoint, HookPoint]:
    """Where the SAE reads and where its output belongs."""
    if sae.is_transcoder and hook_name_out is None:
        raise ConfigError(
            "A transcoder reconstructs another place in the model than the one it reads.", where="hook_name_out",
            hint='Say which: hook_name_out="blocks.6.hook_mlp_out".',
        )
    if not sae.is_transcoder and hook_name_out not in (None, hook_name):
        raise ConfigError(
            f"A {sae.cfg.architecture} SAE reconstructs what it reads.", where="hook_name_out", hint="Leave it out."
        )
    read = resolve_hook(lm.model, hook_name)
    written = read if hook_name_out in (None, hook_name) else resolve_hook(lm.model, hook_name_out)
    for name, width, point in (("d_in", sae.d_in, read), ("d_out", sae.d_out, written)):
        if width != point.width:
            raise ConfigError(
                f"The SAE's {name} is {width:,}, but activations at {point.name} have width {point.width:,}.",
                where=name, hint="Choose the SAE's own model and hook_name.",
            )
    return read, written


class _Batches:
    """The contexts in parts that one forward reads, each with two masks: the positions that count, and the tokens
    whose prediction does."""

    def __init__(
        self, lm: LoadedModel, contexts: Tensor, rule: Kept, batch_size: int, losses: CrossEntropy | None,
        check: Check,
    ) -> None:  # fmt: skip
        self.lm, self._contexts, self._check = lm, contexts, check
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
        """Before every forward."""
        if self._check is not None:
            self._check()


class _Measured:
    """An SAE at its place in the model, and the running sums of what it makes of the activations there."""

    def __init__(self, sae: SAE, read: HookPoint, written: HookPoint, scale: float, scale_out: float) -> None:
        self._sae, self._read, self._written = sae, read, written
        self._scale, self._scale_out = scale, scale_out
        self._device = next(sae.parameters()).device
        self.stats = ReconstructionStats(sae.d_out, sae.d_sae, self._device)

    def read_only(self, lm: LoadedModel, ids: Tensor, kept: Tensor) -> None:
        """Measure one batch; the model is not run further than that takes."""
        names = list(dict.fromkeys((self._read.name, self._written.name)))
        found = capture(lm.model, names, ids)
        x, target = (self._rows(found[name], kept) for name in (names[0], names[-1]))
        self._reconstruct(x, target)

    @contextmanager
    def spliced(self, kept: Tensor) -> Iterator[None]:
        """One forward inside has the reconstruction in place of the activations that are `kept`, and measures it."""
        seen: list[Tensor] = []

        def record(x: Tensor) -> None:
            seen[:] = [self._rows(x, kept)]

        def replace(x: Tensor) -> Tensor:
            target = self._rows(x, kept)
            if self._written is self._read:
                seen[:] = [target]
            if not seen:
                raise ConfigError(
                    f"The model computes {self._written.name} before {self._read.name}.", where="hook_name_out",
                    hint="A transcoder reads at hook_name and reconstructs what comes later.",
                )
            hat = self._reconstruct(seen[0], target)
            mixed = x.clone()
            mixed[kept.to(x.device)] = hat.to(x.device, x.dtype)
            return mixed

        with ExitStack() as stack:
            if self._written is not self._read:
                stack.enter_context(hooked(self._read, record))
            stack.enter_context(hooked(self._written, replace))
            yield

    def _rows(self, x: Tensor, kept: Tensor) -> Tensor:
        """``[batch, context, width]`` → the rows that count, ``[n, width]`` float32 on the SAE's device."""
        return x[kept.to(x.device)].to(self._device, torch.float32)

    def _reconstruct(self, rows: Tensor, target: Tensor) -> Tensor:
        """Reconstruct ``[n, d_in]`` in parts that bound the latents' memory, adding to the sums: ``[n, d_out]``."""
        step = max(1, LATENT_BYTES // (4 * self._sae.d_sae))
        parts = []
        for part, wanted in zip(rows.split(step), target.split(step), strict=True):
            scaled = part * self._scale
            latents = self._sae.encode(scaled)
            hat = self._sae.decode(latents, scaled).float() / self._scale_out
            self.stats.update(wanted, hat, latents)
            parts.append(hat)
        found = torch.cat(parts) if parts else target
        if len(found):
            self.stats.update_legacy(target, found)
        return found


def _filled(kept: Tensor, value: float | Tensor) -> Callable[[Tensor], Tensor]:
    """A hook that puts `value` (a number, or ``[width]``) in place of the activations that are kept."""

    def fill(x: Tensor) -> Tensor:
        mask = kept.to(x.device)[..., None]
        return torch.where(mask, torch.as_tensor(value, device=x.device, dtype=x.dtype), x)

    return fill


def _mean_at(batches: _Batches, point: HookPoint) -> Tensor:
    """The mean activation of the tokens that count, ``[width]`` float64; nan where there is none."""
    total = torch.zeros(point.width, dtype=torch.float64)
    number = 0
    with torch.no_grad():
        for ids, kept, _ in batches:
            batches.run_check()
            rows = capture(batches.lm.model, [point.name], ids)[point.name]
            rows = rows[kept.to(rows.device)]
            total += rows.double().sum(0).cpu()
            number += len(rows)
    return total / number
