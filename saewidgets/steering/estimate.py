"""Quick estimates where no extraction has measured: how strongly features can fire, how long hidden states are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from saewidgets.errors import ConfigError
from saewidgets.lm import LoadedModel, capture, evaluating, special_tokens
from saewidgets.sae import SAE
from saewidgets.steering.change import LATENT_BYTES
from saewidgets.steering.source import SteeringSource, as_source


def estimate_max(
    sae: SAE | SteeringSource,
    lm: LoadedModel,
    contexts: Tensor,
    indices: Sequence[int],
    *,
    exclude_special_tokens: bool = True,
    max_norm_ratio: float | None = 10.0,
    batch_size: int = 16,
    check: Callable[[], None] | None = None,
) -> dict[int, float]:
    """The largest activation of some latents over some text: a lower bound of what an extraction would find.

    Args:
        sae: the autoencoder; left as it was.
        lm: the language model; left as it was.
        contexts: ``[n, context]`` token ids, without padding.
        indices: the latents.
        exclude_special_tokens: BOS and the like do not count.
        max_norm_ratio: nor do tokens whose norm is above so many times their batch's median (attention sinks); None
            counts all.
        batch_size: contexts per forward.
        check: called before every forward; what it raises ends the estimate.

    Returns:
        latent → its largest activation, in the SAE's units; 0 where it did not fire.

    Raises:
        ConfigError: there is no such latent or no text, or the SAE does not fit the model.
        HookError: the model has no such place.
    """
    source = as_source(sae)
    point, _ = source.points(lm.model)
    module = source.sae
    if wrong := [each for each in indices if not 0 <= each < module.d_sae]:
        raise ConfigError(
            f"There is no feature {wrong[0]}: the SAE has {module.d_sae:,}.", where="indices",
            hint=f"Choose from 0 to {module.d_sae - 1}.",
        )
    if contexts.dim() != 2 or not contexts.numel():
        raise ConfigError(
            f"contexts is of shape {tuple(contexts.shape)}.", where="contexts", hint="Give token ids, [n, context]."
        )
    device = module.W_dec.device
    special = torch.tensor(special_tokens(lm.tokenizer).all if exclude_special_tokens else (), dtype=contexts.dtype)
    chosen = torch.tensor(list(indices), dtype=torch.int64, device=device)
    largest = torch.zeros(len(chosen), device=device, dtype=module.W_dec.dtype)
    rows = max(1, LATENT_BYTES // (4 * module.d_sae * contexts.shape[1]))
    with evaluating(module), torch.no_grad():
        for ids in contexts.split(batch_size):
            if check is not None:
                check()
            x = capture(lm.model, [point.name], ids)[point.name].to(device)
            kept = ~torch.isin(ids, special.to(ids.device)).to(device)
            if max_norm_ratio is not None and bool(kept.any()):
                norms = x.float().norm(dim=-1)
                kept &= norms <= max_norm_ratio * norms[kept].median()
            for part, mask in zip(x.split(rows), kept.split(rows), strict=True):
                f = module.encode(part)[..., chosen]
                largest = torch.maximum(largest, (f * mask[..., None]).flatten(0, -2).amax(0))
    return dict(zip(indices, largest.tolist(), strict=True))


def typical_norm(source: SAE | SteeringSource, lm: LoadedModel, contexts: Tensor) -> float:
    """The median length of the hidden states that steering with an SAE changes; one forward.

    Args:
        source: the SAE; of a transcoder it is its output's place.
        lm: the language model; left as it was.
        contexts: ``[n, context]`` token ids, without padding; special tokens do not count.

    Returns:
        the median of ‖h‖; 0 where no token counts.
    """
    _, point = as_source(source).points(lm.model)
    x = capture(lm.model, [point.name], contexts)[point.name]
    special = torch.tensor(special_tokens(lm.tokenizer).all, dtype=contexts.dtype)
    norms = x.float().norm(dim=-1)[~torch.isin(contexts, special).to(x.device)]
    return float(norms.median()) if norms.numel() else 0.0
