"""Losses written down once more, in float64 numpy and forwards only: what gradients are held to by finite differences.

`Held` are the quantities that a loss treats as constants although they depend on the weights: residuals of auxiliary
losses, the factor of an annealed penalty.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.sae.reference import Array, normalised

Weights = Mapping[str, Array]
Held = Mapping[str, Any]
Terms = dict[str, float]


def encoder_input(w: Weights, x: Array, cfg: Any) -> Array:
    seen = normalised(x, cfg.model_dump())[0]
    return seen - w["b_dec"] if cfg.apply_b_dec_to_input else seen


def pre_activations(w: Weights, x: Array, cfg: Any) -> Array:
    return encoder_input(w, x, cfg) @ w["W_enc"] + w.get("b_enc", 0.0)


def undone(y: Array, x: Array, cfg: Any) -> Array:
    """What the decoder put out for `x`, as activations; of a transcoder it belongs to another place."""
    return y if "transcoder" in cfg.architecture else normalised(x, cfg.model_dump())[1](y)


def decoded(w: Weights, f: Array, x: Array, cfg: Any) -> Array:
    return undone(f @ w["W_dec"][: f.shape[1]] + w["b_dec"], x, cfg)


def error(y: Array, target: Array) -> float:
    return float(((y - target) ** 2).sum(1).mean())


def norms(w: Weights) -> Array:
    found: Array = np.sqrt((w["W_dec"] ** 2).sum(1))
    return found


def standard(w: Weights, x: Array, target: Array, cfg: Any, scale: float, p: float, held: Held) -> Terms:
    f = np.maximum(pre_activations(w, x, cfg), 0)
    weighted = f * norms(w)
    powers = np.array([sum(v**p for v in row if v > 0) for row in weighted])
    penalty = held["factor"] * powers if cfg.p_end is not None else powers ** (1 / p)
    return {
        "mse": error(decoded(w, f, x, cfg), target), "l1": cfg.l1_coefficient * scale * float(penalty.mean()),
    }  # fmt: skip


def annealing_factor(w: Weights, x: Array, cfg: Any, p: float) -> float:
    weighted = np.maximum(pre_activations(w, x, cfg), 0) * norms(w)
    return float(weighted.sum() / (weighted[weighted > 0] ** p).sum())


def relu_with_path(w: Weights, x: Array, target: Array, cfg: Any, scale: float) -> Terms:
    """Skip autoencoders, transcoders and skip transcoders."""
    f = np.maximum(pre_activations(w, x, cfg), 0)
    y = decoded(w, f, x, cfg)
    if "W_skip" in w:
        y = y + x @ w["W_skip"].T
    if cfg.architecture == "skip":
        y = y + w.get("skip", cfg.skip_scale) * x
    return {"mse": error(y, target), "l1": cfg.l1_coefficient * scale * float((f @ norms(w)).mean())}


def lifted(w: Weights, x: Array, cfg: Any, dead: NDArray[np.bool_]) -> Terms:
    """What lifts the pre-activations of dead latents until they fire."""
    short = np.maximum(-pre_activations(w, x, cfg) - w.get("b_gate", 0.0), 0) * norms(w)
    return {"pre_act": cfg.pre_act_coefficient * float(short[:, dead].sum(1).mean())}


def gated(w: Weights, x: Array, target: Array, cfg: Any, scale: float) -> Terms:
    z = pre_activations(w, x, cfg)
    gate = np.maximum(z + w["b_gate"], 0)
    f = np.where(gate > 0, np.maximum(z * np.exp(w["r_mag"]) + w["b_mag"], 0), 0)
    return {
        "mse": error(decoded(w, f, x, cfg), target),
        "l1": cfg.l1_coefficient * scale * float((gate @ norms(w)).mean()),
        "aux": error(decoded(w, gate, x, cfg), target),
    }


def nested(w: Weights, x: Array, cfg: Any) -> list[Array]:
    """Reconstructions of every width, each decoded on its own; without levels there is one."""
    p = pre_activations(w, x, cfg)
    rows = p if cfg.architecture == "topk" else p.reshape(1, -1)  # k of each row, or k · rows of the batch
    smallest = -np.sort(-rows, axis=1)[:, cfg.k * len(p) // len(rows) - 1, None]
    f = np.where((rows >= smallest) & (rows > 0), rows, 0).reshape(p.shape)
    return [decoded(w, f[:, :width], x, cfg) for width in getattr(cfg, "levels", (cfg.d_sae,))]


def sparse(w: Weights, x: Array, target: Array, cfg: Any, dead: NDArray[np.bool_], held: Held) -> Terms:
    *inner, outer = nested(w, x, cfg)
    parts = held["aux"]  # (first, end, residual) of the latents that explain it
    return {
        "mse": error(outer, target), **({"inner_mse": sum(error(y, target) for y in inner)} if inner else {}),
        "aux": sum(_aux(w, x, cfg, dead & _between(len(dead), first, end), left) for first, end, left in parts),
    }  # fmt: skip


def held_of_sparse(w: Weights, x: Array, target: Array, cfg: Any) -> Held:
    found = nested(w, x, cfg)
    if not getattr(cfg, "aux_per_width", False):
        return {"aux": [(0, cfg.d_sae, target - found[-1])]}
    starts = (0, *cfg.levels[:-1])
    return {"aux": [(a, b, target - y) for a, b, y in zip(starts, cfg.levels, found, strict=True)]}


def _between(n: int, first: int, end: int) -> NDArray[np.bool_]:
    places = np.arange(n)
    return (places >= first) & (places < end)


def _aux(w: Weights, x: Array, cfg: Any, dead: NDArray[np.bool_], residual: Array) -> float:
    n = int(dead.sum())
    if not n:
        return 0.0
    p, a = pre_activations(w, x, cfg), np.zeros((len(x), len(dead)))
    for row in range(len(x)):
        best = sorted(np.flatnonzero(dead), key=lambda i: -p[row, i])[: cfg.aux_k]
        a[row, best] = p[row, best]
    explained = a @ w["W_dec"]
    explained = undone(explained, x, cfg) - undone(np.zeros_like(explained), x, cfg)  # without what undoing adds
    return cfg.aux_coefficient * min(n / cfg.aux_k, 1) * error(explained, residual)


def jumprelu(
    w: Weights, x: Array, f: Array, step: Array, p: Array, target: Array, cfg: Any, scale: float,
    dead: NDArray[np.bool_],
) -> Terms:
    """As a function of latents f, of what counts them and of the pre-activations p, as if each were free."""
    theta = w["threshold"] if "threshold" in w else np.exp(w["log_threshold"])
    l0, c, aim = step.sum(1), cfg.l0_coefficient * scale, cfg.target_l0 or cfg.d_sae / 8
    penalty = {
        "step": lambda: l0,
        "quadratic": lambda: 2 * (l0 - aim) ** 2 / aim,
        "l1": lambda: (f * norms(w)).sum(1),
        "tanh": lambda: np.tanh(cfg.tanh_scale * f * norms(w)).sum(1),
    }[cfg.sparsity_loss]()
    terms = {"mse": error(decoded(w, f, x, cfg), target), "l0_penalty": c * float(penalty.mean())}
    if cfg.pre_act_coefficient is not None:
        short = np.maximum(theta - p, 0) * norms(w)
        terms["pre_act"] = cfg.pre_act_coefficient * float(short[:, dead].sum(1).mean())
    return terms
