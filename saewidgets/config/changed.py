"""Settings replaced by their dotted names in data that need not be a whole configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saewidgets.config.base import Config
from saewidgets.config.corpus import as_corpus
from saewidgets.config.training import TrainingConfig
from saewidgets.errors import ConfigError


def with_changes(config: Mapping[str, Any], changes: Mapping[str, Any]) -> TrainingConfig:
    """The configuration with settings replaced by dotted name.

    Raises:
        ConfigError: it cannot work, or a name is none of a setting.
    """
    data = dict(config)
    for name, value in changes.items():
        target, path = data, name.split(".")
        for part in path[:-1]:
            inner = target.get(part, {})
            if isinstance(inner, Config):
                inner = inner.to_data()
            elif part == "corpus":
                inner = as_corpus(inner)
            if not isinstance(inner, Mapping):
                raise ConfigError(
                    f"{part} holds a value, so nothing can be set inside it.", where=name,
                    hint='Dotted names are those of TrainingConfig: "sae.k", "optimizer.lr".',
                )
            target[part] = dict(inner)
            target = target[part]
        target[path[-1]] = value
    return TrainingConfig.from_data(data)
