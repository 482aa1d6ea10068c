"""What only standard does: the penalty's p, and how it falls."""

import pytest
import torch

from saewidgets.config.sae import StandardConfig
from saewidgets.errors import ConfigError
from saewidgets.sae import LossState, StandardSAE
from tests.sae.cases import batch, gradients, make, plain


def test_p_falls_linearly_after_it_was_held() -> None:
    sae = make("standard", p_end=0.2, p_hold=0.2)
    assert isinstance(sae, StandardSAE)
    assert [sae.p(progress) for progress in (0.0, 0.2, 0.6, 1.0, 2.0)] == pytest.approx([1, 1, 0.6, 0.2, 0.2])
    assert make("standard", lp_norm=0.5).p(0.7) == 0.5


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "plain"])
def test_an_annealed_penalty_is_as_large_as_its_l1(kernels: bool) -> None:
    sae, l1 = make("standard", p_end=0.2), make("standard")
    if not kernels:
        plain(sae)
    late, early = sae.loss(batch(), step=LossState(progress=0.9)), sae.loss(batch())
    assert late.terms["l1"].item() == pytest.approx(early.terms["l1"].item(), rel=1e-5)
    assert early.total.item() == l1.loss(batch()).total.item() or not kernels
    late.total.backward()
    early.total.backward()
    assert all(grad.isfinite().all() for grad in gradients(sae).values())


def test_a_small_p_pulls_more_at_weak_latents() -> None:
    """The penalty's gradient by b_enc, of latents that are weak and strong in a single token."""
    sae = make("standard", p_end=0.2, l1_coefficient=1.0)
    with torch.no_grad():
        sae.W_enc.zero_()
        sae.W_dec.copy_(torch.nn.functional.normalize(sae.W_dec, dim=1))
        sae.b_enc.fill_(-1)
        sae.b_enc[:2] = torch.tensor([0.1, 10.0])
    pull = {}
    for progress in (0.0, 1.0):
        for coefficient in (0.0, 1.0):
            sae.zero_grad()
            sae.loss(batch(1), step=LossState(coefficient, progress=progress)).total.backward()
            pull[progress, coefficient] = gradients(sae)["b_enc"][:2].clone()
    weak, strong = (pull[0.0, 1.0] - pull[0.0, 0.0]).tolist()
    assert weak == pytest.approx(strong, rel=1e-3)
    weak, strong = (pull[1.0, 1.0] - pull[1.0, 0.0]).tolist()
    assert weak / strong == pytest.approx(100**0.8, rel=1e-3)


@pytest.mark.parametrize("settings", [{"lp_norm": 0.5}, {"p_end": 0.2}])
def test_tokens_without_active_latents_have_finite_gradients(settings: dict[str, float]) -> None:
    sae = make("standard", **settings)
    with torch.no_grad():
        sae.b_enc.fill_(-1e6)
    loss = sae.loss(batch(), step=LossState(progress=0.9))
    loss.total.backward()
    assert loss.terms["l1"] == 0
    assert all(grad.isfinite().all() for grad in gradients(sae).values())


def test_one_p_at_a_time() -> None:
    with pytest.raises(ConfigError, match=r"p falls from 1, but lp_norm is 0\.5") as error:
        StandardConfig(lp_norm=0.5, p_end=0.2)
    assert error.value.where == "lp_norm"
