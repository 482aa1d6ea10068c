"""The names of this package, each with the module that defines it: `__init__.py` reads them from here."""

from .checkpoint import Checkpoint as Checkpoint
from .checkpoint import list_checkpoints as list_checkpoints
from .checkpoint import newest_whole as newest_whole
from .member import Task as Task
from .member import TrainingResult as TrainingResult
from .run import run_group as run_group
from .run import run_training as run_training
