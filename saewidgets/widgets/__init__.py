"""The widgets: Python holds the truth, the page draws it and sends commands. No logic of their own."""

from saewidgets.widgets.download_from_hf import DownloadFromHF
from saewidgets.widgets.extraction_viewer import ExtractionViewer
from saewidgets.widgets.sae_browser import SAEBrowser
from saewidgets.widgets.steering import Steering
from saewidgets.widgets.training_panel import TrainingPanel

__all__ = ["DownloadFromHF", "ExtractionViewer", "SAEBrowser", "Steering", "TrainingPanel"]
