"""The widgets: Python holds the truth, the page draws it and sends commands. No logic of their own."""

from saewidgets.widgets.download.widget import DownloadFromHF
from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer
from saewidgets.widgets.sae_browser.widget import SAEBrowser
from saewidgets.widgets.steering.widget import Steering
from saewidgets.widgets.training_panel.widget import TrainingPanel

__all__ = ["DownloadFromHF", "ExtractionViewer", "SAEBrowser", "Steering", "TrainingPanel"]
