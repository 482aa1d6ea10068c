"""Matching pursuit: latents are picked one after another, each from what the earlier ones left over of the input.

With the residual r = x̃ at first, and W_dec as encoder and decoder:

    i = argmax r W_decᵀ        v = ReLU(⟨r, W_dec,i⟩)        f_i += v        r -= v W_dec,i

A token is done when ‖r‖ falls below `residual_threshold`, when a pick adds no latent that was not active before, or
after `max_iterations` picks (default d_in). Only `W_dec` and `b_dec` are stored.
"""

import torch
from torch import Tensor, nn

from saewidgets.config.inference import MatchingPursuitConfig
from saewidgets.sae.base import LoadedSAE


class MatchingPursuitSAE(LoadedSAE):
    """Matching-pursuit autoencoder. `b_dec` takes part only where it is subtracted from the input."""

    architecture = "matching_pursuit"
    cfg: MatchingPursuitConfig

    def _add_weights(self) -> None:
        self.W_dec = nn.Parameter(torch.empty(self.d_sae, self.d_in))
        self.b_dec = nn.Parameter(torch.empty(self.d_in))

    @property
    def W_enc(self) -> Tensor:  # type: ignore[override]  # noqa: N802 - the field's name
        """[d_in, d_sae]: the decoder's transpose."""
        return self.W_dec.T

    def pre_activations(self, x: Tensor) -> Tensor:
        """What the first pick chooses from, ``(x - b_dec) @ W_decᵀ``: [..., d_sae]."""
        return self.encoder_input(x) @ self.W_dec.T

    def activate(self, pre: Tensor) -> Tensor:
        """Always raises `ConfigError`: later picks need the input, see `encode`."""
        self._refuse("choose their latents from the input, not from pre-activations: use encode")

    def encode(self, x: Tensor) -> Tensor:
        inputs = self.encoder_input(x)
        return self._pursue(inputs.reshape(-1, self.d_in)).view(*inputs.shape[:-1], self.d_sae)

    def _pursue(self, residual: Tensor) -> Tensor:
        """`residual` [batch, d_in] → latents [batch, d_sae]. Rows that are done leave the loop."""
        rows = torch.arange(residual.shape[0], device=residual.device)
        active = torch.zeros(residual.shape[0], self.d_sae, dtype=torch.bool, device=residual.device)
        picks: list[tuple[Tensor, Tensor, Tensor]] = []
        for _ in range(self.cfg.max_iterations or self.d_in):
            if not rows.numel():
                break
            with torch.no_grad():
                index = (residual @ self.W_dec.T).relu().argmax(1)
            chosen = self.W_dec[index]
            value = (residual * chosen).sum(1).relu()
            picks.append((rows, index, value))
            residual = residual - value[:, None] * chosen
            with torch.no_grad():
                done = torch.zeros_like(rows, dtype=torch.bool)
                if self.cfg.stop_on_duplicate_support:
                    done |= (value == 0) | active[rows, index]
                    active[rows, index] |= value != 0
                if self.cfg.residual_threshold > 0:
                    done |= residual.norm(dim=1) < self.cfg.residual_threshold
            rows, residual = rows[~done], residual[~done]
        f = residual.new_zeros(active.shape)
        if not picks:
            return f
        all_rows, indices, values = (torch.cat(parts) for parts in zip(*picks, strict=True))
        return f.index_put((all_rows, indices), values, accumulate=True)

    def _decode(self, f: Tensor) -> Tensor:
        y = f @ self.W_dec
        return y + self.b_dec if self.cfg.apply_b_dec_to_input else y

    def _fold(self, scale_in: float, scale_out: float) -> None:
        """Always raises `ConfigError`: encoder and decoder are one, so latents could not stay what they were."""
        self._refuse("encode with their decoder: a scale cannot be folded in without changing the latents")
