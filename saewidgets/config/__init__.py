"""Everything a person can set, as pydantic models: one file per noun, no torch.

The same models validate a call in a script, a configuration file of the command line and the form of the panel;
their JSON schema (titles, descriptions, bounds, defaults) is what the form shows.
"""

from saewidgets.config.capture import CaptureConfig as CaptureConfig
from saewidgets.config.corpus import ActivationCorpus as ActivationCorpus
from saewidgets.config.corpus import CorpusConfig as CorpusConfig
from saewidgets.config.corpus import DemoCorpus as DemoCorpus
from saewidgets.config.corpus import HubCorpus as HubCorpus
from saewidgets.config.corpus import TextCorpus as TextCorpus
from saewidgets.config.corpus import TokensCorpus as TokensCorpus
from saewidgets.config.corpus import as_corpus as as_corpus
from saewidgets.config.extraction import ExtractionConfig as ExtractionConfig
from saewidgets.config.sae import BatchTopKConfig as BatchTopKConfig
from saewidgets.config.sae import GatedConfig as GatedConfig
from saewidgets.config.sae import JumpReLUConfig as JumpReLUConfig
from saewidgets.config.sae import MatryoshkaConfig as MatryoshkaConfig
from saewidgets.config.sae import SAEConfig as SAEConfig
from saewidgets.config.sae import SkipConfig as SkipConfig
from saewidgets.config.sae import SkipTranscoderConfig as SkipTranscoderConfig
from saewidgets.config.sae import StandardConfig as StandardConfig
from saewidgets.config.sae import TopKConfig as TopKConfig
from saewidgets.config.sae import TrainableSAEConfig as TrainableSAEConfig
from saewidgets.config.sae import TranscoderConfig as TranscoderConfig
from saewidgets.config.steering import SteeringConfig as SteeringConfig
from saewidgets.config.steering import SteeringFeature as SteeringFeature
from saewidgets.config.training import ActivationsConfig as ActivationsConfig
from saewidgets.config.training import CheckpointConfig as CheckpointConfig
from saewidgets.config.training import EvaluationConfig as EvaluationConfig
from saewidgets.config.training import OptimizerConfig as OptimizerConfig
from saewidgets.config.training import Parallel as Parallel
from saewidgets.config.training import ResamplingConfig as ResamplingConfig
from saewidgets.config.training import TargetsConfig as TargetsConfig
from saewidgets.config.training import TrainingConfig as TrainingConfig
from saewidgets.config.training import validate as validate
