"""SAEs that normalise every token: losses and gradients against numpy, in the units of the activations.

The formulas are written as they read: normalise, encode, decode, undo, compare with the activations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from saewidgets.errors import ConfigError
from saewidgets.sae import SAE, LossState, inference_sae
from tests.sae.cases import ALL, D_SAE, aim, batch, gradients, make, plain
from tests.sae.test_losses import arrays

Array = NDArray[Any]
KINDS = ("layer_norm", "constant_norm_rescale")
DEAD = torch.arange(D_SAE) % 4 == 0
both = pytest.mark.parametrize("kind", KINDS)


def normalised(x: Array, kind: str) -> tuple[Array, Callable[[Array], Array]]:
    """The input as the encoder sees it, and what makes activations of the decoder's output."""
    if kind == "layer_norm":
        mean, std = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
        return (x - mean) / (std + 1e-5), lambda y: y * std + mean
    factor = np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True)
    return x * factor, lambda y: y / factor


def error(y: Array, target: Array) -> float:
    return float(((y - target) ** 2).sum(1).mean())


def winners(pre: Array, k: int, whole: bool) -> Array:
    """Which pre-activations are kept: k of each row, or k · rows of the batch."""
    flat = pre.reshape(1, -1) if whole else pre
    order = np.argsort(-flat, axis=1)[:, : k * (len(pre) if whole else 1)]
    kept = np.zeros_like(flat, dtype=bool)
    np.put_along_axis(kept, order, True, axis=1)
    return kept.reshape(pre.shape) & (pre > 0)


def formula(sae: SAE, x: Array, target: Array) -> Callable[[dict[str, Array]], float]:
    """The loss as a function of the weights; what a loss holds constant is taken at the weights of `sae`."""
    cfg: Any = sae.cfg
    seen, undo = normalised(x, cfg.normalize_activations)
    if sae.is_transcoder:
        undo = lambda y: y  # noqa: E731 - what it puts out belongs to another place

    def pre(w: dict[str, Array]) -> Array:
        return (seen - w["b_dec"] if cfg.apply_b_dec_to_input else seen) @ w["W_enc"] + w.get("b_enc", 0.0)

    def decoded(w: dict[str, Array], f: Array, width: int | None = None) -> Array:
        return undo(f[:, :width] @ w["W_dec"][:width] + w["b_dec"])

    def norms(w: dict[str, Array]) -> Array:
        return np.linalg.norm(w["W_dec"], axis=1)

    w0 = arrays(sae)
    if cfg.architecture in ("topk", "batchtopk", "matryoshka"):
        kept = winners(pre(w0), cfg.k, cfg.architecture != "topk")
        residual = target - decoded(w0, np.where(kept, pre(w0), 0))
        dead = DEAD.numpy().nonzero()[0]
        chosen = winners(pre(w0)[:, dead] + 1e6, cfg.aux_k, whole=False)  # the largest, positive or not
        levels = getattr(cfg, "levels", (cfg.d_sae,))

        def sparse(w: dict[str, Array]) -> float:
            f = np.where(kept, pre(w), 0)
            of_dead = np.where(chosen, pre(w)[:, dead], 0) @ w["W_dec"][dead]
            explained = undo(of_dead) - undo(np.zeros_like(of_dead))  # without what undoing adds
            aux = cfg.aux_coefficient * min(len(dead) / cfg.aux_k, 1.0) * error(explained, residual)
            return sum(error(decoded(w, f, width), target) for width in levels) + aux

        return sparse
    if cfg.architecture == "gated":

        def gated(w: dict[str, Array]) -> float:
            z = pre(w)
            gate = np.maximum(z + w["b_gate"], 0)
            f = np.where(gate > 0, np.maximum(z * np.exp(w["r_mag"]) + w["b_mag"], 0), 0)
            l1 = cfg.l1_coefficient * float((gate @ norms(w)).mean())
            return error(decoded(w, f), target) + l1 + error(decoded(w, gate), target)

        return gated

    def dense(w: dict[str, Array]) -> float:
        p = pre(w)
        if cfg.architecture == "jumprelu":
            active = p > np.exp(w["log_threshold"])
            return error(decoded(w, np.where(active, p, 0)), target) + cfg.l0_coefficient * active.sum(1).mean()
        f = np.maximum(p, 0)
        y = decoded(w, f) + (x @ w["W_skip"].T if "W_skip" in w else 0)
        y = y + (w.get("skip", cfg.skip_scale) * x if cfg.architecture == "skip" else 0)
        return error(y, target) + cfg.l1_coefficient * float((f @ norms(w)).mean())

    return dense


