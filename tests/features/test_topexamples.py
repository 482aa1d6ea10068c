"""One streaming pass against sorting everything at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saewidgets.features import TopExamples

CONTEXTS, LENGTH, LATENTS = 23, 7, 11


def _latents(seed: int = 0) -> torch.Tensor:
    """Distinct positive values where something fires; latent 3 is dead, latent 5 fires twice only."""
    generator = torch.Generator().manual_seed(seed)
    f = torch.rand(CONTEXTS, LENGTH, LATENTS, generator=generator)
    f = f.masked_fill(torch.rand(f.shape, generator=generator) > 0.4, 0)
    f[..., 3] = 0
    f[..., 5] = 0
    f[2, 1, 5], f[9, 6, 5] = 0.5, 0.25
    return f


def _mask() -> torch.Tensor:
    return torch.rand(CONTEXTS, LENGTH, generator=torch.Generator().manual_seed(9)) > 0.2


def _dense(f: np.ndarray, latent: int, n: int, per_context: int) -> list[tuple[float, int, int]]:
    rows = []
    for context in range(len(f)):
        best = sorted(((f[context, p, latent], context, p) for p in range(LENGTH)), reverse=True)[:per_context]
        rows += [row for row in best if row[0] > 0]
    return sorted(rows, reverse=True)[:n]


@pytest.mark.parametrize(
    ("chunk", "per_context", "n"), [(1, 1, 5), (4, 2, 5), (100, 50, 200), (1, 50, 1), (4, 1, 200), (100, 2, 1)]
)
def test_the_top_examples_are_exact(n: int, per_context: int, chunk: int) -> None:
    f, mask = _latents(), _mask()
    stats = TopExamples(LATENTS, n, per_context)
    numbers = torch.arange(CONTEXTS)
    for at in range(0, CONTEXTS, chunk):
        stats.update(f[at : at + chunk], numbers[at : at + chunk], mask[at : at + chunk])
    masked = (f * mask[..., None]).numpy()
    for latent in range(LATENTS):
        assert stats.top(latent) == _dense(masked, latent, n, per_context)
    assert stats.top(3) == []


@pytest.mark.parametrize("chunk", [3, 100])
def test_statistics(chunk: int) -> None:
    f, mask = _latents(), _mask()
    stats = TopExamples(LATENTS, 5)
    for at in range(0, CONTEXTS, chunk):
        stats.update(f[at : at + chunk], torch.arange(at, min(at + chunk, CONTEXTS)), mask[at : at + chunk])
    dense = (f * mask[..., None]).double().numpy()
    rows = dense.reshape(-1, LATENTS)
    assert stats.n_tokens == int(mask.sum())
    assert stats.firing_counts.tolist() == (rows > 0).sum(0).tolist()
    assert stats.context_counts.tolist() == (dense > 0).any(1).sum(0).tolist()
    np.testing.assert_allclose(stats.density, (rows > 0).sum(0) / int(mask.sum()))
    np.testing.assert_allclose(stats.max, rows.max(0), rtol=1e-6)
    np.testing.assert_allclose(stats.mean, rows.sum(0) / np.maximum(1, (rows > 0).sum(0)), rtol=1e-6)
    assert stats.mean[3] == stats.max[3] == 0


def test_the_random_sample_is_of_real_firings_and_uniform() -> None:
    f = torch.zeros(200, 4, 2)
    f[:, 1, 0] = torch.arange(1, 201).float()  # much stronger in later contexts
    f[:, 2, 0] = 1e-3
    counts = np.zeros(200)
    places = np.zeros(4)
    for seed in range(30):
        stats = TopExamples(2, 3, n_random=10, seed=seed)
        for at in range(0, 200, 50):
            stats.update(f[at : at + 50], torch.arange(at, at + 50))
        sample = stats.random(0)
        assert len(sample) == len({context for _, context, _ in sample}) == 10
        for value, context, position in sample:
            assert value == f[context, position, 0] > 0
            counts[context] += 1
            places[position] += 1
        assert stats.random(1) == []
    assert counts.sum() == 300
    halves = counts[:100].sum(), counts[100:].sum()
    assert abs(halves[0] - halves[1]) < 80  # standard deviation about 17
    assert places[0] == places[3] == 0
    assert abs(places[1] - places[2]) < 80
