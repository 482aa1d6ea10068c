"""Sparse autoencoders: the maths, one architecture per file. Knows neither models nor files."""

from saewidgets.config import inference as configs
from saewidgets.config.sae import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    MatryoshkaConfig,
    SkipConfig,
    SkipTranscoderConfig,
    StandardConfig,
    TopKConfig,
    TranscoderConfig,
)
from saewidgets.sae.architectures import (
    architectures,
    build_sae,
    create_sae,
    inference_architectures,
    inference_sae,
    register,
    register_inference,
)
from saewidgets.sae.base import SAE, LoadedSAE, Loss, LossState
from saewidgets.sae.batchtopk import BatchTopKSAE
from saewidgets.sae.gated import GatedSAE
from saewidgets.sae.jumprelu import InferenceJumpReLU, JumpReLUSAE
from saewidgets.sae.matching_pursuit import MatchingPursuitSAE
from saewidgets.sae.matryoshka import MatryoshkaSAE
from saewidgets.sae.skip import InferenceSkip, SkipSAE
from saewidgets.sae.standard import StandardSAE
from saewidgets.sae.temporal import TemporalSAE
from saewidgets.sae.topk import AbsTopKSAE, GroupMaxSAE, TopKSAE
from saewidgets.sae.transcoder import (
    GroupMaxSkipTranscoderSAE,
    GroupMaxTranscoderSAE,
    JumpReLUSkipTranscoderSAE,
    JumpReLUTranscoderSAE,
    SkipTranscoderSAE,
    TopKSkipTranscoderSAE,
    TopKTranscoderSAE,
    TranscoderSAE,
)

register("standard", StandardSAE, StandardConfig)
register("topk", TopKSAE, TopKConfig)
register("batchtopk", BatchTopKSAE, BatchTopKConfig)
register("matryoshka", MatryoshkaSAE, MatryoshkaConfig)
register("jumprelu", JumpReLUSAE, JumpReLUConfig)
register("gated", GatedSAE, GatedConfig)
register("skip", SkipSAE, SkipConfig)
register("transcoder", TranscoderSAE, TranscoderConfig)
register("skip_transcoder", SkipTranscoderSAE, SkipTranscoderConfig)

register_inference("standard", StandardSAE, StandardConfig)
register_inference("topk", TopKSAE, TopKConfig)
register_inference("jumprelu", InferenceJumpReLU, JumpReLUConfig)
register_inference("gated", GatedSAE, GatedConfig)
register_inference("abstopk", AbsTopKSAE, configs.AbsTopKConfig)
register_inference("groupmax", GroupMaxSAE, configs.GroupMaxConfig)
register_inference("skip", InferenceSkip, SkipConfig)
register_inference("transcoder", TranscoderSAE, TranscoderConfig)
register_inference("skip_transcoder", SkipTranscoderSAE, SkipTranscoderConfig)
register_inference("jumprelu_transcoder", JumpReLUTranscoderSAE, configs.JumpReLUTranscoderConfig)
register_inference("jumprelu_skip_transcoder", JumpReLUSkipTranscoderSAE, configs.JumpReLUSkipTranscoderConfig)
register_inference("topk_transcoder", TopKTranscoderSAE, configs.TopKTranscoderConfig)
register_inference("topk_skip_transcoder", TopKSkipTranscoderSAE, configs.TopKSkipTranscoderConfig)
register_inference("groupmax_transcoder", GroupMaxTranscoderSAE, configs.GroupMaxTranscoderConfig)
register_inference("groupmax_skip_transcoder", GroupMaxSkipTranscoderSAE, configs.GroupMaxSkipTranscoderConfig)
register_inference("matching_pursuit", MatchingPursuitSAE, configs.MatchingPursuitConfig)
register_inference("temporal", TemporalSAE, configs.TemporalConfig)

__all__ = [
    "SAE",
    "AbsTopKSAE",
    "BatchTopKSAE",
    "GatedSAE",
    "GroupMaxSAE",
    "GroupMaxSkipTranscoderSAE",
    "GroupMaxTranscoderSAE",
    "InferenceJumpReLU",
    "InferenceSkip",
    "JumpReLUSAE",
    "JumpReLUSkipTranscoderSAE",
    "JumpReLUTranscoderSAE",
    "LoadedSAE",
    "Loss",
    "LossState",
    "MatchingPursuitSAE",
    "MatryoshkaSAE",
    "SkipSAE",
    "SkipTranscoderSAE",
    "StandardSAE",
    "TemporalSAE",
    "TopKSAE",
    "TopKSkipTranscoderSAE",
    "TopKTranscoderSAE",
    "TranscoderSAE",
    "architectures",
    "build_sae",
    "create_sae",
    "inference_architectures",
    "inference_sae",
    "register",
    "register_inference",
]
