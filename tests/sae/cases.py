"""The architectures under test, and small SAEs with weights that exercise every term."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saewidgets.sae import SAE, create_sae
from tests.sae.reference import Weights

D_IN, D_SAE = 12, 40
SETTINGS: dict[str, dict[str, Any]] = {
    "standard": {"l1_coefficient": 0.8},
    "topk": {"k": 4, "aux_coefficient": 0.5, "aux_k": 5},
    "batchtopk": {"k": 4, "aux_coefficient": 0.5, "aux_k": 5},
    "jumprelu": {"l0_coefficient": 0.6, "initial_threshold": 0.4, "bandwidth": 0.3},
}
ALL = list(SETTINGS)


def make(name: str, *, centred: bool = True, seed: int = 0, d_in: int = D_IN, d_sae: int = D_SAE, **more: Any) -> SAE:
    """An SAE whose biases, decoder norms and thresholds are all in general position."""
    sae = create_sae(name, d_in, d_sae=d_sae, apply_b_dec_to_input=centred, **(SETTINGS[name] | more))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in sae.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter is getattr(sae, "log_threshold", None):
                parameter.add_(0.3 * noise)
            else:
                parameter.copy_(0.4 * noise)
    return sae


def batch(rows: int = 30, *, seed: int = 1, d_in: int = D_IN) -> Tensor:
    return torch.randn(rows, d_in, generator=torch.Generator().manual_seed(seed))


def plain(sae: SAE) -> SAE:
    """The same SAE without the CPU kernels."""
    sae._fast_path = lambda x, target: False  # type: ignore[method-assign]
    return sae


def weights(sae: SAE) -> Weights:
    arrays = {name: getattr(sae, name).detach().double().numpy() for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    threshold = sae.threshold.detach().double().numpy() if sae.cfg.architecture == "jumprelu" else None
    return Weights(**arrays, threshold=threshold)


def gradients(sae: SAE) -> dict[str, Tensor]:
    found = {name: parameter.grad for name, parameter in sae.named_parameters()}
    assert all(grad is not None for grad in found.values())
    return {name: grad for name, grad in found.items() if grad is not None}


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))
