"""Defines `LatentChange`, what steering adds to a hidden state.

With f = encode(x), f′ the requested latents and decode affine in f for a given x, the change is

    Δ = decode(f′, x) − decode(f, x) = (f′ − f) W_dec, in the units of the raw activation at that token

so the part of x that the SAE does not explain, ε = x − decode(f, x), stays. Only the rows of the latents that change
are multiplied. What follows the decoder is done as the SAE does it: a run-time normalisation of the input makes the
change σ or 1/c times as large at that token; b_dec, a skip path and a prediction from earlier tokens cancel.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from saewidgets.config.inference import TemporalConfig
from saewidgets.config.sae import AnyTranscoderConfig
from saewidgets.config.steering import ADDITIVE, SteeringFeature
from saewidgets.errors import ConfigError
from saewidgets.feature_records import check_index
from saewidgets.lm import LoadedModel, capture, evaluating, special_tokens
from saewidgets.sae import SAE
from saewidgets.sae.inputs import restore
from saewidgets.steering.features import SteeringSource, as_source


# Quick estimates where no extraction has measured: how strongly features can fire, how long hidden states are.
def estimate_max(
    sae: SAE | SteeringSource,
    lm: LoadedModel,
    contexts: Tensor,
    indices: Sequence[int],
    *,
    max_norm_ratio: float | None = 10.0,
    batch_size: int = 16,
) -> dict[int, float]:
    """Latent → its largest activation over `contexts` ``[n, context]`` of token ids: a lower bound of what an
    extraction would find. Special tokens do not count, nor tokens whose norm is above `max_norm_ratio` times their
    batch's median (attention sinks)."""
    source = as_source(sae)
    point, _ = source.points(lm.model)
    module = source.sae
    for index in indices:
        check_index(index, module.d_sae, "indices", "the SAE")
    if contexts.dim() != 2 or not contexts.numel():
        raise ConfigError(
            f"contexts is of shape {tuple(contexts.shape)}.", where="contexts", hint="Give token ids, [n, context]."
        )
    device = module.W_dec.device
    special = torch.tensor(special_tokens(lm.tokenizer).all, dtype=contexts.dtype)
    chosen = torch.tensor(list(indices), dtype=torch.int64, device=device)
    largest = torch.zeros(len(chosen), device=device, dtype=module.W_dec.dtype)
    rows = max(1, LATENT_BYTES // (4 * module.d_sae * contexts.shape[1]))
    with evaluating(module), torch.no_grad():
        for ids in contexts.split(batch_size):
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
    """The median ‖h‖ of the hidden states that steering with an SAE changes, over the tokens of `contexts` ``[n,
    context]`` that are not special; 0 where there is none."""
    _, point = as_source(source).points(lm.model)
    x = capture(lm.model, [point.name], contexts)[point.name]
    special = torch.tensor(special_tokens(lm.tokenizer).all, dtype=contexts.dtype)
    norms = x.float().norm(dim=-1)[~torch.isin(contexts, special).to(x.device)]
    return float(norms.median()) if norms.numel() else 0.0


LATENT_BYTES = 1 << 27  # most memory for latents at once


class LatentChange:
    """The change that some features of one SAE make. Their changes add up, all computed from the same f. Raises
    `ConfigError` where the latents of a temporal SAE, which need the whole context, would have to be read."""

    def __init__(self, sae: SAE, features: Sequence[SteeringFeature]) -> None:
        self._sae = sae
        weights = sae.W_dec.detach()

        def vector(values: Sequence[float]) -> Tensor:
            return torch.tensor(list(values), dtype=weights.dtype, device=weights.device)

        self._index = torch.tensor([each.index for each in features], device=weights.device)
        self._rows = weights[self._index]
        # δ = added + where(f > 0 or not conditional) · (value · constant + (factor − 1) · f)
        self._added = vector([each.alpha or 0.0 for each in features])
        self._value = vector([each.strength if each.mode.endswith("clamp") else 0.0 for each in features])
        self._slope = vector([_slope(each) for each in features])
        self._conditional = torch.tensor([each.mode == "conditional_clamp" for each in features]).to(weights.device)
        self.reads_latents = any(each.mode not in ADDITIVE for each in features)
        self._needs_x = self.reads_latents or _is_scaled(sae)
        if self.reads_latents and isinstance(sae.cfg, TemporalConfig):
            raise ConfigError(
                "The latents of a temporal SAE depend on all tokens before, which are not at hand while generating.",
                where="mode", hint='Use mode "add_max" or "add".',
            )

    def __call__(self, x: Tensor) -> Tensor:
        """Δ for every token of what the SAE reads, ``[..., d_in]`` → ``[..., d_out]`` in the dtype of the SAE's
        weights."""
        with torch.autocast(self._rows.device.type, enabled=False):
            if not self._needs_x:
                return (self._added @ self._rows).expand(*x.shape[:-1], self._rows.shape[1])
            rows = x.reshape(-1, x.shape[-1]).to(self._rows.device, self._rows.dtype)
            most = max(1, LATENT_BYTES // (4 * self._sae.d_sae)) if self.reads_latents else max(1, len(rows))
            change = torch.cat([self._of(part) for part in rows.split(most)])
            return change.view(*x.shape[:-1], -1)

    def _of(self, x: Tensor) -> Tensor:
        """Δ ``[n, d_out]`` of rows ``[n, d_in]``."""
        change = self._added.expand(len(x), -1)
        if self.reads_latents:
            with evaluating(self._sae):
                f = self._sae.encode(x)[:, self._index]
            change = change + (self._value + self._slope * f) * (~self._conditional | (f > 0))
        return _in_raw_units(self._sae, change @ self._rows, x)


def _slope(feature: SteeringFeature) -> float:
    """How the change of the latent depends on the latent itself."""
    if feature.mode in ADDITIVE:
        return 0.0
    return feature.strength - 1 if feature.mode == "scale" else -1.0


def _is_scaled(sae: SAE) -> bool:
    """Whether what the decoder puts out is multiplied by something that depends on the token."""
    # The output of a transcoder is not brought back to the scale of its input.
    return sae.cfg.normalize_activations != "none" and not isinstance(sae.cfg, AnyTranscoderConfig)


def _in_raw_units(sae: SAE, y: Tensor, x: Tensor) -> Tensor:
    """A difference `y` ``[n, d_out]`` of two outputs of the decoder, in the units of the raw activations `x`."""
    if not _is_scaled(sae):
        return y
    kind: str = sae.cfg.normalize_activations
    if isinstance(sae.cfg, TemporalConfig) and kind == "constant_scalar_rescale":
        return y / sae.cfg.activation_normalization_factor
    return restore(kind, y, x) - restore(kind, torch.zeros_like(y), x)
