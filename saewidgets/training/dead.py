"""Dead latents: those that did not fire in the last N training tokens.

N is a number of tokens, not of steps, so that the number means the same at every batch size. A latent is never called
dead before N tokens were seen: until then nobody can know.
"""

from __future__ import annotations

import torch
from torch import Tensor


class DeadLatents:
    """Counts, per latent, the tokens since it last fired.

    The resolution is one optimiser step: a latent that fired anywhere in a step counts as having fired at its end.

    Args:
        d_sae: number of latents.
        window: the latents that did not fire in this many tokens are dead.
        device: where the counter lives, next to the SAE, so that updating it never waits for the device.
    """

    def __init__(self, d_sae: int, window: int, device: torch.device | str = "cpu") -> None:
        self.window = window
        self.tokens_since_fired = torch.zeros(d_sae, dtype=torch.int64, device=device)

    def update(self, fired: Tensor, tokens: int) -> None:
        """Record one step of `tokens` tokens; `fired` is bool [d_sae]."""
        self.tokens_since_fired.add_(tokens).masked_fill_(fired, 0)

    def mask(self, tokens_seen: int) -> Tensor | None:
        """Which latents are dead, bool [d_sae]; None while fewer than `window` tokens were seen (so none can be)."""
        return self.tokens_since_fired >= self.window if tokens_seen >= self.window else None

    def share(self, tokens_seen: int) -> Tensor | None:
        """Dead latents / all latents, as a 0-d float32 tensor on the counter's device; None where `mask` is."""
        dead = self.mask(tokens_seen)
        return None if dead is None else dead.float().mean()

    def load(self, tokens_since_fired: Tensor) -> None:
        """Take over the counter of a checkpoint, int64 [d_sae]."""
        self.tokens_since_fired.copy_(tokens_since_fired)
