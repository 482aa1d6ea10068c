"""What loaded SAEs compute, written down once more in float64 numpy."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Of loaded SAEs, `w` are the tensors by SAELens' names and `s` the settings.


def normalised(x: Array, s: Mapping[str, Any]) -> tuple[Array, Callable[[Array], Array]]:
    """The input as the encoder sees it, and what undoes that in the output."""
    kind = s.get("normalize_activations", "none")
    if kind == "layer_norm":
        mean, std = x.mean(-1, keepdims=True), x.std(-1, ddof=1, keepdims=True)
        return (x - mean) / (std + 1e-5), lambda y: y * std + mean
    if kind == "constant_norm_rescale":
        c = np.sqrt(x.shape[-1]) / np.linalg.norm(x, axis=-1, keepdims=True)
        return x * c, lambda y: y / c
    if kind == "constant_scalar_rescale":
        c = s["activation_normalization_factor"]
        return x * c, lambda y: y / c
    return x, lambda y: y


def loaded_sae(name: str, w: Mapping[str, Array], x: Array, s: Mapping[str, Any]) -> tuple[Array, Array]:
    """Latents and whole reconstruction of `x` [..., d_in], token by token."""
    transcoder = "transcoder" in name
    seen, undo = normalised(x, s)
    centred = s.get("apply_b_dec_to_input", not transcoder)
    if centred:
        seen = seen - w["b_dec"]
    if name == "temporal":
        f, predicted = temporal(w, seen, s)
        bias = w["b_dec"] if centred or not s.get("tied_weights", True) else 0.0
        return f, undo((f + predicted) @ w["W_dec"] + bias)
    rows = seen.reshape(-1, seen.shape[-1])
    f = np.stack([_latents(name, w, row, s) for row in rows]).reshape(*seen.shape[:-1], -1)
    y = f @ w["W_dec"]
    if name != "matching_pursuit" or centred:
        y = y + w["b_dec"]
    if transcoder:
        return f, y + (x @ w["W_skip"].T if "W_skip" in w else 0.0)
    return f, undo(y) + s.get("skip_scale", 0.0) * x


def _latents(name: str, w: Mapping[str, Array], row: Array, s: Mapping[str, Any]) -> Array:
    if name == "matching_pursuit":
        return pursuit(w["W_dec"], row, s)
    if name == "gated":
        gate = row @ w["W_enc"] + w["b_gate"]
        magnitude = row @ (w["W_enc"] * np.exp(w["r_mag"])) + w["b_mag"]
        return np.where(gate > 0, np.maximum(magnitude, 0), 0)
    p = row @ w["W_enc"] + w["b_enc"]
    if name.startswith("jumprelu"):
        return np.where((p > w["threshold"]) & (p > 0), p, 0)
    if name.startswith("topk"):
        return top_k(p, s["k"])
    if name == "abstopk":
        f = np.zeros_like(p)
        for i in sorted(range(len(p)), key=lambda i: -abs(p[i]))[: s["k"]]:
            f[i] = p[i]
        return f
    if name.startswith("groupmax"):
        f = np.zeros_like(p)
        size = len(p) // s["k"]
        for start in range(0, len(p), size):
            best = max(range(start, start + size), key=lambda i: p[i])
            f[best] = max(p[best], 0.0)
        return f
    return np.maximum(p, 0)


def top_k(p: Array, k: int) -> Array:
    """The k largest of each row, as far as they are positive."""
    return np.where(np.argsort(np.argsort(-p)) < k, np.maximum(p, 0), 0)


def pursuit(w_dec: Array, row: Array, s: Mapping[str, Any]) -> Array:
    f, left = np.zeros(len(w_dec)), row.copy()
    for _ in range(s.get("max_iterations") or len(row)):
        best = int(np.argmax(w_dec @ left))
        value, known = max(float(w_dec[best] @ left), 0.0), f[best] != 0
        f[best] += value
        left = left - value * w_dec[best]
        if s.get("stop_on_duplicate_support", True) and (known or value == 0):
            break
        if np.linalg.norm(left) < s.get("residual_threshold", 1e-2):
            break
    return f


def temporal(w: Mapping[str, Array], x: Array, s: Mapping[str, Any]) -> tuple[Array, Array]:
    """Novel and predicted latents of `x` [batch, context, d_in], one query and one head at a time."""
    w_enc = w["W_dec"].T if s.get("tied_weights", True) else w["W_enc"]
    factor = 1 / (4 * x.shape[-1])
    left, predicted = x.copy(), np.zeros((*x.shape[:-1], w_enc.shape[1]))
    for layer in range(s["n_attn_layers"]):
        z = np.maximum(factor * left @ w_enc, 0)
        for b in range(len(x)):
            before = np.vstack([np.zeros_like(z[b, :1]), z[b, :-1]])
            for t in range(x.shape[1]):
                p = np.maximum(_attend(w, f"attn_layers.{layer}.", before[: t + 1], z[b, t], s["n_heads"]), 0)
                d = p @ w["W_dec"]
                share = d @ left[b, t] / (np.linalg.norm(d) + 1e-6) ** 2
                predicted[b, t] += share * p
                left[b, t] = left[b, t] - share * d
    novel = np.maximum(factor * left @ w_enc, 0)
    if s.get("sae_diff_type", "topk") == "topk" and s.get("kval_topk"):
        novel = top_k(novel, s["kval_topk"])
    return novel, predicted


def _attend(w: Mapping[str, Array], at: str, before: Array, z: Array, heads: int) -> Array:
    def linear(name: str, x: Array) -> Array:
        return x @ w[f"{at}{name}.weight"].T + w[f"{at}{name}.bias"]

    q, k, v = (
        np.split(linear(name, x), heads, axis=-1)
        for name, x in (("q_target", z), ("k_ctx", before), ("v_ctx", before))
    )
    mixed = []
    for head in range(heads):
        scores = np.exp(k[head] @ q[head] / np.sqrt(len(q[head])))
        mixed.append(scores / scores.sum() @ v[head])
    return linear("c_proj", np.concatenate(mixed))
