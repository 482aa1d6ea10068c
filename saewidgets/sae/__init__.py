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
from saewidgets.sae.architectures import architectures as architectures
from saewidgets.sae.architectures import build_sae as build_sae
from saewidgets.sae.architectures import create_sae as create_sae
from saewidgets.sae.architectures import inference_architectures as inference_architectures
from saewidgets.sae.architectures import inference_sae as inference_sae
from saewidgets.sae.architectures import register as register
from saewidgets.sae.architectures import register_inference as register_inference
from saewidgets.sae.base import SAE as SAE
from saewidgets.sae.base import LoadedSAE as LoadedSAE
from saewidgets.sae.base import Loss as Loss
from saewidgets.sae.base import LossState as LossState
from saewidgets.sae.batchtopk import BatchTopKSAE as BatchTopKSAE
from saewidgets.sae.gated import GatedSAE as GatedSAE
from saewidgets.sae.jumprelu import InferenceJumpReLU as InferenceJumpReLU
from saewidgets.sae.jumprelu import JumpReLUSAE as JumpReLUSAE
from saewidgets.sae.matching_pursuit import MatchingPursuitSAE as MatchingPursuitSAE
from saewidgets.sae.matryoshka import MatryoshkaSAE as MatryoshkaSAE
from saewidgets.sae.skip import InferenceSkip as InferenceSkip
from saewidgets.sae.skip import SkipSAE as SkipSAE
from saewidgets.sae.standard import StandardSAE as StandardSAE
from saewidgets.sae.temporal import TemporalSAE as TemporalSAE
from saewidgets.sae.topk import AbsTopKSAE as AbsTopKSAE
from saewidgets.sae.topk import GroupMaxSAE as GroupMaxSAE
from saewidgets.sae.topk import TopKSAE as TopKSAE
from saewidgets.sae.transcoder import GroupMaxSkipTranscoderSAE as GroupMaxSkipTranscoderSAE
from saewidgets.sae.transcoder import GroupMaxTranscoderSAE as GroupMaxTranscoderSAE
from saewidgets.sae.transcoder import JumpReLUSkipTranscoderSAE as JumpReLUSkipTranscoderSAE
from saewidgets.sae.transcoder import JumpReLUTranscoderSAE as JumpReLUTranscoderSAE
from saewidgets.sae.transcoder import SkipTranscoderSAE as SkipTranscoderSAE
from saewidgets.sae.transcoder import TopKSkipTranscoderSAE as TopKSkipTranscoderSAE
from saewidgets.sae.transcoder import TopKTranscoderSAE as TopKTranscoderSAE
from saewidgets.sae.transcoder import TranscoderSAE as TranscoderSAE

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
