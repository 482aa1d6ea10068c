"""One folder = catalog + files + jobs: the only place where training, reading and the library meet.

ws = Workspace()                 # $SAEWIDGETS_HOME, else ~/.saewidgets
run = ws.trainings.create(TrainingConfig(...))
"""

from saewidgets.catalog import upgrade_catalog
from saewidgets.workspace.default import default_workspace
from saewidgets.workspace.run import Run
from saewidgets.workspace.workspace import Workspace

__all__ = ["Run", "Workspace", "default_workspace", "upgrade_catalog"]
