"""Reads a training configuration from a file, from flags (which win) and from ``--over``."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from saewidgets.config import TrainingConfig
from saewidgets.config.base import dotted
from saewidgets.config.group import Over, base_of
from saewidgets.config.strict import read_table
from saewidgets.config.training import changed_data
from saewidgets.errors import ConfigError

MAX_BYTES = 1_000_000  # a configuration is a page of text; anything larger is the wrong file


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a ``.json``, ``.toml``, ``.yaml`` or ``.yml`` file; GhostTrack's YAML is called ``.claude``.
    Raises as `read_table` does."""
    return read_table(path, "a configuration", MAX_BYTES, None if path.suffix else "YAML")


def assignment(text: str) -> tuple[str, Any]:
    """``optimizer.lr=1e-3`` as a dotted name and a value (JSON where it parses as JSON, else text; nothing: empty)."""
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise ConfigError(f"{text!r} is not NAME=VALUE.", where="--set", hint="For example --set optimizer.lr=1e-3.")
    return name.strip(), _parsed(value)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return text


def build_config(
    base: Mapping[str, Any], changes: Iterable[tuple[str, Any]], over: Over | None = None
) -> TrainingConfig:
    """The configuration `base` with dotted `changes` applied in order (see `changed_data`). What is missing alone may
    be among the values of `over` (see `create_many`). Raises `ConfigError`."""
    data = changed_data(base, changes)
    if isinstance(data.get("sae"), dict):
        data["sae"] = {"architecture": "topk", **data["sae"]}
    return base_of(data, over or {})


def taken_over(data: dict[str, Any], flags: Iterable[str]) -> dict[str, Any]:
    """Dotted name → values: the table ``over`` of a configuration file, which is taken out of `data`, and ``--over``.
    Tables inside that table are dotted names. A flag replaces the file's values of the same name. Raises `ConfigError`.
    """
    table = data.pop("over", {})
    if not isinstance(table, Mapping):
        raise ConfigError(
            "This is not a table of settings with their values.", where="over", hint='For example {"sae.k": [16, 32]}.'
        )
    given = [_values(flag) for flag in flags]
    for name, _ in given:
        if [other for other, _ in given].count(name) > 1:
            raise ConfigError(
                f"{name} is given twice.", where="--over", hint=f"Name all its values at once: --over {name}=16,32."
            )
    return {**dict(dotted(table)), **dict(given)}


def _values(text: str) -> tuple[str, list[Any]]:
    """``sae.k=16,32`` or ``sae.k=[16, 32]``; values are JSON where they parse as JSON, else text."""
    name, separator, values = text.partition("=")
    if not separator or not name.strip() or not values.strip():
        raise ConfigError(f"{text!r} is not NAME=VALUE,VALUE.", where="--over", hint="For example --over sae.k=16,32.")
    listed = _parsed(values)
    return name.strip(), listed if isinstance(listed, list) else [_parsed(part.strip()) for part in values.split(",")]