def inputs() -> torch.Tensor:
    """Rows of very different sizes, far from zero."""
    x = batch()
    return x * torch.linspace(0.2, 4, len(x))[:, None] + 1.5


@both
@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "plain"])
@pytest.mark.parametrize("name", [*ALL, "skip_learned"])
def test_loss_and_gradients_are_those_of_the_formulas(name: str, kernels: bool, kind: str) -> None:
    settings: dict[str, Any] = {"learn_skip": True} if name == "skip_learned" else {}
    sae = make(name.removesuffix("_learned"), normalize_activations=kind, **settings)
    if not kernels:
        plain(sae)
    x = inputs()
    target = aim(sae, x)
    loss = sae.loss(x, target if sae.is_transcoder else None, step=LossState(1.0, DEAD))
    loss.total.backward()
    at, w = formula(sae, x.double().numpy(), target.double().numpy()), arrays(sae)
    assert loss.total.item() == pytest.approx(at(w), rel=1e-5)
    found_error = error(loss.reconstruction.double().numpy(), target.double().numpy())
    assert loss.mse.item() == pytest.approx(found_error, rel=1e-5)
    rng, h = np.random.default_rng(0), 1e-6
    for parameter, grad in gradients(sae).items():
        if parameter == "log_threshold" or (name == "jumprelu" and parameter != "W_dec"):
            continue  # straight-through: held to sae-lens in test_saelens_training
        direction = rng.standard_normal(w[parameter].shape)
        slope = (at(w | {parameter: w[parameter] + h * direction}) - at(w | {parameter: w[parameter] - h * direction}))
        found = float((grad.double().numpy() * direction).sum())
        assert found == pytest.approx(slope / (2 * h), rel=1e-4, abs=1e-3), parameter


@both
@pytest.mark.parametrize("name", ALL)
def test_the_reconstruction_of_a_loss_is_that_of_the_sae(name: str, kind: str) -> None:
    sae = make(name, normalize_activations=kind).train()
    x = inputs()
    with torch.no_grad():
        loss = sae.loss(x, aim(sae, x) if sae.is_transcoder else None)
        assert torch.allclose(loss.reconstruction, sae(x), rtol=1e-4, atol=1e-4)


@both
def test_tokens_of_zeros_and_of_one_value_are_no_nan(kind: str) -> None:
    x = torch.cat([torch.zeros(2, 12), torch.full((2, 12), 3.0), inputs()])
    for name in ("standard", "topk", "gated", "skip"):
        sae = make(name, normalize_activations=kind)
        loss = sae.loss(x, step=LossState(1.0, DEAD))
        loss.total.backward()
        assert loss.total.isfinite()
        assert all(grad.isfinite().all() for grad in gradients(sae).values())
        if name != "skip":  # whose path around the latents is lost where a token has one value everywhere
            assert bool(torch.isclose(loss.reconstruction, sae(x), rtol=1e-4, atol=1e-4).all())


@both
@pytest.mark.parametrize("name", ALL)
def test_inference_computes_the_same(name: str, kind: str) -> None:
    sae = make(name, normalize_activations=kind).eval()
    if name in ("batchtopk", "matryoshka"):
        sae.threshold.fill_(0.6)
    frozen, x = sae.to_inference(), inputs()
    assert frozen.cfg.normalize_activations == kind
    with torch.no_grad():
        assert torch.allclose(frozen.encode(x), sae.encode(x), atol=1e-5)
        assert torch.allclose(frozen(x), sae(x), rtol=1e-4, atol=1e-4)


def test_heads_are_not_laid_side_by_side_in_training() -> None:
    tensors = make("standard").inference_tensors()
    with pytest.raises(ConfigError, match="not trained"):
        inference_sae("standard", 12, tensors, reshape_activations="hook_z").loss(batch())
