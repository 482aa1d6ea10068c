"""The definitions, against plain numpy, and the cases where others went wrong."""

import math

import numpy as np
import pytest
import torch

from saewidgets.evaluation import ReconstructionStats
from saewidgets.sae.kernels.select import SparseCode
from tests.sae.cases import ALL, aim, batch, make


def _data(n: int, seed: int = 0, d: int = 6, m: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) + 3 * rng.normal(size=d)
    f = np.maximum(rng.normal(size=(n, m)) - 1, 0)
    f[:, 4] = 0
    f[1:, 5] = 0  # fires on one token: more than 1 %, less than 10 %
    f[0, 5] = 1
    return x, x + 0.3 * rng.normal(size=x.shape), f


def _stats(x: np.ndarray, hat: np.ndarray, f: np.ndarray, cuts: list[int] | None = None) -> ReconstructionStats:
    stats = ReconstructionStats(x.shape[1], f.shape[1])
    for part in np.split(np.arange(len(x)), cuts or []):
        stats.update(*(torch.tensor(a[part]) for a in (x, hat, f)))
    return stats


def numbers(x: np.ndarray, hat: np.ndarray, f: np.ndarray) -> dict[str, float]:
    """The definitions once more, all tokens at once."""
    norm, hat_norm, fires = np.linalg.norm(x, axis=1), np.linalg.norm(hat, axis=1), f != 0
    density = fires.mean(0)
    fvu = ((x - hat) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    return {
        "fvu": fvu,
        "explained_variance": 1 - fvu,
        "mse": ((x - hat) ** 2).sum(1).mean(),
        "normalized_mse": ((x - hat) ** 2).sum(1).mean() / (x**2).sum(1).mean(),
        "cosine": ((x * hat).sum(1) / norm / hat_norm).mean(),
        "l2_norm_in": norm.mean(),
        "l2_norm_out": hat_norm.mean(),
        "l2_ratio": (hat_norm / norm).mean(),
        "relative_reconstruction_bias": (hat_norm**2).mean() / (x * hat).sum(1).mean(),
        "l0": fires.sum(1).mean(),
        "l1": np.abs(f).sum(1).mean(),
        "dead": float((density == 0).mean()),
        "density_above_10pct": (density > 0.1).mean(),
        "density_above_1pct": (density > 0.01).mean(),
        "density_below_1e-5": (density < 1e-5).mean(),
        "density_below_1e-6": (density < 1e-6).mean(),
        "firings_above_10pct": fires[:, density > 0.1].sum() / fires.sum(),
        "firings_above_1pct": fires[:, density > 0.01].sum() / fires.sum(),
        "n_tokens": len(x),
    }


def test_every_number_against_numpy() -> None:
    x, hat, f = _data(50)
    found = _stats(x, hat, f, [7, 7, 30]).result()
    expected = numbers(x, hat, f) | {"dead": 1 / 9, "n_tokens": 50}
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("mean", "std"), [(0, 1), (2, 1), (0, 3), (0, 5), (1, 0.1)])
def test_explained_variance_is_right_for_any_mean_and_spread(mean: float, std: float) -> None:
    """4096 × 64 Gaussian values, noise of half their spread: the true explained variance is 0.75 in every row, where
    formulas that mix means of ratios or leave out the mean give 0.59 to 0.997."""
    rng = np.random.default_rng(0)
    x = mean + std * rng.normal(size=(4096, 64))
    hat = x + 0.5 * std * rng.normal(size=x.shape)
    found = _stats(x, hat, np.ones((4096, 1)), [512 * i for i in range(1, 8)]).result()
    assert 1 - found["fvu"] == pytest.approx(0.75, abs=0.003)


