"""Small SAEs in general position for the tiny models of tests/lm."""

from typing import Any

import torch
from torch import Tensor

from saewidgets.config.steering import SteeringFeature
from saewidgets.sae import SAE, inference_sae
from tests.lm.models import WIDTH

D_SAE = 24
HOOK = "blocks.1.hook_resid_post"


def weights(seed: int = 0, d_in: int = WIDTH, d_out: int | None = None, d_sae: int = D_SAE) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    d_out = d_out or d_in

    def noise(*shape: int) -> Tensor:
        return 0.4 * torch.randn(*shape, generator=generator)

    return {"W_enc": noise(d_in, d_sae), "b_enc": noise(d_sae), "W_dec": noise(d_sae, d_out), "b_dec": noise(d_out)}


def toy_sae(architecture: str = "standard", hook_name: str = HOOK, *, seed: int = 0, **settings: Any) -> SAE:
    """An SAE of width 32 with 24 latents that says where it belongs."""
    sae = inference_sae(architecture, WIDTH, weights(seed), **settings)
    sae.metadata = {"hook_name": hook_name}
    return sae


def toy_transcoder(into: str, out: str, architecture: str = "transcoder", seed: int = 0) -> SAE:
    tensors = weights(seed)
    if "skip" in architecture:
        tensors["W_skip"] = 0.3 * torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(seed + 1))
    sae = inference_sae(architecture, WIDTH, tensors)
    sae.metadata = {"hook_name": into, "hook_name_out": out}
    return sae


def feature(index: int, strength: float, mode: str = "add", **more: Any) -> SteeringFeature:
    return SteeringFeature.from_data({"index": index, "strength": strength, "mode": mode, **more})
