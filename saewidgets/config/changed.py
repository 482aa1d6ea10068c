"""Settings replaced by their dotted names in data that need not be a whole configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from saewidgets.config.corpus import as_corpus
from saewidgets.config.dotted import put
from saewidgets.config.training import TrainingConfig


def changed_data(config: Mapping[str, Any], changes: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The data with settings replaced by dotted name, in the order of `changes`; `config` stays as it is.

    A change of ``sae.architecture`` leaves ``sae.d_sae`` and drops the settings of the former one.

    Raises:
        ConfigError: a part of a name holds a value.
    """
    changes = list(changes)
    data, wanted, sae = dict(config), dict(changes).get("sae.architecture"), config.get("sae")
    if wanted and isinstance(sae, Mapping) and sae.get("architecture", "topk") != wanted:
        data["sae"] = {name: value for name, value in sae.items() if name == "d_sae"}
    for name, value in changes:
        if name.startswith("corpus."):  # --corpus owner/name --set corpus.text_field=body
            data["corpus"] = as_corpus(data.get("corpus", {}))
        put(data, name, value)
    return data


def with_changes(config: Mapping[str, Any], changes: Mapping[str, Any]) -> TrainingConfig:
    """The configuration with settings replaced by dotted name (see `changed_data`).

    Raises:
        ConfigError: it cannot work, or a name is none of a setting.
    """
    return TrainingConfig.from_data(changed_data(config, changes.items()))
