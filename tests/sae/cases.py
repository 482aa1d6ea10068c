"""The architectures under test, and small SAEs with weights that exercise every term: trained ones, and loaded ones."""

from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from saewidgets.sae import SAE, Loss, LossState, create_sae, inference_sae
from saewidgets.sae.kernels import select

D_IN, D_SAE, D_OUT = 12, 40, 9
SETTINGS: dict[str, dict[str, Any]] = {
    "standard": {"l1_coefficient": 0.8, "pre_act_coefficient": 0.3},
    "topk": {"k": 4, "aux_coefficient": 0.5, "aux_k": 5},
    "batchtopk": {"k": 4, "aux_coefficient": 0.5, "aux_k": 5},
    "matryoshka": {"k": 4, "aux_coefficient": 0.5, "aux_k": 5, "widths": (7, 20)},
    "jumprelu": {"l0_coefficient": 0.6, "initial_threshold": 0.4, "bandwidth": 0.3},
    "gated": {"l1_coefficient": 0.8, "pre_act_coefficient": 0.3},
    "skip": {"l1_coefficient": 0.8, "pre_act_coefficient": 0.3, "skip_scale": 0.3},
    "transcoder": {"l1_coefficient": 0.8, "pre_act_coefficient": 0.3, "d_out": D_OUT},
    "skip_transcoder": {"l1_coefficient": 0.8, "pre_act_coefficient": 0.3, "d_out": D_OUT},
}
ALL = list(SETTINGS)
CENTRED = [(name, centred) for name in ALL for centred in (True, False) if not (centred and "transcoder" in name)]

HEADS, GROUPS = 3, 5
LOADED: dict[str, dict[str, Any]] = {
    "standard": {},
    "topk": {"k": 4},
    "jumprelu": {},
    "gated": {},
    "abstopk": {"k": 4},
    "groupmax": {"k": GROUPS},
    "skip": {"skip_scale": 0.7},
    "transcoder": {},
    "skip_transcoder": {},
    "jumprelu_transcoder": {},
    "jumprelu_skip_transcoder": {},
    "topk_transcoder": {"k": 4},
    "topk_skip_transcoder": {"k": 4},
    "groupmax_transcoder": {"k": GROUPS},
    "groupmax_skip_transcoder": {"k": GROUPS},
    "matching_pursuit": {"residual_threshold": 0.3},
    "temporal": {"n_heads": 2, "bottleneck_factor": 4, "n_attn_layers": 2, "kval_topk": 6},
}
TRANSCODERS = [name for name in LOADED if "transcoder" in name]
AUTOENCODERS = [name for name in LOADED if name not in TRANSCODERS]


def make(
    name: str, *, centred: bool | None = None, seed: int = 0, d_in: int = D_IN, d_sae: int = D_SAE, **more: Any
) -> SAE:
    """An SAE whose biases, decoder norms and thresholds are all in general position."""
    if centred is not None:
        more["apply_b_dec_to_input"] = centred
    sae = create_sae(name, d_in, d_sae=d_sae, **(SETTINGS[name] | more))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in sae.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if key in ("threshold", "log_threshold"):
                sae.scale_thresholds((0.3 * noise).exp())
            else:
                parameter.copy_(0.4 * noise)
    return sae


def batch(rows: int = 30, *, seed: int = 1, d_in: int = D_IN) -> Tensor:
    return torch.randn(rows, d_in, generator=torch.Generator().manual_seed(seed))


def aim(sae: SAE, x: Tensor) -> Tensor:
    """What `sae` is to make of `x`: x itself, or for a transcoder a linear function of it with noise."""
    if not sae.is_transcoder:
        return x
    generator = torch.Generator().manual_seed(7)
    rows = x.detach().float().cpu().reshape(-1, sae.d_in)
    y = rows @ (0.3 * torch.randn(sae.d_in, sae.d_out, generator=generator))
    y += 0.5 * torch.randn(y.shape, generator=generator)
    return y.view(*x.shape[:-1], sae.d_out).to(x.device)


def loss_of(sae: SAE, x: Tensor, step: LossState | None = None) -> Loss:
    """The loss of one batch, whatever the SAE reconstructs."""
    return sae.loss(x, aim(sae, x) if sae.is_transcoder else None, step=step)


def plain(sae: SAE) -> SAE:
    """The same SAE without the CPU kernels."""
    sae._fast_path = lambda x, target: False  # type: ignore[method-assign]
    return sae


PATHS = ("few", "dense", "plain")


def by(path: str, sae: SAE) -> SAE:
    """The same SAE, which computes by `path` however many latents are active: on few entries, by the CPU kernels for
    all latents, or plainly."""

    def few(x: Tensor, below: float) -> Any:
        with patch.object(select, "FEW", 2.0):
            return type(sae)._few(sae, x, below)

    if path == "plain":
        return plain(sae)
    sae._few = few if path == "few" else lambda x, below: None  # type: ignore[method-assign]
    return sae


def gradients(sae: SAE) -> dict[str, Tensor]:
    found = {name: parameter.grad for name, parameter in sae.named_parameters()}
    assert all(grad is not None for grad in found.values())
    return {name: grad for name, grad in found.items() if grad is not None}


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))


def shapes(name: str, d_in: int = D_IN, d_sae: int = D_SAE, d_out: int = D_OUT) -> dict[str, tuple[int, ...]]:
    """What a loaded SAE consists of, as SAELens stores it."""
    d_out = d_out if name in TRANSCODERS else d_in
    found: dict[str, tuple[int, ...]] = {"W_dec": (d_sae, d_out), "b_dec": (d_out,)}
    if name not in ("matching_pursuit", "temporal"):
        found["W_enc"] = (d_in, d_sae)
    if name not in ("matching_pursuit", "temporal", "gated"):
        found["b_enc"] = (d_sae,)
    if name == "gated":
        found |= {"b_gate": (d_sae,), "r_mag": (d_sae,), "b_mag": (d_sae,)}
    if "jumprelu" in name:
        found["threshold"] = (d_sae,)
    if "skip_transcoder" in name:
        found["W_skip"] = (d_out, d_in)
    if name == "temporal":
        narrow = d_sae // LOADED[name]["bottleneck_factor"]
        for layer in range(LOADED[name]["n_attn_layers"]):
            for part, width in (("k_ctx", narrow), ("q_target", narrow), ("v_ctx", d_sae), ("c_proj", d_sae)):
                found[f"attn_layers.{layer}.{part}.weight"] = (width, d_sae)
                found[f"attn_layers.{layer}.{part}.bias"] = (width,)
    return found


def stored(name: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, **sizes: int) -> dict[str, Tensor]:
    """Tensors of a loaded SAE in general position."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for tensor, shape in shapes(name, **sizes).items():
        noise = torch.randn(shape, generator=generator)
        value = 0.3 + 0.2 * noise.abs() if tensor == "threshold" else 0.4 * noise
        if name == "matching_pursuit" and tensor == "W_dec":
            value = noise / noise.norm(dim=1, keepdim=True)  # as it is trained; else residuals grow
        found[tensor] = value.to(dtype)
    return found


def loaded(name: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, **settings: Any) -> SAE:
    return inference_sae(name, D_IN, stored(name, seed=seed, dtype=dtype), **(LOADED[name] | settings))


def inputs(name: str, rows: int = 24, *, seed: int = 1) -> Tensor:
    """[rows, d_in], or whole contexts for those that read such."""
    x = 0.3 + 1.4 * batch(rows, seed=seed)
    return x.view(2, -1, D_IN) if name == "temporal" else x
