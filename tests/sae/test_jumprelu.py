"""What only JumpReLU does: strict thresholds, their learning rate, an L0 that obeys; and what only skip SAEs do."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from saewidgets.config.sae import SkipConfig
from saewidgets.errors import ConfigError
from saewidgets.formats import load_sae, save_sae
from saewidgets.sae import (
    InferenceJumpReLU,
    JumpReLUSAE,
    LossState,
    SkipSAE,
    SkipTranscoderSAE,
    build_sae,
    create_sae,
)
from saewidgets.sae.jumprelu import THRESHOLD_LR
from tests.sae.cases import D_SAE, batch, gradients, make, relative


@pytest.mark.parametrize("form", ["trained", "exported"])
def test_a_latent_is_active_strictly_above_its_threshold(form: str) -> None:
    sae = create_sae("jumprelu", 3, d_sae=3, initial_threshold=0.5)
    with torch.no_grad():
        sae.W_enc.copy_(torch.eye(3))
    if form == "exported":
        sae = sae.to_inference()
    threshold = float(sae.threshold.detach()[0])
    above, below = math.nextafter(threshold, 9), math.nextafter(threshold, -9)
    x = torch.tensor([[threshold, above + 1e-6, below]])
    assert (sae.encode(x) > 0).tolist() == [[False, True, False]]
    assert sae.encode(x)[0, 1] == x[0, 1]
    assert sae.loss(x).l0 == 1


@pytest.mark.parametrize("threshold", [0.0, -0.5])
def test_a_loaded_threshold_may_be_zero_or_less_and_still_nothing_negative_passes(threshold: float) -> None:
    sae = make("jumprelu").to_inference()
    assert isinstance(sae, InferenceJumpReLU)
    sae.threshold.fill_(threshold)
    pre = sae.pre_activations(batch())
    assert torch.equal(sae.encode(batch()), pre.relu())
    assert sae.loss(batch()).l0.item() == pytest.approx((pre > 0).sum().item() / 30)


def test_the_exported_threshold_is_the_parameter_or_its_exponential() -> None:
    for parameter, learned in (("linear", lambda sae: sae.threshold), ("log", lambda sae: sae.log_threshold.exp())):
        sae = make("jumprelu", threshold_parameter=parameter)
        assert isinstance(sae, JumpReLUSAE)
        assert torch.equal(sae.to_inference().threshold, learned(sae))


@pytest.mark.parametrize(
    ("parameter", "name", "rate"), [("linear", "threshold", 1), ("log", "log_threshold", THRESHOLD_LR)]
)
def test_logarithms_learn_faster_and_thresholds_are_never_decayed(parameter: str, name: str, rate: float) -> None:
    sae = make("jumprelu", threshold_parameter=parameter)
    weights, thresholds = sae.param_groups(1e-3)
    assert thresholds["params"] == [sae.get_parameter(name)]
    assert thresholds["lr"] == pytest.approx(1e-3 * rate)
    assert thresholds["weight_decay"] == 0
    assert weights["lr"] == 1e-3


def test_a_learned_threshold_is_never_below_zero() -> None:
    sae = make("jumprelu")
    with torch.no_grad():
        sae.get_parameter("threshold")[:2] = torch.tensor([-0.5, 0.5])
    sae.after_step()
    assert sae.threshold[:2].tolist() == [0, 0.5]


def test_the_loaded_form_trains_its_weights_with_fixed_thresholds() -> None:
    trained = make("jumprelu")
    loaded = trained.to_inference().train().requires_grad_(True)
    for sae in (trained, loaded):
        sae.loss(batch()).total.backward()
    for name, grad in gradients(loaded).items():
        assert relative(grad, gradients(trained)[name]) < 1e-6, name
    assert "threshold" not in gradients(loaded)


RATES = {"log": 2e-3, "linear": 2e-2}
forms = pytest.mark.parametrize("form", RATES)


def l0_after_training(form: str, coefficient: float | None, steps: int = 200, **settings: Any) -> float:
    """L0 on fresh data of a small SAE: 64 sparse directions in 16 dimensions, inputs of mean norm √d_in."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(64, 16, generator=generator), dim=1)
    present = torch.rand(8192, 64, generator=generator) < 0.06
    pool = (present * (0.5 + 2 * torch.rand(8192, 64, generator=generator))) @ directions
    pool *= 4 / pool.norm(dim=1).mean()
    settings |= {"l0_coefficient": coefficient, "threshold_parameter": form, "bandwidth": 0.05}
    config = create_sae("jumprelu", 16, d_sae=64, **settings).cfg
    sae = build_sae(config, 16, generator=generator)
    optimizer = torch.optim.Adam(sae.param_groups(RATES[form]))
    for step in range(steps):
        optimizer.zero_grad()
        start = 128 * (step % 60)
        sae.loss(pool[start : start + 128]).total.backward()
        sae.before_step()
        optimizer.step()
        sae.after_step()
    with torch.no_grad():
        return float(sae.loss(pool[-512:]).l0)


