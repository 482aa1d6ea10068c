"""Train, collect, read and steer sparse autoencoders of language models without leaving the notebook.

The public names load when they are first used, so that ``import saewidgets`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from saewidgets.version import __version__

if TYPE_CHECKING:
    from saewidgets.config import (
        ActivationCorpus,
        ActivationsConfig,
        BatchTopKConfig,
        CheckpointConfig,
        DemoCorpus,
        EvaluationConfig,
        ExtractionConfig,
        GatedConfig,
        HubCorpus,
        JumpReLUConfig,
        MatryoshkaConfig,
        OptimizerConfig,
        ResamplingConfig,
        SkipConfig,
        SkipTranscoderConfig,
        StandardConfig,
        SteeringConfig,
        SteeringFeature,
        TargetsConfig,
        TextCorpus,
        TokensCorpus,
        TopKConfig,
        TrainingConfig,
        TranscoderConfig,
    )
    from saewidgets.config.templates import preset, presets
    from saewidgets.config.translate import from_mistudio, from_saelens
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
    from saewidgets.features.labels import print_feature_summary
    from saewidgets.formats import detect_format, save_sae
    from saewidgets.hub.load_from_hub import load_sae
    from saewidgets.lm.remote_code import allow_remote_code
    from saewidgets.sae import SAE, create_sae
    from saewidgets.widgets import DownloadFromHF, ExtractionViewer, SAEBrowser, Steering, TrainingPanel
    from saewidgets.workspace import Run, TrainingGroup, Workspace, default_workspace, steered
    from saewidgets.workspace.analyze import analyze_sae
    from saewidgets.workspace.sinks import TrackioSink, WandbSink

_HOMES = {
    "saewidgets.config": (
        "ActivationCorpus", "ActivationsConfig", "BatchTopKConfig", "CheckpointConfig", "DemoCorpus",
        "EvaluationConfig",
        "ExtractionConfig", "GatedConfig", "HubCorpus", "JumpReLUConfig", "MatryoshkaConfig", "OptimizerConfig",
        "ResamplingConfig", "SkipConfig", "SkipTranscoderConfig", "StandardConfig", "SteeringConfig", "SteeringFeature",
        "TargetsConfig", "TextCorpus", "TokensCorpus", "TopKConfig", "TrainingConfig", "TranscoderConfig",
    ),
    "saewidgets.config.templates": ("preset", "presets"),
    "saewidgets.config.translate": ("from_mistudio", "from_saelens"),
    "saewidgets.errors": (
        "CatalogError", "ConfigError", "FormatError", "NotFoundError", "SAEWidgetsError", "StateError", "StorageError",
        "TrainingError",
    ),
    "saewidgets.events": ("JobStatus", "Progress"),
    "saewidgets.features.labels": ("print_feature_summary",),
    "saewidgets.formats": ("detect_format", "save_sae"),
    "saewidgets.hub.load_from_hub": ("load_sae",),
    "saewidgets.lm.remote_code": ("allow_remote_code",),
    "saewidgets.sae": ("SAE", "create_sae"),
    "saewidgets.widgets": ("DownloadFromHF", "ExtractionViewer", "SAEBrowser", "Steering", "TrainingPanel"),
    "saewidgets.workspace": ("Run", "TrainingGroup", "Workspace", "default_workspace", "steered"),
    "saewidgets.workspace.analyze": ("analyze_sae",),
    "saewidgets.workspace.sinks": ("TrackioSink", "WandbSink"),
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "SAE",
    "ActivationCorpus",
    "ActivationsConfig",
    "BatchTopKConfig",
    "CatalogError",
    "CheckpointConfig",
    "ConfigError",
    "DemoCorpus",
    "DownloadFromHF",
    "EvaluationConfig",
    "ExtractionConfig",
    "ExtractionViewer",
    "FormatError",
    "GatedConfig",
    "HubCorpus",
    "JobStatus",
    "JumpReLUConfig",
    "MatryoshkaConfig",
    "NotFoundError",
    "OptimizerConfig",
    "Progress",
    "ResamplingConfig",
    "Run",
    "SAEBrowser",
    "SAEWidgetsError",
    "SkipConfig",
    "SkipTranscoderConfig",
    "StandardConfig",
    "StateError",
    "Steering",
    "SteeringConfig",
    "SteeringFeature",
    "StorageError",
    "TargetsConfig",
    "TextCorpus",
    "TokensCorpus",
    "TopKConfig",
    "TrackioSink",
    "TrainingConfig",
    "TrainingError",
    "TrainingGroup",
    "TrainingPanel",
    "TranscoderConfig",
    "WandbSink",
    "Workspace",
    "__version__",
    "allow_remote_code",
    "analyze_sae",
    "create_sae",
    "default_workspace",
    "detect_format",
    "from_mistudio",
    "from_saelens",
    "load_sae",
    "preset",
    "presets",
    "print_feature_summary",
    "save_sae",
    "steered",
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
