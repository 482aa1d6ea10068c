"""What only BatchTopK and Matryoshka do: the threshold for inference, widths, and the export as JumpReLU."""

from typing import Any

import pytest
import torch

from saewidgets.config.sae import MatryoshkaConfig
from saewidgets.errors import ConfigError
from saewidgets.sae import SAE, InferenceJumpReLU, LossState, MatryoshkaSAE
from tests.sae.cases import D_SAE, batch, gradients, make, plain


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


@pytest.mark.parametrize(("steps", "momentum"), [(None, 0.99), (5_000, 0.99), (1_000, 0.95), (100, 0.5), (8, 0.0)])
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


@pytest.mark.parametrize("name", ["batchtopk", "matryoshka"])
def test_exported_as_jumprelu_with_one_threshold(name: str) -> None:
    sae = make(name)
    sae.loss(batch())
    exported = sae.to_inference()
    assert isinstance(exported, InferenceJumpReLU)
    assert torch.equal(exported.threshold, sae.threshold.expand(D_SAE))
    assert torch.equal(exported.encode(batch(seed=5)), sae.eval().encode(batch(seed=5)))


def test_widths_are_the_papers_where_none_are_given() -> None:
    assert MatryoshkaConfig(d_sae=65_536).levels == (2_048, 6_144, 14_336, 30_720, 65_536)
    assert MatryoshkaConfig(d_sae=8, k=2).levels == (1, 2, 4, 8)  # equal ones count once


@pytest.mark.parametrize("widths", [(64, 256), [64, 256, 1024], "64, 256", " 64 256,1024 "])
def test_widths_end_with_all_latents(widths: Any) -> None:
    config = MatryoshkaConfig(d_sae=1024, widths=widths)
    assert config.levels == (64, 256, 1024)
    assert MatryoshkaConfig.from_data(config.to_data()) == config


@pytest.mark.parametrize(
    ("widths", "what"),
    [
        ("64, many", "not a list of widths"), ((64, 64), "The widths are 64, 64"), ((256, 64), "larger than"),
        ((0, 64), "The widths are 0"), ((1024,), "only one width"), ((64, 2048), "larger than"),
        ("1" * 30, "not a list of widths"), ((1.5,), "widths"), ({}, "not a list of widths"), (64, "not a list"),
    ],
)  # fmt: skip
def test_widths_that_cannot_be_are_named(widths: Any, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        MatryoshkaConfig(d_sae=1024, widths=widths)
    assert str(error.value.where).startswith("widths")


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "plain"])
def test_the_first_latents_learn_from_every_width_they_are_in(kernels: bool) -> None:
    """Without the outer error, latents beyond the last inner width get no gradient."""
    sae = make("matryoshka") if kernels else plain(make("matryoshka"))
    loss = sae.loss(batch())
    (loss.total - outer(sae, batch())).backward()
    grad = gradients(sae)["W_dec"].norm(dim=1)
    assert (grad[:20] > 1e-4).any()
    assert grad[20:].max() < 1e-5


def outer(sae: MatryoshkaSAE, x: torch.Tensor) -> torch.Tensor:
    return (sae.decode(sae.encode(x)) - x).pow(2).sum(1).mean()


def test_levels_without_an_active_latent_do_no_harm() -> None:
    sae = make("matryoshka")
    with torch.no_grad():
        sae.b_enc[:7] = -1e6
    loss = sae.loss(batch())
    loss.total.backward()
    assert not loss.fired[:7].any()
    expected = (batch() - sae.b_dec).pow(2).sum(1).mean() + squared(sae, 20)
    assert loss.terms["inner_mse"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert all(grad.isfinite().all() for grad in gradients(sae).values())


def squared(sae: MatryoshkaSAE, width: int) -> torch.Tensor:
    f = sae.encode(batch())
    return (f[:, :width] @ sae.W_dec[:width] + sae.b_dec - batch()).pow(2).sum(1).mean()


@pytest.mark.parametrize("aux_per_width", [False, True])
def test_dead_latents_of_one_level_only(aux_per_width: bool) -> None:
    sae, dead = make("matryoshka", aux_per_width=aux_per_width), torch.zeros(D_SAE, dtype=torch.bool)
    dead[8:11] = True
    loss = sae.loss(batch(), step=LossState(1.0, dead))
    assert loss.terms["aux"] > 0
    assert sae.loss(batch(), step=LossState(1.0, torch.zeros_like(dead))).terms["aux"] == 0
    assert sae.loss(batch()).terms["aux"] == 0
