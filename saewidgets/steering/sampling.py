"""Choosing the next token so that two runs differ only where their distributions do.

Both runs draw with the same random numbers: step t of every run with the same seed adds the same Gumbel noise to the
log-probabilities and takes the largest (Gumbel 1954; the same as sampling from the softmax). A token then changes only
if steering makes another one more likely by more than the noise lets it lead, while drawing from the two distributions
with one uniform number would let a shift anywhere in the vocabulary change the outcome.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Sampler:
    """Draws tokens, one after another, from a generator of its own.

    Args:
        temperature: 0 takes the likeliest token.
        top_p: sample from the smallest set of likeliest tokens that together have this probability (Holtzman et al.
            2020), after the temperature.
        seed: fixes the noise, on any device.
    """

    def __init__(self, temperature: float, top_p: float, seed: int) -> None:
        self._temperature, self._top_p = temperature, top_p
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, logits: Tensor) -> int:
        """The next token for logits ``[vocabulary]``."""
        logits = logits.float()
        if self._temperature == 0:
            return int(logits.argmax())
        logits = logits / self._temperature
        noise = torch.empty(len(logits)).exponential_(generator=self._generator).log_().neg_().to(logits.device)
        return int((self._likeliest(logits) + noise).argmax())

    def _likeliest(self, logits: Tensor) -> Tensor:
        if self._top_p >= 1:
            return logits
        ordered, order = logits.sort(descending=True)
        # A token stays if those above it have less than top_p together; the first always does.
        before = ordered.softmax(0).cumsum(0) - ordered.softmax(0)
        dropped = before >= self._top_p
        dropped[0] = False
        return logits.masked_fill(torch.zeros_like(dropped).scatter(0, order, dropped), float("-inf"))