def test_the_legacy_variant_stands_under_its_own_name_only() -> None:
    """One ratio per token, about the mean of what was read together: another number, and one that depends on it."""
    x, hat, f = _data(50)
    parts = (slice(0, 20), slice(20, 50))

    def ratios(part: slice) -> np.ndarray:
        centred = x[part] - x[part].mean(0)
        return ((x[part] - hat[part]) ** 2).sum(1) / (centred**2).sum(1)

    stats = _stats(x, hat, f)
    assert "explained_variance_legacy" not in stats.result()
    for part in parts:
        stats.update_legacy(torch.tensor(x[part]), torch.tensor(hat[part]))
    found = stats.result()
    expected = 1 - np.concatenate([ratios(part) for part in parts]).mean()
    assert found["explained_variance_legacy"] == pytest.approx(expected, rel=1e-12)
    assert found["explained_variance"] == 1 - found["fvu"]
    assert abs(found["explained_variance_legacy"] - found["explained_variance"]) > 1e-3
    one = _stats(x[:1], hat[:1], f[:1])
    one.update_legacy(torch.tensor(x[:1]), torch.tensor(hat[:1]))  # equal to its mean
    assert "explained_variance_legacy" not in one.result()


def test_a_large_mean_costs_no_digits() -> None:
    rng = np.random.default_rng(0)
    x = 1e7 + rng.normal(size=(2000, 4))
    found = _stats(x, np.broadcast_to(x.mean(0), x.shape).copy(), np.ones((2000, 2)), [500, 900]).result()
    assert found["fvu"] == pytest.approx(1, abs=1e-6)


def test_perfect_mean_and_zero_reconstructions() -> None:
    x, _, f = _data(60)
    assert _stats(x, x, f).result()["fvu"] == 0
    assert _stats(x, np.broadcast_to(x.mean(0), x.shape).copy(), f).result()["fvu"] == pytest.approx(1)
    zero = _stats(x, np.zeros_like(x), f).result()
    assert zero["fvu"] > 1
    assert zero["cosine"] == zero["l2_ratio"] == 0


def test_density_and_dead() -> None:
    f = np.array([[1, 0, 0.5], [0, 0, 2], [0, 0, 1], [-1, 0, 3]])
    stats = _stats(np.ones((4, 2)), np.ones((4, 2)), f)
    assert stats.density.tolist() == [0.5, 0, 1]  # a negative latent (AbsTopK's) is active
    assert stats.firing_counts.tolist() == [2, 0, 4]
    assert stats.result()["dead"] == pytest.approx(1 / 3)


def test_without_variation_or_tokens_ratios_are_nan() -> None:
    stats = ReconstructionStats(2, 3)
    stats.update(torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0, 3))
    assert math.isnan(stats.result()["fvu"])
    assert math.isnan(stats.result()["l0"])
    constant = np.ones((5, 2))
    assert math.isnan(_stats(constant, constant, np.ones((5, 1))).result()["fvu"])


@pytest.mark.parametrize("normalisation", ["none", "layer_norm"])
@pytest.mark.parametrize("name", ALL)
def test_few_latents_give_the_numbers_of_all(name: str, normalisation: str) -> None:
    sae = make(name, d_in=64, d_sae=960, seed=3, normalize_activations=normalisation).eval()
    with torch.no_grad():
        if name in ("batchtopk", "matryoshka"):
            sae.threshold.fill_(8.0)
        elif name == "gated":
            sae.b_gate -= 8.0
            sae.b_mag[::7] = -100.0  # latents that are zero behind open gates
        elif name != "topk":
            sae.b_enc -= 8.0
    x = batch(200, d_in=64)
    target, dense = aim(sae, x), sae.encode(x)
    reconstruction, code = sae.reconstruct(x)
    assert isinstance(code, SparseCode)
    assert 0 < len(code.values) < dense.numel() / 32
    found, expected = (ReconstructionStats(sae.d_out, sae.d_sae) for _ in range(2))
    found.update(target, reconstruction, code)
    expected.update(target, sae.decode(dense, x), dense)
    assert found.result() == pytest.approx(expected.result(), rel=1e-5)
    assert found.firing_counts.equal(expected.firing_counts)
    for same in (sae.double(), sae.float().train()):  # no few latents there
        values = same.reconstruct(x)[1]
        assert isinstance(values, torch.Tensor)
