"""Temporal: attention over earlier tokens predicts a part of each token's latents; the rest is encoded as novel
(arXiv:2511.01836). Defined as in SAELens 6.54.

With λ = 1 / (4 d_in), the residual r = x̃ at first, and the encoder the decoder's transpose where weights are tied,
every attention layer takes its prediction p out of the residual:

    z = ReLU(λ r W_enc)        p = ReLU(Attention(z of the token before, z))        d = p W_dec
    s = ⟨d, r⟩ / (‖d‖ + 1e-6)²        predicted += s p        r -= s d

Then novel latents are ReLU(λ r W_enc), of which `kval_topk` are kept. `encode` gives the novel ones; the reconstruction
is ``(novel + predicted) W_dec``, with `b_dec` where weights are not tied or the input is centred.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from saewidgets.config.inference import TemporalConfig
from saewidgets.errors import ConfigError
from saewidgets.sae.base import LoadedSAE
from saewidgets.sae.inputs import require_activations
from saewidgets.sae.topk import top_k


class _Attention(nn.Module):
    """Causal attention from each token's latents to those of the tokens before; all widths are d_sae, but for queries
    and keys, which are d_sae / bottleneck_factor wide."""

    def __init__(self, cfg: TemporalConfig) -> None:
        super().__init__()
        narrow = cfg.d_sae // cfg.bottleneck_factor
        self.heads = cfg.n_heads
        self.k_ctx = nn.Linear(cfg.d_sae, narrow)
        self.q_target = nn.Linear(cfg.d_sae, narrow)
        self.v_ctx = nn.Linear(cfg.d_sae, cfg.d_sae)
        self.c_proj = nn.Linear(cfg.d_sae, cfg.d_sae)

    def forward(self, before: Tensor, z: Tensor) -> Tensor:
        """`before` and `z` [batch, context, d_sae] → the same shape."""
        mixed = scaled_dot_product_attention(
            self._split(self.q_target(z)), self._split(self.k_ctx(before)), self._split(self.v_ctx(before)),
            is_causal=True,
        )
        out: Tensor = self.c_proj(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (self.heads, -1))
        return heads.transpose(1, 2)


class TemporalSAE(LoadedSAE):
    """Temporal autoencoder over whole contexts: `x` [batch, context, d_in], without padding."""

    architecture = "temporal"
    cfg: TemporalConfig
    attn_layers: nn.ModuleList

    def _add_weights(self) -> None:
        if not self.cfg.tied_weights:
            self.W_enc = nn.Parameter(torch.empty(self.d_in, self.d_sae))
        self.W_dec = nn.Parameter(torch.empty(self.d_sae, self.d_in))
        self.b_dec = nn.Parameter(torch.empty(self.d_in))
        self.attn_layers = nn.ModuleList(_Attention(self.cfg) for _ in range(self.cfg.n_attn_layers))

    def __getattr__(self, name: str) -> Any:
        if name == "W_enc" and self.cfg.tied_weights:
            return self.W_dec.T
        return super().__getattr__(name)

    @property
    def needs_input(self) -> bool:
        return True

    def encoder_input(self, x: Tensor) -> Tensor:
        require_activations(x, "x")
        if x.dim() != 3:
            raise ConfigError(
                f"x has {x.dim()} dimensions, but a temporal SAE reads whole contexts.", where="x",
                hint=f"Give [batch, context, {self.d_in}], the tokens of each context in order.",
            )
        return super().encoder_input(x)

    def pre_activations(self, x: Tensor) -> Tensor:
        """Pre-activations of the novel latents: what prediction left over, times λ W_enc: [batch, context, d_sae]."""
        return self._scaled(self._predict(self.encoder_input(x))[1])

    def activate(self, pre: Tensor) -> Tensor:
        if self.cfg.sae_diff_type == "topk" and self.cfg.kval_topk is not None:
            return top_k(pre, self.cfg.kval_topk)
        return pre.relu()

    def forward(self, x: Tensor) -> Tensor:
        inputs = self.encoder_input(x)
        predicted, rest = self._predict(inputs)
        y = self._decode(self.activate(self._scaled(rest))) + predicted @ self.W_dec
        return self._rescaled(y, x.to(y.dtype)).to(x.dtype)

    def _scaled(self, rest: Tensor) -> Tensor:
        return (rest / (4 * self.d_in)) @ self.W_enc

    def _predict(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The latents that the earlier tokens predict [batch, context, d_sae], and what is left of the input."""
        predicted = inputs.new_zeros(*inputs.shape[:-1], self.d_sae)
        for layer in self.attn_layers:
            z = self._scaled(inputs).relu()
            before = torch.cat([torch.zeros_like(z[:, :1]), z[:, :-1]], dim=1)
            p = layer(before, z).relu()
            direction = p @ self.W_dec
            length = direction.norm(dim=-1, keepdim=True) + 1e-6
            share = (direction * inputs).sum(-1, keepdim=True) / length.square()
            predicted = predicted + share * p
            inputs = inputs - share * direction
        return predicted, inputs

    def _decode(self, f: Tensor) -> Tensor:
        y = f @ self.W_dec
        return y + self.b_dec if self.cfg.apply_b_dec_to_input or not self.cfg.tied_weights else y

    def _restore(self, y: Tensor, x: Tensor) -> Tensor:
        return self._rescaled(y + self._predict(self.encoder_input(x))[0] @ self.W_dec, x)

    def _rescaled(self, y: Tensor, x: Tensor) -> Tensor:
        if self.cfg.normalize_activations == "constant_scalar_rescale":
            return y / self.cfg.activation_normalization_factor
        return super()._restore(y, x)

    def _normalise(self, x: Tensor) -> Tensor:
        if self.cfg.normalize_activations == "constant_scalar_rescale":
            return x * self.cfg.activation_normalization_factor
        return super()._normalise(x)

    def _fold(self, scale_in: float, scale_out: float) -> None:
        """Always raises `ConfigError`: predictions do not scale with the input."""
        self._refuse("predict from activations of their own scale: none can be folded in")
