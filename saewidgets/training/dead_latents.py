"""Resampling: dead latents start anew from inputs that are reconstructed badly (Bricken et al. 2023, "Neuron
Resampling").

Rows of the batch that was just trained on are drawn without replacement, each with a probability proportional to the
square of its squared error. One row gives one dead latent

- its decoder vector: the direction of what is to be reconstructed (less b_dec), with the mean norm of living latents;
- its encoder vector: the direction of what the encoder sees, with `encoder_scale` times their mean norm;
- zero as its bias, and in every other parameter that has one number per latent (a threshold, a gate) what it had when
  training began; where biases and thresholds started from the data, the mean of living latents in all of them.

Adam's moments of all of these are zeroed, and the latent counts as having fired now. Where more latents are dead than
the batch has usable rows, the rest wait for the next time. Everything is a function of step, seed, weights and batch,
so a resumed run draws the same rows.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saewidgets.config.training import ResamplingConfig
from saewidgets.sae import SAE
from saewidgets.sae.mesh import ALONE, Group
from saewidgets.training.optimizer import Adam

_KIND = 0x7E5A  # tells this use of the seed from the stream's
_WEIGHTS = frozenset({"W_enc", "W_dec", "b_dec"})


class Resampler:
    """When and how the dead latents of `sae` start anew; what its thresholds and gates begin with is kept."""

    def __init__(self, config: ResamplingConfig, sae: SAE, steps: int, seed: int) -> None:
        self._config, self._sae, self._seed = config, sae, seed
        self._last = int(steps * config.until_share)
        self._initial = {
            name: parameter.detach().clone()
            for name, parameter in sae.named_parameters()
            if name not in _WEIGHTS and parameter.shape == (sae.d_sae,)
        }

    def is_due(self, step: int) -> bool:
        every = self._config.every_steps
        return every is not None and step % every == 0 and 0 < step <= self._last

    @torch.no_grad()
    def resample(self, step: int, x: Tensor, target: Tensor, errors: Tensor, dead: Tensor, adam: Adam) -> Tensor:
        """Give dead latents new weights, by the squared `errors` [rows] of what the SAE reads and reconstructs. Returns
        those of this worker's that got some, int64; empty where none could be."""
        sae = self._sae
        seen = sae.encoder_input(x)
        wanted = sae.decoder_target(x, target) - sae.b_dec
        usable = (seen.norm(dim=1) > 0) & (wanted.norm(dim=1) > 0)
        mesh, held = sae.mesh, len(dead)
        every = torch.cat(mesh.latents.gather(dead))
        latents, rows = self._draw(step, torch.where(usable, errors, 0.0), every)
        if not len(latents):
            return latents
        living = ~dead if bool((~every).any()) else torch.ones_like(dead)
        number = mesh.latents.add(living.sum())

        def mean(of_living: Tensor) -> Tensor:
            return of_living.mean() if mesh.latents.size == 1 else mesh.latents.add(of_living.sum()) / number

        decoder_norm = mean(sae.W_dec[living].norm(dim=1))
        encoder_norm = mean(sae.W_enc[:, living].norm(dim=0)) * self._config.encoder_scale
        latents = latents - mesh.latents.rank * held
        here = (latents >= 0) & (latents < held)
        latents, rows = latents[here], rows[here]
        sae.W_dec[latents] = _unit(wanted[rows]) * decoder_norm
        sae.W_enc[:, latents] = (_unit(seen[rows]) * encoder_norm).T
        changed: dict[str, Any] = {"W_dec": latents, "W_enc": (slice(None), latents)}
        for name, initial in self._initial.items():
            parameter = sae.get_parameter(name)
            parameter[latents] = mean(parameter[living]) if sae.cfg.start_from_data else initial.to(parameter)[latents]
            changed[name] = latents
        adam.forget(changed)
        return latents

    def _draw(self, step: int, errors: Tensor, dead: Tensor) -> tuple[Tensor, Tensor]:
        """Dead latents and the rows they take, of equal number. Drawn on the CPU: the same on every device."""
        weights = errors.double().square().cpu().numpy()
        candidates = dead.nonzero().view(-1).cpu().numpy()
        total = float(weights.sum())
        possible = int(np.count_nonzero(weights)) if 0 < total < float("inf") else 0
        count = min(len(candidates), possible)
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self._seed, _KIND, step])))
        latents = np.sort(generator.permutation(candidates)[:count])
        rows = generator.choice(len(weights), size=count, replace=False, p=weights / total) if count else latents
        device = self._sae.W_dec.device
        return torch.from_numpy(latents).to(device), torch.from_numpy(rows.astype(np.int64)).to(device)


def _unit(rows: Tensor) -> Tensor:
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True)
    return unit


# Dead latents: those that did not fire in the last N training tokens.
#
# N is a number of tokens, not of steps, so that the number means the same at every batch size. A latent is never called
# dead before N tokens were seen: until then it is unknown.
class DeadLatents:
    """Counts, per latent, the tokens since it last fired; those that did not fire in `window` tokens are dead. The
    resolution is one optimiser step: a latent that fired anywhere in a step counts as having fired at its end."""

    def __init__(self, d_sae: int, window: int, device: torch.device | str = "cpu") -> None:
        self.window = window
        self.tokens_since_fired = torch.zeros(d_sae, dtype=torch.int64, device=device)
        self._counts: deque[_Count] = deque(maxlen=2)
        self._is_counted = self.tokens_since_fired.is_cuda

    def update(self, fired: Tensor, tokens: int) -> None:
        self.tokens_since_fired.add_(tokens).masked_fill_(fired, 0)
        if self._is_counted:
            count = (self.tokens_since_fired >= self.window - tokens).sum().to("cpu", non_blocking=True)
            event = torch.cuda.current_stream(fired.device).record_event() if fired.is_cuda else None
            self._counts.append(_Count(count, event))

    @property
    def at_most(self) -> int | None:
        """On a GPU how many latents can be dead in the next step: that was counted two updates ago, so nothing waits
        for the update before. None where nothing was counted."""
        return self._counts[0].read() if len(self._counts) == 2 else None

    def mask(self, tokens_seen: int) -> Tensor | None:
        """Which latents are dead, bool [d_sae]; None while fewer than `window` tokens were seen (so none can be)."""
        return self.tokens_since_fired >= self.window if tokens_seen >= self.window else None

    def share(self, tokens_seen: int, latents: Group = ALONE.latents) -> Tensor | None:
        """Dead latents / all latents, as a 0-d float32 tensor on the counter's device; None where `mask` is. `latents`:
        the workers that hold the others."""
        return self.unfired(self.window, latents) if tokens_seen >= self.window else None

    def unfired(self, tokens: int, latents: Group = ALONE.latents) -> Tensor:
        """The share of latents that did not fire in the last `tokens` tokens, as a 0-d float32 tensor."""
        share: Tensor = latents.add((self.tokens_since_fired >= tokens).float().mean()) / latents.size
        return share

    def counts(self) -> list[int]:
        """What `at_most` will be, for `load`: shapes follow from it, and from those how sums are rounded."""
        return [count.read() for count in self._counts]

    def load(self, tokens_since_fired: Tensor, counts: Iterable[int] = ()) -> None:
        self.tokens_since_fired.copy_(tokens_since_fired)
        if self._is_counted:
            self._counts.extend(_Count(torch.tensor(count)) for count in counts)


@dataclass(frozen=True, slots=True)
class _Count:
    """A number that arrives from the device at `event`."""

    value: Tensor
    event: Any = None

    def read(self) -> int:
        if self.event is not None:
            self.event.synchronize()
        return int(self.value)
