"""One pass over held-out text: how well an SAE reconstructs, and what the language model loses by it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from saewidgets.config.positions import SeqposSlice
from saewidgets.evaluation.together import Baseline, Check, Evaluator, Subject
from saewidgets.lm import LoadedModel
from saewidgets.lm.token_mask import Kept
from saewidgets.sae import SAE
from saewidgets.sae.scaler import RAW, Scaler


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
        divergence: also the ``kl_div_…`` entries; they need what a `baseline` stands for.
        mean_ablation: also the cross-entropy with the mean activation in place of every one, which takes one more
            forward up to the hook point and one from there on.
        baseline: `Baseline.of` an earlier evaluation on the same contexts at the same place of the model. It does not
            depend on the SAE; with it, one forward is enough. Without it the model runs once as it is, and from the
            hook point on twice more: with the reconstruction, and with zeros.
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
        sae, lm, contexts, hook_name, hook_name_out=hook_name_out, scaler=scaler,
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
) -> tuple[dict[str, float], Tensor]:
    """`evaluate`, and the density of every latent: ``[d_sae]`` float64 on the CPU."""
    subject = Subject(sae, hook_name, hook_name_out, scaler, baseline)
    return Evaluator(lm).evaluate(
        [subject], contexts, rule=Kept(exclude_special_tokens, tuple(exclude_token_ids), seqpos_slice),
        batch_size=batch_size, cross_entropy=cross_entropy, divergence=divergence, mean_ablation=mean_ablation,
        check=check,
    )[0]  # fmt: skip
