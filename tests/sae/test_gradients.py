"""Losses and gradients against an independent numpy formulation, and that one against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saewidgets.sae import SAE, LossState
from tests.sae import reference as ref
from tests.sae.cases import D_SAE, batch, gradients, make, plain, relative, weights

SCALE = 0.7
ALL = ("standard", "topk", "batchtopk", "jumprelu")  # those whose gradients the reference has as formulas


def dead_mask() -> torch.Tensor:
    return torch.arange(D_SAE) % 5 == 0  # 8 latents, more than aux_k


def expected(
    sae: SAE, x: np.ndarray, target: np.ndarray, dead: np.ndarray | None
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Named terms and gradients of every parameter by the reference."""
    w, cfg, centred = weights(sae), sae.cfg, sae.cfg.apply_b_dec_to_input
    p = ref.pre_activations(w, x, centred)
    name = cfg.architecture
    step = {
        "standard": lambda: ref.relu(p),
        "topk": lambda: ref.top_k(p, cfg.k),
        "batchtopk": lambda: ref.batch_top_k(p, cfg.k),
        "jumprelu": lambda: ref.jump_relu(p, w.threshold),
    }[name]()
    terms = {"mse": ref.squared_error(w, step.f, target)}
    grads = ref.reconstruction_gradients(w, x, target, step, centred)
    if name == "standard":
        terms["l1"], more = ref.l1(w, x, cfg.l1_coefficient * SCALE, centred)
        grads = ref.add(grads, more)
    elif name == "jumprelu":
        coefficient = cfg.l0_coefficient * SCALE
        terms["l0_penalty"] = ref.l0(w, p, coefficient)
        d_threshold = ref.threshold_gradient(w, x, target, coefficient, cfg.bandwidth, centred)
        grads["log_threshold"] = w.threshold * d_threshold
    else:
        terms["aux"] = 0.0
        if dead is not None and dead.any():
            residual = target - (step.f @ w.W_dec + w.b_dec)
            terms["aux"], more = ref.aux(w, x, residual, dead, cfg.aux_k, cfg.aux_coefficient, centred)
            grads = ref.add(grads, more)
    return terms, grads


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "plain"])
@pytest.mark.parametrize("centred", [True, False], ids=["centred", "raw"])
@pytest.mark.parametrize("name", ALL)
def test_loss_and_gradients_are_those_of_the_formulas(name: str, centred: bool, kernels: bool) -> None:
    sae = make(name, centred=centred) if kernels else plain(make(name, centred=centred))
    x, target, dead = batch(), batch(seed=2), dead_mask()
    loss = sae.loss(x, target, step=LossState(SCALE, dead))
    loss.total.backward()

    terms, grads = expected(sae, x.double().numpy(), target.double().numpy(), dead.numpy())
    assert set(loss.terms) == set(terms)
    for term, value in terms.items():
        assert loss.terms[term].item() == pytest.approx(value, rel=1e-5), term
    assert loss.total.item() == pytest.approx(sum(terms.values()), rel=1e-5)
    assert loss.mse.item() == pytest.approx(terms["mse"], rel=1e-5)
    found = gradients(sae)
    assert set(found) == set(grads)
    for parameter, grad in grads.items():
        assert relative(found[parameter], torch.from_numpy(grad)) < 1e-5, parameter


@pytest.mark.long
@pytest.mark.parametrize("name", ALL)
def test_the_reference_agrees_with_finite_differences(name: str) -> None:
    """Directions that move the four weights; the thresholds' straight-through gradient has no finite difference."""
    sae, x, target = make(name), batch().double().numpy(), batch(seed=2).double().numpy()
    dead, centred, cfg, w = dead_mask().numpy(), True, sae.cfg, weights(sae)
    _, grads = expected(sae, x, target, dead)
    rng = np.random.default_rng(0)
    p0 = ref.pre_activations(w, x, centred)
    residual = None
    if "topk" in name:
        first = ref.top_k(p0, cfg.k) if name == "topk" else ref.batch_top_k(p0, cfg.k)
        residual = target - (first.f @ w.W_dec + w.b_dec)  # the auxiliary loss treats it as a constant

    def total(v: ref.Weights) -> float:
        p = ref.pre_activations(v, x, centred)
        if name == "standard":
            return ref.squared_error(v, ref.relu(p).f, target) + ref.l1(v, x, cfg.l1_coefficient * SCALE, centred)[0]
        if name == "jumprelu":
            return ref.squared_error(v, ref.jump_relu(p, v.threshold).f, target)
        step = ref.top_k(p, cfg.k) if name == "topk" else ref.batch_top_k(p, cfg.k)
        extra = ref.aux(v, x, residual, dead, cfg.aux_k, cfg.aux_coefficient, centred)[0]
        return ref.squared_error(v, step.f, target) + extra

    for parameter in ("W_enc", "b_enc", "W_dec", "b_dec"):
        direction = {parameter: rng.standard_normal(getattr(w, parameter).shape)}
        h = 1e-7  # small enough that no latent changes between active and inactive
        slope = (total(w.moved(direction, h)) - total(w.moved(direction, -h))) / (2 * h)
        assert slope == pytest.approx(float((grads[parameter] * direction[parameter]).sum()), rel=1e-5), parameter


@pytest.mark.parametrize("name", ["standard", "jumprelu"])
def test_a_second_backward_is_refused(name: str) -> None:
    loss = make(name).loss(batch())
    loss.total.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="already differentiated"):
        loss.total.backward()


@pytest.mark.parametrize("name", ["topk", "batchtopk"])
def test_the_auxiliary_gradient_reaches_only_dead_latents(name: str) -> None:
    sae, dead = make(name), dead_mask()
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
