"""Losses against numpy, their gradients against finite differences; and what gradients promise besides."""

from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saewidgets.sae import SAE, LossState, StandardSAE, create_sae
from tests.sae import losses
from tests.sae.cases import ALL, D_SAE, PATHS, SETTINGS, aim, batch, by, gradients, make

RAW = {"apply_b_dec_to_input": False}
KINDS = ("layer_norm", "constant_norm_rescale")
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ALL if name != "jumprelu"},
    **{f"{name}_raw": (name, RAW) for name in ("standard", "topk", "batchtopk", "gated")},
    **{f"{name}_{kind}": (name, {"normalize_activations": kind})
       for name in ALL for kind in KINDS if name != "jumprelu"},
    **{f"skip_learned_{kind}": ("skip", {"learn_skip": True, "normalize_activations": kind}) for kind in KINDS},
    "standard_lp": ("standard", {"lp_norm": 0.6}),
    "standard_l2": ("standard", {"lp_norm": 2.0, "apply_b_dec_to_input": False}),
    "standard_annealed": ("standard", {"p_end": 0.3}),
    "matryoshka_aux_per_width": ("matryoshka", {"aux_per_width": True}),
    "skip_learned": ("skip", {"learn_skip": True, "apply_b_dec_to_input": False}),
}  # fmt: skip
JUMPRELU: dict[str, dict[str, Any]] = {
    "plain": {}, "plain_raw": RAW, **{kind: {"normalize_activations": kind} for kind in KINDS},
    "step": {"ste_to_input": True}, "log": {"threshold_parameter": "log", "ste_to_input": True},
    "tanh": {"sparsity_loss": "tanh"}, "l1": {"sparsity_loss": "l1"},
    "quadratic": {"sparsity_loss": "quadratic", "target_l0": 5.5, "ste_to_input": True},
    "quadratic_usual": {"sparsity_loss": "quadratic", "threshold_parameter": "log"},
    "pre_act": {"pre_act_coefficient": 0.3, "threshold_parameter": "log", "apply_b_dec_to_input": False},
    "anthropic": {"sparsity_loss": "tanh", "ste_to_input": True, "pre_act_coefficient": 0.3, "tanh_scale": 2.0},
}
SCALE, PROGRESS = 0.7, 0.55
DEAD = torch.arange(D_SAE) % 3 == 0
every_path = pytest.mark.parametrize("path", PATHS)


def arrays(sae: SAE) -> dict[str, np.ndarray]:
    return {name: parameter.detach().double().numpy() for name, parameter in sae.named_parameters()}


def formula(sae: SAE, x: np.ndarray, target: np.ndarray) -> Callable[[dict[str, np.ndarray]], dict[str, float]]:
    """The terms as a function of the weights, with what a loss holds constant taken at the weights of `sae`."""
    cfg, w, dead = sae.cfg, arrays(sae), DEAD.numpy()
    if isinstance(sae, StandardSAE):
        p = sae.p(PROGRESS)
        held = {"factor": losses.annealing_factor(w, x, cfg, p)}
        return lambda v: losses.standard(v, x, target, cfg, SCALE, p, held) | losses.lifted(v, x, cfg, dead)
    if "topk" in cfg.architecture or cfg.architecture == "matryoshka":
        held = losses.held_of_sparse(w, x, target, cfg)
        return lambda v: losses.sparse(v, x, target, cfg, dead, held)
    if cfg.architecture == "gated":
        return lambda v: losses.gated(v, x, target, cfg, SCALE) | losses.lifted(v, x, cfg, dead)
    return lambda v: losses.relu_with_path(v, x, target, cfg, SCALE) | losses.lifted(v, x, cfg, dead)


def rows(sae: SAE) -> Tensor:
    """Of very different sizes and far from zero where they are normalised."""
    x = batch()
    return x if sae.cfg.normalize_activations == "none" else x * torch.linspace(0.2, 4, len(x))[:, None] + 1.5


@every_path
@pytest.mark.parametrize("name", VARIANTS)
def test_loss_and_gradients_are_those_of_the_formulas(name: str, path: str) -> None:
    architecture, settings = VARIANTS[name]
    sae = by(path, make(architecture, **settings))
    x = rows(sae)
    target = aim(sae, x) if sae.is_transcoder else batch(seed=2)
    loss = sae.loss(x, target, step=LossState(SCALE, DEAD, PROGRESS))
    loss.total.backward()
    terms_at = formula(sae, x.double().numpy(), target.double().numpy())
    w = arrays(sae)
    assert {key: term.item() for key, term in loss.terms.items()} == pytest.approx(terms_at(w), rel=1e-5)
    assert loss.total.item() == pytest.approx(sum(terms_at(w).values()), rel=1e-5)
    rng, h = np.random.default_rng(0), 1e-6
    for parameter, grad in gradients(sae).items():
        for _ in range(2):
            direction = rng.standard_normal(w[parameter].shape)
            above, below = (
                sum(terms_at(w | {parameter: w[parameter] + sign * h * direction}).values()) for sign in (1, -1)
            )
            found = float((grad.double().numpy() * direction).sum())
            assert found == pytest.approx((above - below) / (2 * h), rel=1e-4, abs=1e-4), parameter


