"""The widgets: Python holds the state, the page draws it and sends commands. They contain no logic of the library."""

from saewidgets.widgets.download.widget import DownloadFromHF
from saewidgets.widgets.extraction_viewer.widget import ExtractionViewer
from saewidgets.widgets.sae_browser.widget import SAEBrowser
from saewidgets.widgets.steering.widget import Steering
from saewidgets.widgets.training_panel.widget import TrainingPanel

__all__ = ["DownloadFromHF", "ExtractionViewer", "SAEBrowser", "Steering", "TrainingPanel"]
