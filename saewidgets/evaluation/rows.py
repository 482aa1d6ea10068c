"""How well an SAE reconstructs activations that are there already: no language model, no cross-entropy."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from saewidgets.errors import ConfigError
from saewidgets.evaluation.metrics import ReconstructionStats
from saewidgets.evaluation.place import LATENT_BYTES
from saewidgets.lm import evaluating
from saewidgets.sae import SAE
from saewidgets.sae.scaler import RAW, Scaler


def evaluate_rows(
    sae: SAE, parts: Iterable[tuple[Tensor, ...]], *, scaler: Scaler = RAW
) -> dict[str, float]:
    """Evaluate `sae` on rows of activations.

    Args:
        sae: the autoencoder; it runs in evaluation mode and is left as it was.
        parts: ``(x,)`` with x ``[n, d_in]``; for a transcoder ``(x, target)``, target ``[n, d_out]``. Raw, unscaled.
            Only `explained_variance_legacy` depends on how they are cut.
        scaler: as in `evaluate`.

    Returns:
        The numbers of `saewidgets.evaluation.metrics`.

    Raises:
        ConfigError: there are no rows, or they are not as wide as the SAE.
    """
    return evaluate_row_latents(sae, parts, scaler=scaler)[0]


def evaluate_row_latents(
    sae: SAE, parts: Iterable[tuple[Tensor, ...]], *, scaler: Scaler = RAW
) -> tuple[dict[str, float], Tensor]:
    """`evaluate_rows`, and the density of every latent: ``[d_sae]`` float64 on the CPU."""
    device = next(sae.parameters()).device
    stats = ReconstructionStats(sae.d_out, sae.d_sae, device)
    scaler = scaler.to(device)
    step = max(1, LATENT_BYTES // (4 * sae.d_sae))
    # Whatever the caller's code runs under: as within a forward of the model.
    with evaluating(sae), torch.no_grad(), torch.autocast(device.type, enabled=False):
        for found in parts:
            rows, targets = (each.to(device, torch.float32) for each in (found[0], found[-1]))
            if rows.shape[-1] != sae.d_in or targets.shape[-1] != sae.d_out:
                raise ConfigError(
                    f"The SAE maps {sae.d_in:,} numbers to {sae.d_out:,}, but the activations have "
                    f"{rows.shape[-1]:,} and {targets.shape[-1]:,}.",
                    where="hook_name", hint="Choose the SAE's own hook point.",
                )
            hats = []
            for x, target in zip(rows.split(step), targets.split(step), strict=True):
                scaled = scaler.apply(x)
                latents = sae.encode(scaled)
                hats.append(scaler.undo(sae.decode(latents, scaled).float()))
                stats.update(target, hats[-1], latents)
            if len(rows):
                stats.update_legacy(targets, torch.cat(hats))
    if not stats.n_tokens:
        raise ConfigError("There is no row to evaluate on.", where="corpus", hint="Capture more tokens.")
    return stats.result(), stats.density.cpu()
