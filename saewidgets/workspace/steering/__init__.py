"""Steering with the SAEs of a workspace: by their ids, on the model they were made for, beside what runs there.

ws.steer(None, [("sae_5f0c9a1e…", 7451, 2.0)], "In the morning")
with saewidgets.steered(model, [("sae_5f0c9a1e…", 7451, 2.0)]): model.generate(...)
"""

from saewidgets.workspace.steering.presets import PresetRecord, Presets
from saewidgets.workspace.steering.steer import PromptToken, Steering
from saewidgets.workspace.steering.strengths import Maximum

__all__ = ["Maximum", "PresetRecord", "Presets", "PromptToken", "Steering"]