@every_path
@pytest.mark.parametrize("name", JUMPRELU)
def test_straight_through_gradients_are_those_of_the_formulas(name: str, path: str) -> None:
    """∂f/∂θ := -(θ/ε) K, ∂H/∂θ := -K/ε within the window, and the negative of both for p with `ste_to_input`."""
    sae = by(path, make("jumprelu", **JUMPRELU[name]))
    x, target = rows(sae), batch(seed=2)
    loss = sae.loss(x, target, step=LossState(SCALE, DEAD))
    loss.total.backward()

    cfg, w, inputs = sae.cfg, arrays(sae), x.double().numpy()
    own = "log_threshold" if cfg.threshold_parameter == "log" else "threshold"
    p, theta = losses.pre_activations(w, inputs, cfg), sae.threshold.detach().double().numpy()
    active = p > theta
    parts = {"f": np.where(active, p, 0), "step": active.astype(float), "p": p}

    def total(v: dict[str, np.ndarray], **changed: np.ndarray) -> float:
        given = parts | changed
        return sum(losses.jumprelu(v, inputs, **given, target=target.double().numpy(), cfg=cfg, scale=SCALE,
                                   dead=DEAD.numpy()).values())  # fmt: skip

    terms = losses.jumprelu(w, inputs, **parts, target=target.double().numpy(), cfg=cfg, scale=SCALE, dead=DEAD.numpy())
    assert {key: term.item() for key, term in loss.terms.items()} == pytest.approx(terms, rel=1e-5)

    h = 1e-6
    slope = {}
    for part, value in parts.items():  # rows are apart from each other: one latent of all rows would not do
        slope[part] = np.zeros_like(value)
        for place in np.ndindex(value.shape):
            step = np.zeros_like(value)
            step[place] = h
            slope[part][place] = (total(w, **{part: value + step}) - total(w, **{part: value - step})) / (2 * h)
    window = np.abs(p - theta) < cfg.bandwidth / 2
    estimate = window * (theta * slope["f"] + slope["step"]) / cfg.bandwidth
    d_p = slope["f"] * active + slope["p"] + (estimate if cfg.ste_to_input else 0.0)
    direct = np.zeros_like(theta)
    for i in range(len(theta)):
        moved = w[own].copy()
        moved[i] += h
        direct[i] = (total(w | {own: moved}) - total(w)) / h
    expected = {
        "W_enc": losses.encoder_input(w, inputs, cfg).T @ d_p, "b_enc": d_p.sum(0),
        own: direct - (theta if own == "log_threshold" else 1.0) * estimate.sum(0),
    }
    found = {key: grad.double().numpy() for key, grad in gradients(sae).items()}
    for key, value in expected.items():
        assert np.linalg.norm(found[key] - value) < 1e-4 * np.linalg.norm(value), key
    rng = np.random.default_rng(0)
    for key in ("W_dec", "b_dec"):
        direction = rng.standard_normal(w[key].shape)
        slope_of = (total(w | {key: w[key] + h * direction}) - total(w | {key: w[key] - h * direction})) / (2 * h)
        if key == "b_dec" and cfg.apply_b_dec_to_input:  # which also shifts every encoder input
            slope_of -= float((d_p @ w["W_enc"].T).sum(0) @ direction)
        assert float((found[key] * direction).sum()) == pytest.approx(slope_of, rel=1e-4), key


EVERY = [*VARIANTS.values(), *(("jumprelu", settings) for settings in JUMPRELU.values())]


