"""Train, collect, read and steer sparse autoencoders of language models without leaving the notebook.

The public names load when they are first used, so that ``import saewidgets`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from saewidgets.config import (
        ActivationsConfig,
        BatchTopKConfig,
        CheckpointConfig,
        DemoCorpus,
        EvaluationConfig,
        JumpReLUConfig,
        OptimizerConfig,
        StandardConfig,
        TextCorpus,
        TopKConfig,
        TrainingConfig,
    )
    from saewidgets.errors import (
        CatalogError,
        ConfigError,
        FormatError,
        NotFoundError,
        SAEWidgetsError,
        StateError,
        StorageError,
        TrainingError,
    )
    from saewidgets.events import JobStatus, Progress
    from saewidgets.formats import detect_format, load_sae, save_sae
    from saewidgets.sae import SAE, create_sae
    from saewidgets.widgets import TrainingPanel
    from saewidgets.workspace import Run, Workspace, default_workspace

_HOMES = {
    "saewidgets.config": (
        "ActivationsConfig", "BatchTopKConfig", "CheckpointConfig", "DemoCorpus", "EvaluationConfig", "JumpReLUConfig",
        "OptimizerConfig", "StandardConfig", "TextCorpus", "TopKConfig", "TrainingConfig",
    ),
    "saewidgets.errors": (
        "CatalogError", "ConfigError", "FormatError", "NotFoundError", "SAEWidgetsError", "StateError", "StorageError",
        "TrainingError",
    ),
    "saewidgets.events": ("JobStatus", "Progress"),
    "saewidgets.formats": ("detect_format", "load_sae", "save_sae"),
    "saewidgets.sae": ("SAE", "create_sae"),
    "saewidgets.widgets": ("TrainingPanel",),
    "saewidgets.workspace": ("Run", "Workspace", "default_workspace"),
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "SAE",
    "ActivationsConfig",
    "BatchTopKConfig",
    "CatalogError",
    "CheckpointConfig",
    "ConfigError",
    "DemoCorpus",
    "EvaluationConfig",
    "FormatError",
    "JobStatus",
    "JumpReLUConfig",
    "NotFoundError",
    "OptimizerConfig",
    "Progress",
    "Run",
    "SAEWidgetsError",
    "StandardConfig",
    "StateError",
    "StorageError",
    "TextCorpus",
    "TopKConfig",
    "TrainingConfig",
    "TrainingError",
    "TrainingPanel",
    "Workspace",
    "__version__",
    "create_sae",
    "default_workspace",
    "detect_format",
    "load_sae",
    "save_sae",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'saewidgets' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
