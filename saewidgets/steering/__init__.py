"""Steering: a language model that writes with some features of an SAE turned up, down or off."""

from saewidgets.steering.change import LatentChange, estimate_max
from saewidgets.steering.features import SteeringSource, choose
from saewidgets.steering.generating import TokenEvent
from saewidgets.steering.positions import SteeringError
from saewidgets.steering.presets import PresetSAE, SteeringPreset, load_preset, parse_preset, save_preset
from saewidgets.steering.result import BREAKS, STRONG, Candidate, Generation, NewToken, SteeringResult
from saewidgets.steering.steer import Steps, steer, steps, sweep
from saewidgets.steering.steered import Steering, steered

__all__ = [
    "BREAKS", "STRONG", "Candidate", "Generation", "LatentChange", "NewToken", "PresetSAE", "Steering", "SteeringError",
    "SteeringPreset", "SteeringResult", "SteeringSource", "Steps", "TokenEvent", "choose", "estimate_max",
    "load_preset", "parse_preset", "save_preset", "steer", "steered", "steps", "sweep",
]  # fmt: skip