@pytest.mark.parametrize(("which", "rows_per_block"), list(zip(EVERY, cycle([1, 7]))))
def test_blocks_do_not_change_the_result(
    which: tuple[str, dict[str, Any]], rows_per_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture, settings = which
    whole, blocked = make(architecture, **settings), make(architecture, **settings)
    state, x = LossState(SCALE, DEAD, PROGRESS), batch()
    target = aim(whole, x)
    expected = whole.loss(x, target, step=state)
    expected.total.backward()
    monkeypatch.setattr("saewidgets.sae.kernels.select.MIN_ROWS", 1)
    monkeypatch.setattr("saewidgets.sae.kernels.select.BLOCK_ELEMENTS", rows_per_block * D_SAE)
    loss = blocked.loss(x, target, step=state)
    loss.total.backward()
    assert loss.total.item() == pytest.approx(expected.total.item(), rel=1e-5)
    assert loss.l0.item() == pytest.approx(expected.l0.item())
    assert torch.equal(loss.fired, expected.fired)
    for parameter, grad in gradients(whole).items():
        assert torch.allclose(gradients(blocked)[parameter], grad, rtol=1e-4, atol=1e-5), parameter


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [VARIANTS[name] for name in ("gated", "standard", "standard_lp", "skip", "topk", "batchtopk", "matryoshka")],
)
def test_half_a_gradient_is_half(architecture: str, settings: dict[str, Any]) -> None:
    one, other = make(architecture, **settings), make(architecture, **settings)
    one.loss(batch()).total.backward()
    (other.loss(batch()).total / 4).backward()
    for parameter, grad in gradients(one).items():
        assert torch.allclose(4 * gradients(other)[parameter], grad, rtol=1e-5, atol=1e-7), parameter


@pytest.mark.parametrize("name", ["standard", "jumprelu"])
def test_a_second_backward_is_refused(name: str) -> None:
    loss = make(name).loss(batch())
    loss.total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="already differentiated"):
        loss.total.backward()


@pytest.mark.parametrize("name", ["topk", "batchtopk"])
def test_the_auxiliary_gradient_reaches_only_dead_latents(name: str) -> None:
    sae, dead = make(name), DEAD
    with_aux, without = make(name), make(name, aux_coefficient=0.0)
    with_aux.loss(batch(), step=LossState(1.0, dead)).total.backward()
    without.loss(batch(), step=LossState(1.0, dead)).total.backward()
    a, b = gradients(with_aux), gradients(without)
    for of_latent in (
        (a["W_enc"] - b["W_enc"]).norm(dim=0), (a["b_enc"] - b["b_enc"]).abs(), (a["W_dec"] - b["W_dec"]).norm(dim=1)
    ):
        assert (of_latent[~dead] == 0).all()
        assert (of_latent[dead] > 0).any()
    assert sae.loss(batch(), step=LossState(1.0, torch.zeros_like(dead))).terms["aux"] == 0


@every_path
@pytest.mark.parametrize("name", ALL)
def test_what_is_not_a_number_is_not_hidden(name: str, path: str) -> None:
    sae = by(path, make(name, d_sae=64))
    with torch.no_grad():
        sae.W_enc[3, 5] = torch.nan
    x = batch()
    assert sae.loss(x, aim(sae, x)).total.isnan()


def steps_end_in(path: str, architecture: str, seed: int) -> float:
    """FVU on rows not trained on, after 500 steps on mixtures of few directions."""
    rng = torch.Generator().manual_seed(11)
    directions = torch.nn.functional.normalize(torch.randn(48, 16, generator=rng), dim=1)

    def rows() -> Tensor:
        return ((torch.rand(256, 48, generator=rng) < 0.08) * torch.rand(256, 48, generator=rng)) @ directions

    settings = {"k": 4} if "k" in SETTINGS[architecture] else {"pre_act_coefficient": None}
    settings = {"l0_coefficient": 3e-3} if architecture == "jumprelu" else settings
    more = {} if "k" in settings or architecture == "jumprelu" else {"l1_coefficient": 0.02}
    sae = create_sae(architecture, 16, d_sae=64, **settings, **more)
    sae.reset_parameters(torch.Generator().manual_seed(seed))
    adam = torch.optim.Adam(by(path, sae).param_groups(3e-3))
    for _ in range(500):
        x = rows()
        sae.loss(x, x if sae.is_transcoder else None).total.backward()
        sae.before_step()
        adam.step()
        adam.zero_grad()
        sae.after_step()
    held_out = rows()
    error = (sae.eval()(held_out) - held_out).square().sum()
    return float((error / (held_out - held_out.mean(0)).square().sum()).detach())


@pytest.mark.long
@pytest.mark.parametrize("architecture", ALL)
def test_500_steps_end_alike_on_every_path(architecture: str) -> None:
    plain = [steps_end_in("plain", architecture, seed) for seed in range(3)]
    noise = max(plain) - min(plain)
    assert max(plain) < 0.7
    for path in ("few", "dense"):
        assert abs(steps_end_in(path, architecture, 0) - plain[0]) <= noise, (path, plain)
