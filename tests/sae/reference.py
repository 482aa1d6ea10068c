"""The four losses and their gradients written down once more, in float64 numpy: what both torch formulations (plain
operations and CPU kernels) are held to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Weights:
    W_enc: Array
    b_enc: Array
    W_dec: Array
    b_dec: Array
    threshold: Array | None = None

    def moved(self, by: dict[str, Array], h: float) -> Weights:
        return Weights(**{
            name: value if value is None or name not in by else value + h * by[name]
            for name, value in vars(self).items()
        })


@dataclass
class Step:
    """What one architecture does to pre-activations: latents, and which of them pass a gradient on."""

    f: Array
    active: NDArray[np.bool_]


def pre_activations(w: Weights, x: Array, centred: bool) -> Array:
    return (x - w.b_dec if centred else x) @ w.W_enc + w.b_enc


def relu(p: Array) -> Step:
    return Step(np.where(p > 0, p, 0), p > 0)


def top_k(p: Array, k: int) -> Step:
    chosen = np.zeros(p.shape, dtype=bool)
    for row, values in enumerate(p):
        chosen[row, np.argsort(-values)[:k]] = True
    active = chosen & (p > 0)
    return Step(np.where(active, p, 0), active)


def batch_top_k(p: Array, k: int) -> Step:
    chosen = np.zeros(p.size, dtype=bool)
    chosen[np.argsort(-p.ravel())[: k * len(p)]] = True
    active = chosen.reshape(p.shape) & (p > 0)
    return Step(np.where(active, p, 0), active)


def jump_relu(p: Array, threshold: Array) -> Step:
    active = p > threshold
    return Step(np.where(active, p, 0), active)


def reconstruction_gradients(w: Weights, x: Array, target: Array, step: Step, centred: bool) -> dict[str, Array]:
    """Gradient of mean_B Σ_d (f W_dec + b_dec - target)², the set of active latents held fixed."""
    g = 2 * (step.f @ w.W_dec + w.b_dec - target) / len(x)
    decoder = {"W_dec": step.f.T @ g, "b_dec": g.sum(0)}
    return add(through_encoder(w, x, g @ w.W_dec.T * step.active, centred), decoder)


def through_encoder(w: Weights, x: Array, d_pre: Array, centred: bool) -> dict[str, Array]:
    inputs = x - w.b_dec if centred else x
    return {
        "W_enc": inputs.T @ d_pre,
        "b_enc": d_pre.sum(0),
        "b_dec": -(d_pre @ w.W_enc.T).sum(0) if centred else np.zeros_like(w.b_dec),
        "W_dec": np.zeros_like(w.W_dec),
    }


def squared_error(w: Weights, f: Array, target: Array) -> float:
    return float(((f @ w.W_dec + w.b_dec - target) ** 2).sum(1).mean())


def l1(w: Weights, x: Array, coefficient: float, centred: bool) -> tuple[float, dict[str, Array]]:
    step, norms = relu(pre_activations(w, x, centred)), np.linalg.norm(w.W_dec, axis=1)
    gradients = through_encoder(w, x, coefficient * norms * step.active / len(x), centred)
    gradients["W_dec"] = coefficient * step.f.mean(0)[:, None] * w.W_dec / norms[:, None]
    return coefficient * float((step.f * norms).sum(1).mean()), gradients


def l0(w: Weights, p: Array, coefficient: float) -> float:
    assert w.threshold is not None
    return coefficient * float((p > w.threshold).sum(1).mean())


def threshold_gradient(
    w: Weights, x: Array, target: Array, coefficient: float, bandwidth: float, centred: bool
) -> Array:
    """Sum of the straight-through estimates: d JumpReLU = -(θ/ε) K, d H = -(1/ε) K, K = [|p - θ| < ε/2]."""
    assert w.threshold is not None
    p = pre_activations(w, x, centred)
    step = jump_relu(p, w.threshold)
    window = np.abs(p - w.threshold) < bandwidth / 2
    d_f = 2 * (step.f @ w.W_dec + w.b_dec - target) @ w.W_dec.T / len(x)
    out: Array = -(window * (w.threshold * d_f + coefficient / len(x))).sum(0) / bandwidth
    return out


def aux(
    w: Weights, x: Array, residual: Array, dead: NDArray[np.bool_], wanted: int, coefficient: float, centred: bool
) -> tuple[float, dict[str, Array]]:
    """coefficient · min(n_dead / wanted, 1) · mean ‖ê - residual‖², ê from the largest raw dead pre-activations."""
    p = np.where(dead, pre_activations(w, x, centred), -np.inf)
    k = min(wanted, int(dead.sum()))
    chosen = np.zeros(p.shape, dtype=bool)
    for row, values in enumerate(p):
        chosen[row, np.argsort(-values)[:k]] = True
    a = np.where(chosen, p, 0)
    scale = coefficient * min(dead.sum() / wanted, 1)
    error = a @ w.W_dec - residual
    g = 2 * scale * error / len(x)
    gradients = through_encoder(w, x, g @ w.W_dec.T * chosen, centred)
    gradients["W_dec"] = a.T @ g
    return scale * float((error**2).sum(1).mean()), gradients


def add(*parts: dict[str, Array]) -> dict[str, Array]:
    return {name: np.sum([part[name] for part in parts if name in part], axis=0) for name in parts[0]}