@forms
def test_the_coefficient_controls_l0_over_a_decade(form: str) -> None:
    """The field's trap: learned as a plain logarithm, thresholds hardly move under Adam and L0 stays where it was."""
    weak, middle, strong = (l0_after_training(form, coefficient) for coefficient in (0.03, 0.3, 3.0))
    assert weak > 1.5 * middle
    assert middle > 1.5 * strong
    assert weak > (10 if form == "log" else 5) * strong


@pytest.mark.parametrize("settings", [{}, {"sparsity_loss": "quadratic"}, {"sparsity_loss": "tanh"}])
def test_every_penalty_aims_at_a_target_that_can_be_reached(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Target L0 is 41 but d_sae is 40") as error:
        create_sae("jumprelu", 8, d_sae=40, target_l0=41, **settings)
    assert error.value.where == "target_l0"
    few, many, given = (create_sae("jumprelu", 8, **settings | more) for more in (
        {"d_sae": 40}, {"d_sae": 4000}, {"d_sae": 40, "target_l0": 3, "l0_coefficient": 0.0}
    ))  # fmt: skip
    assert [sae.cfg.aim for sae in (few, many, given)] == [5, 50, 3]
    assert [few.is_steered, given.is_steered] == [settings.get("sparsity_loss") != "quadratic", False]


@pytest.mark.parametrize(
    ("target", "steps", "near"), [(12.0, 300, 2), pytest.param(3.0, 600, 1, marks=pytest.mark.long)]
)
@forms
def test_the_quadratic_penalty_reaches_its_target(form: str, target: float, steps: int, near: int) -> None:
    """From either side: L0 is 18 with the weakest step penalty and 5 with a strong one."""
    found = l0_after_training(form, None, steps, target_l0=target, sparsity_loss="quadratic")
    assert found == pytest.approx(target, abs=near)


def test_only_dead_latents_are_lifted() -> None:
    dead = torch.arange(D_SAE) % 2 == 0
    sae, without = make("jumprelu", pre_act_coefficient=0.5), make("jumprelu", pre_act_coefficient=None)
    for each in (sae, without):
        loss = each.loss(batch(), step=LossState(1.0, dead))
        loss.total.backward()
    found = gradients(sae)["b_enc"] - gradients(without)["b_enc"]
    assert (found[dead] < -1e-3).any()
    assert found[~dead].abs().max() < 1e-5
    assert sae.loss(batch()).terms["pre_act"] == 0


def test_a_learned_coefficient_starts_at_its_setting_and_stays_in_range() -> None:
    sae = make("skip", learn_skip=True, skip_scale=0.25, skip_max=0.6)
    assert isinstance(sae, SkipSAE)
    assert sae.skip is not None
    sae.reset_parameters(torch.Generator().manual_seed(0))
    assert float(sae.skip.detach()) == 0.25
    optimizer = torch.optim.Adam(sae.param_groups(0.1))
    sae.loss(batch()).total.backward()
    optimizer.step()
    assert 0 < sae.skip < 0.6
    assert sae.skip != 0.25
    for outside, kept in ((3.0, 0.6), (-3.0, 0.0)):
        with torch.no_grad():
            sae.skip.fill_(outside)
        assert sae.to_inference().cfg.skip_scale == pytest.approx(kept)
        sae.loss(batch())
        assert float(sae.skip.detach()) == pytest.approx(kept)


def test_weight_decay_does_not_touch_the_coefficient() -> None:
    sae = make("skip", learn_skip=True)
    weights, own = sae.param_groups(1e-3)
    assert own["params"] == [sae.skip]
    assert own["weight_decay"] == 0
    assert len(weights["params"]) == 4


@pytest.mark.parametrize("centred", [True, False], ids=["centred", "raw"])
def test_in_saelens_format_it_is_the_skip_transcoder_that_computes_the_same(centred: bool, tmp_path: Path) -> None:
    sae = make("skip", centred=centred)
    sae.metadata = {"hook_name": "blocks.2.hook_resid_post"}
    loaded = load_sae(save_sae(sae, tmp_path / "sae", "saelens"))
    assert isinstance(loaded, SkipTranscoderSAE)
    assert relative(loaded.encode(batch()), sae.encode(batch())) < 1e-5
    assert relative(loaded(batch()), sae(batch())) < 1e-5
    assert loaded.metadata["hook_name_out"] == "blocks.2.hook_resid_post"
    assert loaded.metadata["training_architecture"] == "skip"


@pytest.mark.parametrize("skip_scale", [-0.1, 0.95])
def test_a_learned_coefficient_starts_in_range(skip_scale: float) -> None:
    with pytest.raises(ConfigError, match="skip coefficient starts at") as error:
        SkipConfig(learn_skip=True, skip_scale=skip_scale)
    assert error.value.where == "skip_scale"
    SkipConfig(skip_scale=skip_scale)
