"""What only BatchTopK does: the threshold for inference, and the export as JumpReLU."""

from __future__ import annotations

import pytest
import torch

from saewidgets.sae import SAE, InferenceJumpReLU, LossState
from tests.sae.cases import D_SAE, batch, make, plain


def smallest_kept(sae: SAE, x: torch.Tensor) -> float:
    f = sae.encode(x).detach()
    return float(f[f > 0].min())


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "plain"])
def test_the_threshold_follows_the_smallest_kept_activation(kernels: bool) -> None:
    sae = make("batchtopk", threshold_momentum=0.75)
    if not kernels:
        plain(sae)
    first, second = smallest_kept(sae, batch(seed=1)), smallest_kept(sae, batch(seed=2))
    assert sae.threshold == 0
    sae.loss(batch(seed=1))
    assert float(sae.threshold) == pytest.approx(first, rel=1e-5)
    sae.loss(batch(seed=2))
    assert float(sae.threshold) == pytest.approx(0.75 * first + 0.25 * second, rel=1e-5)


@pytest.mark.parametrize(("steps", "momentum"), [(None, 0.99), (5_000, 0.99), (1_000, 0.99), (50, 0.8), (8, 0.0)])
def test_in_a_short_run_the_threshold_does_not_remember_the_beginning(steps: int | None, momentum: float) -> None:
    sae = make("batchtopk")
    first, second = smallest_kept(sae, batch(seed=1)), smallest_kept(sae, batch(seed=2))
    for seed in (1, 2):
        sae.loss(batch(seed=seed), step=LossState(steps=steps))
    assert float(sae.threshold) == pytest.approx(momentum * first + (1 - momentum) * second, rel=1e-5)


def test_only_training_moves_the_threshold() -> None:
    sae = make("batchtopk")
    sae.loss(batch(seed=1))
    before = sae.threshold.clone()
    with torch.no_grad():
        sae.loss(batch(seed=2))
    sae.encode(batch(seed=3))
    sae.eval().loss(batch(seed=4))
    assert torch.equal(sae.threshold, before)


def test_a_batch_without_activations_leaves_the_threshold() -> None:
    sae = make("batchtopk")
    sae.loss(batch())
    before = sae.threshold.clone()
    with torch.no_grad():
        sae.b_enc.fill_(-1e6)
    sae.loss(batch())
    assert torch.equal(sae.threshold, before)


def test_evaluation_does_not_depend_on_the_neighbours() -> None:
    sae = make("batchtopk")
    x = batch()
    sae.loss(x)
    together = sae.eval().encode(x)
    assert torch.allclose(together[:1], sae.encode(x[:1]), atol=1e-6)
    assert (together[together > 0] > sae.threshold).all()
    sae.train()
    assert not torch.equal(sae.encode(x)[0] > 0, sae.encode(x[:1])[0] > 0)


def test_the_training_mode_keeps_k_per_row_on_average() -> None:
    sae = make("batchtopk")
    counts = (sae.encode(batch(50)) > 0).sum(1)
    assert counts.sum() == 4 * 50
    assert counts.min() < 4 < counts.max()


def test_exported_as_jumprelu_with_one_threshold() -> None:
    sae = make("batchtopk")
    sae.loss(batch())
    exported = sae.to_inference()
    assert isinstance(exported, InferenceJumpReLU)
    assert torch.equal(exported.threshold, sae.threshold.expand(D_SAE))
    assert torch.equal(exported.encode(batch(seed=5)), sae.eval().encode(batch(seed=5)))
