"""Defines `PlacedSAE`, an SAE at its hook point in a model: it reads the activations there or replaces them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from saewidgets.errors import ConfigError
from saewidgets.evaluation.metrics import ReconstructionStats
from saewidgets.lm import HookPoint, LoadedModel, evaluating, hooked, resolve_hook
from saewidgets.sae import SAE
from saewidgets.sae.scaler import RAW, Scaler

LATENT_BYTES = 1 << 28  # most memory for latents at once


class PlacedSAE:
    """An SAE where it reads and writes, and the running sums of how well it reconstructs; arguments as in
    `evaluate`."""

    def __init__(self, sae: SAE, lm: LoadedModel, hook_name: str, hook_name_out: str | None, scaler: Scaler) -> None:
        self.sae = sae
        self.read, self.written = _points(sae, lm, hook_name, hook_name_out)
        self._device = next(sae.parameters()).device
        self._scaler = scaler.to(self._device)
        self.stats = ReconstructionStats(sae.d_out, sae.d_sae, self._device)

    def take(self, found: Mapping[str, Tensor], kept: Tensor) -> Tensor:
        """Measure one batch of activations by hook name, in the order in which the model computed them; returns what
        takes the place of those at `written`. Tokens that are not `kept` keep their own activation."""
        names = list(found)
        at_once = self.written.place.name == self.read.place.name  # heads of one layer
        if not at_once and names.index(self.written.name) < names.index(self.read.name):
            raise self._too_late()
        x, target = found[self.read.name], found[self.written.name]
        return self._mixed(self._rows(x, kept), target, kept)

    @contextmanager
    def spliced(self, kept: Tensor) -> Iterator[None]:
        """The same within one forward inside."""
        seen: list[Tensor] = []

        def record(x: Tensor) -> None:
            seen[:] = [self._rows(x, kept)]

        def replace(x: Tensor) -> Tensor:
            if self.written is self.read:
                record(x)
            if not seen:
                raise self._too_late()
            return self._mixed(seen[0], x, kept)

        with ExitStack() as stack:
            if self.written is not self.read:
                stack.enter_context(hooked(self.read, record))
            stack.enter_context(hooked(self.written, replace))
            yield

    def _mixed(self, rows: Tensor, x: Tensor, kept: Tensor) -> Tensor:
        """The activations `x` ``[batch, context, d_out]`` with the reconstruction from `rows` where they are kept."""
        hat = _reconstruct(self.sae, self._scaler, self.stats, rows, self._rows(x, kept))
        mixed = x.clone()
        mixed[kept.to(x.device)] = hat.to(x.device, x.dtype)
        return mixed

    def _rows(self, x: Tensor, kept: Tensor) -> Tensor:
        """``[batch, context, width]`` → the rows that count, ``[n, width]`` float32 on the SAE's device."""
        return x[kept.to(x.device)].to(self._device, torch.float32)

    def _too_late(self) -> ConfigError:
        return ConfigError(
            f"The model computes {self.written.name} before {self.read.name}.", where="hook_name_out",
            hint="A transcoder reads at hook_name and reconstructs what comes later.",
        )


def _reconstruct(sae: SAE, scaler: Scaler, stats: ReconstructionStats, rows: Tensor, target: Tensor) -> Tensor:
    """Reconstruct ``[n, d_in]`` in parts that bound the latents' memory, adding to the sums: ``[n, d_out]``."""
    step = max(1, LATENT_BYTES // (4 * sae.d_sae))
    parts = []
    # As within a forward of the model, whatever the caller's code runs under.
    with torch.autocast(rows.device.type, enabled=False):
        for part, wanted in zip(rows.split(step), target.split(step), strict=True):
            scaled = scaler.apply(part)
            reconstruction, latents = sae.reconstruct(scaled)
            parts.append(scaler.undo(reconstruction.float()))
            stats.update(wanted, parts[-1], latents)
    found = torch.cat(parts) if parts else target
    if len(found):
        stats.update_legacy(target, found)
    return found


def check_places(sae: SAE, hook_name: str, hook_name_out: str | None) -> None:
    """Raise `ConfigError` where these are not the hook points of such an SAE: one is missing, or one too many."""
    if sae.is_transcoder and hook_name_out is None:
        raise ConfigError(
            "A transcoder reconstructs a different place in the model from the one it reads.", where="hook_name_out",
            hint='Give it: hook_name_out="blocks.6.hook_mlp_out".',
        )
    if not sae.is_transcoder and hook_name_out not in (None, hook_name):
        raise ConfigError(
            f"A {sae.cfg.architecture} SAE reconstructs what it reads.", where="hook_name_out", hint="Leave it out."
        )


def _points(sae: SAE, lm: LoadedModel, hook_name: str, hook_name_out: str | None) -> tuple[HookPoint, HookPoint]:
    """Where the SAE reads and where its output belongs."""
    check_places(sae, hook_name, hook_name_out)
    read = fitting_point(lm.model, hook_name, sae.d_in)
    if hook_name_out in (None, hook_name):
        return read, read
    return read, fitting_point(lm.model, hook_name_out, sae.d_out, "d_out")


def fitting_point(model: nn.Module, hook_name: str, width: int, what: str = "d_in") -> HookPoint:
    """The hook point. Raises `ConfigError` unless its activations are as wide as the SAE's `what`."""
    point = resolve_hook(model, hook_name)
    if point.width != width:
        raise ConfigError(
            f"The SAE's {what} is {width:,}, but activations at {hook_name} have width {point.width:,}.", where=what,
            hint="Choose the SAE's own model and hook_name.",
        )
    return point


def evaluate_rows(
    sae: SAE, parts: Iterable[tuple[Tensor, ...]], *, scaler: Scaler = RAW
) -> tuple[dict[str, float], Tensor]:
    """Evaluate `sae` on raw rows of activations: parts of ``(x,)`` with x ``[n, d_in]``, for a transcoder of ``(x,
    target)``. Only `explained_variance_legacy` depends on how they are cut. Returns the numbers of
    `saewidgets.evaluation.metrics`, and the density of every latent: ``[d_sae]`` float64 on the CPU."""
    device = next(sae.parameters()).device
    stats = ReconstructionStats(sae.d_out, sae.d_sae, device)
    scaler = scaler.to(device)
    with evaluating(sae), torch.no_grad():
        for found in parts:
            rows, targets = (each.to(device, torch.float32) for each in (found[0], found[-1]))
            if rows.shape[-1] != sae.d_in or targets.shape[-1] != sae.d_out:
                raise ConfigError(
                    f"The SAE maps {sae.d_in:,} numbers to {sae.d_out:,}, but the activations have "
                    f"{rows.shape[-1]:,} and {targets.shape[-1]:,}.",
                    where="hook_name", hint="Choose the SAE's own hook point.",
                )
            _reconstruct(sae, scaler, stats, rows, targets)
    if not stats.n_tokens:
        raise ConfigError("There is no row to evaluate on.", where="corpus", hint="Capture more tokens.")
    return stats.result(), stats.density.cpu()
