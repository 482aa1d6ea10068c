"""Everything a person can set, as pydantic models: one file per noun, no torch.

The same models validate a call in a script, a configuration file of the command line and the form of the panel;
their JSON schema (titles, descriptions, bounds, defaults) is what the form shows.
"""

from saewidgets.config.capture import CaptureConfig
from saewidgets.config.corpus import (
    ActivationCorpus,
    CorpusConfig,
    DemoCorpus,
    HubCorpus,
    TextCorpus,
    TokensCorpus,
    as_corpus,
)
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.config.sae import (
    BatchTopKConfig,
    GatedConfig,
    JumpReLUConfig,
    MatryoshkaConfig,
    SAEConfig,
    SkipConfig,
    SkipTranscoderConfig,
    StandardConfig,
    TopKConfig,
    TrainableSAEConfig,
    TranscoderConfig,
)
from saewidgets.config.steering import SteeringConfig, SteeringFeature
from saewidgets.config.training import (
    ActivationsConfig,
    CheckpointConfig,
    EvaluationConfig,
    OptimizerConfig,
    ResamplingConfig,
    TargetsConfig,
    TrainingConfig,
    validate,
)

__all__ = [
    "ActivationCorpus",
    "ActivationsConfig",
    "BatchTopKConfig",
    "CaptureConfig",
    "CheckpointConfig",
    "CorpusConfig",
    "DemoCorpus",
    "EvaluationConfig",
    "ExtractionConfig",
    "GatedConfig",
    "HubCorpus",
    "JumpReLUConfig",
    "MatryoshkaConfig",
    "OptimizerConfig",
    "ResamplingConfig",
    "SAEConfig",
    "SkipConfig",
    "SkipTranscoderConfig",
    "StandardConfig",
    "SteeringConfig",
    "SteeringFeature",
    "TargetsConfig",
    "TextCorpus",
    "TokensCorpus",
    "TopKConfig",
    "TrainableSAEConfig",
    "TrainingConfig",
    "TranscoderConfig",
    "as_corpus",
    "validate",
]
