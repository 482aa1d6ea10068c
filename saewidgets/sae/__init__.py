"""Sparse autoencoders: the maths, one architecture per file. Knows neither models nor files."""

from saewidgets.config.sae import BatchTopKConfig, JumpReLUConfig, StandardConfig, TopKConfig
from saewidgets.sae.base import SAE, Loss, LossState
from saewidgets.sae.batchtopk import BatchTopKSAE
from saewidgets.sae.jumprelu import InferenceJumpReLU, JumpReLUSAE
from saewidgets.sae.registry import architectures, build_sae, create_sae, register
from saewidgets.sae.standard import StandardSAE
from saewidgets.sae.topk import TopKSAE

register("standard", StandardSAE, StandardConfig)
register("topk", TopKSAE, TopKConfig)
register("batchtopk", BatchTopKSAE, BatchTopKConfig)
register("jumprelu", JumpReLUSAE, JumpReLUConfig)

__all__ = [
    "SAE",
    "BatchTopKSAE",
    "InferenceJumpReLU",
    "JumpReLUSAE",
    "Loss",
    "LossState",
    "StandardSAE",
    "TopKSAE",
    "architectures",
    "build_sae",
    "create_sae",
    "register",
]
