"""Steering: a language model that writes with some features of an SAE turned up, down or off."""

from saewidgets.steering.change import LatentChange as LatentChange
from saewidgets.steering.change import estimate_max as estimate_max
from saewidgets.steering.features import SteeringSource as SteeringSource
from saewidgets.steering.features import choose as choose
from saewidgets.steering.generating import TokenEvent as TokenEvent
from saewidgets.steering.positions import SteeringError as SteeringError
from saewidgets.steering.presets import PresetSAE as PresetSAE
from saewidgets.steering.presets import SteeringPreset as SteeringPreset
from saewidgets.steering.presets import load_preset as load_preset
from saewidgets.steering.presets import parse_preset as parse_preset
from saewidgets.steering.presets import save_preset as save_preset
from saewidgets.steering.result import BREAKS as BREAKS
from saewidgets.steering.result import STRONG as STRONG
from saewidgets.steering.result import Candidate as Candidate
from saewidgets.steering.result import Generation as Generation
from saewidgets.steering.result import NewToken as NewToken
from saewidgets.steering.result import SteeringResult as SteeringResult
from saewidgets.steering.steer import Steps as Steps
from saewidgets.steering.steer import steer as steer
from saewidgets.steering.steer import steps as steps
from saewidgets.steering.steer import sweep as sweep
from saewidgets.steering.steered import Steering as Steering
from saewidgets.steering.steered import steered as steered
