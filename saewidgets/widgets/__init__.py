"""The widgets: Python holds the truth, the page draws it and sends commands. No logic of their own."""

from saewidgets.widgets.training_panel import TrainingPanel

__all__ = ["TrainingPanel"]
