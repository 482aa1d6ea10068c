"""Defines `Workspace`: a folder with a catalog, files and jobs, which joins training, reading and the library.

ws = Workspace()                 # $SAEWIDGETS_HOME, else ~/.saewidgets
run = ws.trainings.create(TrainingConfig(...))
"""

from saewidgets.catalog.upkeep import CatalogUpkeep
from saewidgets.jobs import Job
from saewidgets.workspace.extractions import Extraction
from saewidgets.workspace.training.run import Run, TrainingGroup
from saewidgets.workspace.workspace import Workspace, default_workspace, steered

__all__ = [
    "CatalogUpkeep", "Extraction", "Job", "Run", "TrainingGroup", "Workspace", "default_workspace", "steered",
]  # fmt: skip
