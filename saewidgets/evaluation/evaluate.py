"""One pass over held-out text: how well an SAE reconstructs, and what the language model loses by it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from saewidgets.errors import ConfigError
from saewidgets.evaluation.ce import CrossEntropy, ce_loss_score
from saewidgets.evaluation.metrics import ReconstructionStats
from saewidgets.lm import LoadedModel, capture, check_context, evaluating, hooked, resolve_hook, special_tokens
from saewidgets.sae import SAE

LATENT_BYTES = 1 << 28  # most memory for latents at once


def evaluate(
    sae: SAE,
    lm: LoadedModel,
    contexts: Tensor,
    hook_name: str,
    *,
    scale: float = 1.0,
    exclude_special_tokens: bool = True,
    batch_size: int = 16,
    cross_entropy: bool = True,
    baseline: Baseline | None = None,
    check: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Evaluate `sae` at `hook_name` on `contexts`.

    Args:
        sae: the autoencoder; it runs in evaluation mode (its threshold decides, for BatchTopK) and is left as it was.
        lm: the language model; left as it was.
        contexts: ``[n, context]`` token ids.
        hook_name: where the SAE belongs.
        scale: the SAE sees ``scale · x`` and its output is divided by it: the factor of a run whose scale is not yet
            folded into the weights. All numbers are in the units of the raw activations, but `l1`, which is in the
            SAE's own.
        exclude_special_tokens: leave special tokens out of every number (see `saewidgets.evaluation.ce` for what that
            means for the cross-entropy).
        batch_size: contexts per forward of the language model.
        cross_entropy: False leaves the ``ce_…`` entries out, and with them two of three forwards. They are absent in
            any case for a model that does not predict the next token (`LoadedModel.is_causal`), such as BERT.
        baseline: what `measure_baseline` returned for the same model, contexts and hook point. It does not depend on
            the SAE; with it, one forward is enough instead of three.
        check: called before every forward; what it raises ends the evaluation.

    Returns:
        `fvu`, `mse`, `l0`, `l1`, `cosine`, `l2_ratio`, `dead`, `density_…`, `n_tokens` as defined in
        `saewidgets.evaluation.metrics`, and `ce_loss_clean`, `ce_loss_sae`, `ce_loss_zero` (nats per token),
        `ce_loss_score`. A ratio of which the denominator is zero is nan.

    Raises:
        HookError: the model has no such hook point.
        ConfigError: the SAE has another width, contexts are longer than the model reads, or no token is left to
            evaluate on.
    """
    point = resolve_hook(lm.model, hook_name)
    if sae.d_in != point.width:
        raise ConfigError(
            f"The SAE's d_in is {sae.d_in:,}, but activations at {hook_name} have width {point.width:,}.", where="d_in",
            hint="Choose the SAE's own model and hook_name.",
        )
    if sae.is_transcoder:
        raise ConfigError(
            "A transcoder reconstructs another place in the model than the one it reads.", where="sae",
            hint="Evaluate an SAE that reconstructs its input.",
        )
    check_context(lm.name, lm.context, contexts.shape[-1], "contexts")
    device = next(sae.parameters()).device
    special = torch.tensor(special_tokens(lm.tokenizer).all if exclude_special_tokens else (), dtype=contexts.dtype)
    stats = ReconstructionStats(sae.d_in, sae.d_sae, device)
    cross_entropy = cross_entropy and lm.is_causal
    if cross_entropy and baseline is None:
        baseline = measure_baseline(
            lm, contexts, hook_name, exclude_special_tokens=exclude_special_tokens, batch_size=batch_size, check=check
        )
    loss = CrossEntropy(lm) if cross_entropy else None
    batch_size = min(batch_size, loss.batch_limit(contexts.shape[1])) if loss is not None else batch_size
    total = 0.0
    predictions = 0
    with evaluating(sae), torch.no_grad():
        for ids in contexts.split(batch_size):
            kept = ~torch.isin(ids, special)
            _run(check)
            if loss is None:
                x = capture(lm.model, [hook_name], ids)[hook_name]
                _reconstruct(sae, x[kept.to(x.device)].to(device, torch.float32), scale, stats)
                continue

            def splice(x: Tensor, kept: Tensor = kept) -> Tensor:
                mask = kept.to(x.device)
                hat = _reconstruct(sae, x[mask].to(device, torch.float32), scale, stats)
                mixed = x.clone()
                mixed[mask] = hat.to(x.device, x.dtype)
                return mixed

            with hooked(point, splice):
                lost, number = loss.sums(ids, kept)
            total += lost
            predictions += number
    result = stats.result()
    if not stats.n_tokens:
        raise ConfigError(
            "There is no token to evaluate on.", where="contexts", hint="Give text with more than special tokens."
        )
    if cross_entropy and baseline is not None:
        spliced = total / predictions if predictions else math.nan
        result |= {"ce_loss_clean": baseline.clean, "ce_loss_sae": spliced, "ce_loss_zero": baseline.zero}
        result["ce_loss_score"] = ce_loss_score(baseline.clean, spliced, baseline.zero)
    return result


@dataclass(frozen=True, slots=True)
class Baseline:
    """Cross-entropy of the language model by itself, and with zeros at the hook point: nats per token."""

    clean: float
    zero: float


def measure_baseline(
    lm: LoadedModel,
    contexts: Tensor,
    hook_name: str,
    *,
    exclude_special_tokens: bool = True,
    batch_size: int = 16,
    check: Callable[[], None] | None = None,
) -> Baseline:
    """The part of an evaluation that is the same for every SAE; arguments as in `evaluate`."""
    point = resolve_hook(lm.model, hook_name)
    check_context(lm.name, lm.context, contexts.shape[-1], "contexts")
    special = torch.tensor(special_tokens(lm.tokenizer).all if exclude_special_tokens else (), dtype=contexts.dtype)
    loss = CrossEntropy(lm)
    batch_size = min(batch_size, loss.batch_limit(contexts.shape[1]))
    clean = zero = 0.0
    predictions = 0
    with torch.no_grad():
        for ids in contexts.split(batch_size):
            kept = ~torch.isin(ids, special)
            _run(check)
            lost, number = loss.sums(ids, kept)
            clean += lost
            predictions += number
            _run(check)
            with hooked(point, lambda x, kept=kept: x.masked_fill(kept.to(x.device)[..., None], 0)):  # type: ignore[misc]
                zero += loss.sums(ids, kept)[0]
    if not predictions:
        return Baseline(math.nan, math.nan)
    return Baseline(clean / predictions, zero / predictions)


def _run(check: Callable[[], None] | None) -> None:
    if check is not None:
        check()


def _reconstruct(sae: SAE, rows: Tensor, scale: float, stats: ReconstructionStats) -> Tensor:
    """Reconstruct ``[n, d_in]`` in parts that bound the latents' memory, adding to `stats`."""
    step = max(1, LATENT_BYTES // (4 * sae.d_sae))
    parts = []
    for part in rows.split(step):
        scaled = part * scale
        latents = sae.encode(scaled)
        hat = sae.decode(latents, scaled).float() / scale
        stats.update(part, hat, latents)
        parts.append(hat)
    return torch.cat(parts) if parts else rows
