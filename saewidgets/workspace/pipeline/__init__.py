"""Many layers of one model: capture once, train each, check all."""

from saewidgets.workspace.pipeline.checks import Check, LayerReport
from saewidgets.workspace.pipeline.pipeline import Pipeline

__all__ = ["Check", "LayerReport", "Pipeline"]
