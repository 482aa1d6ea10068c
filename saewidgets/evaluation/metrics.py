"""Defines `ReconstructionStats`, the metrics of reconstruction as training, evaluations and reports use them.

`docs/evaluation.md` defines each number. Below x is what is reconstructed (the activations that an SAE reads, for a
transcoder those at its other place), hat the reconstruction, μ the mean of x over all evaluated tokens.

Sums run over all batches in float64 and are divided once, so that the numbers do not depend on how tokens were grouped.
(A mean of per-batch ratios, as some tools report, is a different and wrong number where batches differ.) The one
exception is named after what it is: `explained_variance_legacy`, as earlier versions of SAELens reported it, is
1 − the mean over tokens of ‖x − x̂‖² / ‖x − m‖², with m the mean of the tokens that one forward read.
"""

import math

import torch
from torch import Tensor

from saewidgets.sae.kernels.select import SparseCode

_SUMS = ("error", "square", "hat_square", "dot", "norm", "hat_norm", "l1", "cosine", "l2_ratio", "legacy")


class ReconstructionStats:
    """Running sums of the above, on the device of the tensors passed to `update`."""

    def __init__(self, d_out: int, d_sae: int, device: torch.device | str = "cpu") -> None:
        self.n_tokens = 0
        self.firing_counts = torch.zeros(d_sae, dtype=torch.int64, device=device)
        self._mean = torch.zeros(d_out, dtype=torch.float64, device=device)
        # Scalars stay on the device, so that an update does not wait for it.
        self._spread = torch.zeros((), dtype=torch.float64, device=device)
        self._sums = {name: torch.zeros((), dtype=torch.float64, device=device) for name in _SUMS}
        self._ratios = 0  # tokens in the sum "legacy"

    @torch.no_grad()
    def update(self, x: Tensor, reconstruction: Tensor, latents: Tensor | SparseCode) -> None:
        """Add tokens: x and its reconstruction ``[n, d_out]`` in the same units, latents ``[n, d_sae]`` or few."""
        n = x.shape[0]
        if n == 0:
            return
        x64, hat = x.double(), reconstruction.double()
        self._add_spread(x64)
        self.n_tokens += n
        norm, hat_norm, dot = x64.norm(dim=1), hat.norm(dim=1), (x64 * hat).sum(1)
        product = norm * hat_norm
        tiny = torch.finfo(torch.float64).tiny
        self._sums["error"] += (x64 - hat).square().sum()
        self._sums["square"] += norm.square().sum()
        self._sums["hat_square"] += hat_norm.square().sum()
        self._sums["dot"] += dot.sum()
        self._sums["norm"] += norm.sum()
        self._sums["hat_norm"] += hat_norm.sum()
        self._sums["cosine"] += torch.where(product > 0, dot / product.clamp_min(tiny), 0.0).sum()
        self._sums["l2_ratio"] += torch.where(norm > 0, hat_norm / norm.clamp_min(tiny), 0.0).sum()
        values = latents.values if isinstance(latents, SparseCode) else latents
        self._sums["l1"] += torch.linalg.vector_norm(values, 1, dtype=torch.float64)
        if isinstance(latents, SparseCode):
            self.firing_counts += torch.bincount(latents.latents[values != 0], minlength=latents.d_sae)
        else:
            self.firing_counts += (latents != 0).sum(0)

    @torch.no_grad()
    def update_legacy(self, x: Tensor, reconstruction: Tensor) -> None:
        """Add the tokens of one forward to `explained_variance_legacy`, which depends on what is read together. Tokens
        that equal their mean have no ratio and are left out."""
        x64 = x.double()
        spread = (x64 - x64.mean(0)).square().sum(1)
        shares = (x64 - reconstruction.double()).square().sum(1)[spread > 0] / spread[spread > 0]
        self._sums["legacy"] += shares.sum()
        self._ratios += len(shares)

    def _add_spread(self, x: Tensor) -> None:
        """Merge mean and Σ‖x − μ‖² of a batch into the running ones (Chan, Golub & LeVeque 1983): unlike
        Σ‖x‖² − n‖μ‖² this keeps its digits where the mean is much larger than the variation."""
        n, before = x.shape[0], self.n_tokens
        mean = x.mean(0)
        delta = mean - self._mean
        self._spread += (x - mean).square().sum() + delta.square().sum() * (before * n / (before + n))
        self._mean += delta * (n / (before + n))

    @property
    def density(self) -> Tensor:
        """Share of the tokens on which each latent fired, ``[d_sae]`` float64."""
        return self.firing_counts.double() / max(self.n_tokens, 1)

    def result(self) -> dict[str, float]:
        """All scalar numbers by name, with `n_tokens`. A ratio of which the denominator is zero is nan."""
        n = float(self.n_tokens)
        sums, fired = {name: float(value) for name, value in self._sums.items()}, self.firing_counts
        fvu = ratio(sums["error"], float(self._spread))
        found = {
            "fvu": fvu,
            "explained_variance": 1 - fvu,
            "mse": ratio(sums["error"], n),
            "normalized_mse": ratio(sums["error"], sums["square"]),
            "cosine": ratio(sums["cosine"], n),
            "l2_norm_in": ratio(sums["norm"], n),
            "l2_norm_out": ratio(sums["hat_norm"], n),
            "l2_ratio": ratio(sums["l2_ratio"], n),
            "relative_reconstruction_bias": ratio(sums["hat_square"], sums["dot"]),
            "l0": ratio(float(fired.sum()), n),
            "l1": ratio(sums["l1"], n),
            "dead": ratio(float((fired == 0).sum()), len(fired)),
            "density_above_10pct": ratio(float((fired > 0.1 * n).sum()), len(fired)),
            "density_above_1pct": ratio(float((fired > 0.01 * n).sum()), len(fired)),
            "density_below_1e-5": ratio(float((fired < 1e-5 * n).sum()), len(fired)),
            "density_below_1e-6": ratio(float((fired < 1e-6 * n).sum()), len(fired)),
            "firings_above_10pct": ratio(float(fired[fired > 0.1 * n].sum()), float(fired.sum())),
            "firings_above_1pct": ratio(float(fired[fired > 0.01 * n].sum()), float(fired.sum())),
            "n_tokens": n,
        }
        if self._ratios:
            found["explained_variance_legacy"] = 1 - sums["legacy"] / self._ratios
        return found


def ratio(numerator: float, denominator: float) -> float:
    """NaN where there is nothing to divide by."""
    return numerator / denominator if denominator else math.nan
