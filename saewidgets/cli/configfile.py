"""A training configuration from a file, from flags, or from both: flags win."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from saewidgets.config import TrainingConfig
    from saewidgets.config.group import Over

MAX_BYTES = 1_000_000  # a configuration is a page of text; anything larger is the wrong file


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a ``.json``, ``.toml``, ``.yaml`` or ``.yml`` file.

    Raises:
        NotFoundError: there is no such file.
        ConfigError: it is too large, cannot be parsed, or holds no table of settings.
    """
    if not path.is_file():
        raise NotFoundError("There is no such configuration file.", where=str(path))
    if path.stat().st_size > MAX_BYTES:
        raise ConfigError("This file is too large for a configuration.", where=str(path))
    try:
        data = _parse(path.suffix.lower(), path.read_text(encoding="utf-8"), path)
    except UnicodeDecodeError as error:
        raise ConfigError("This file is not UTF-8 text.", where=str(path)) from error
    if not isinstance(data, dict):
        raise ConfigError("A configuration is a table of settings, this is something else.", where=str(path))
    return data


def _parse(suffix: str, text: str, path: Path) -> Any:
    if suffix == ".json":
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"Not valid JSON: {error}.", where=str(path)) from error
    if suffix == ".toml":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"Not valid TOML: {error}.", where=str(path)) from error
    if suffix in (".yaml", ".yml"):
        import yaml  # only for the few who use it

        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"Not valid YAML: {' '.join(str(error).split())}.", where=str(path)) from error
    raise ConfigError(
        f"{suffix or 'No suffix'} is not a known kind of configuration.",
        where=str(path),
        hint="Use a .json, .toml or .yaml file.",
    )


def assignment(text: str) -> tuple[str, Any]:
    """``optimizer.lr=1e-3`` as a dotted name and a value (JSON where it parses as JSON, else text)."""
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise ConfigError(f"{text!r} is not NAME=VALUE.", where="--set", hint="For example --set optimizer.lr=1e-3.")
    try:
        return name.strip(), json.loads(value)
    except json.JSONDecodeError:
        return name.strip(), value


def _odd(value: Any, name: str = "") -> str | None:
    """The dotted name of the first value that JSON has no form for."""
    if isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        found = (_odd(item, f"{name}.{key}" if name else str(key)) for key, item in items)
        return next(filter(None, found), None)
    return None if value is None or isinstance(value, str | int | float) else name


def build_config(
    base: Mapping[str, Any], changes: Iterable[tuple[str, Any]], over: Over | None = None
) -> TrainingConfig:
    """The configuration `base` with dotted `changes` applied in order.

    A change of ``sae.architecture`` drops settings of the former architecture that the new one does not have. What is
    missing alone may be among the values of `over` (see `create_many`).

    Raises:
        ConfigError: a setting does not exist or has a value that cannot work.
    """
    from saewidgets.config.changed import changed_data  # pydantic: `saewidgets --help` does without
    from saewidgets.config.group import base_of

    try:
        data = json.loads(json.dumps(dict(base)))  # a deep copy, and a check that it is plain data
    except TypeError as error:  # TOML and YAML have dates
        raise ConfigError(
            f"A configuration holds texts, numbers and lists only ({error}).", where=_odd(base) or "configuration",
            hint="Put dates and times in quotes.",
        ) from error
    data = changed_data(data, changes)
    if isinstance(data.get("sae"), dict):
        data["sae"].setdefault("architecture", "topk")
    return base_of(data, over or {})
