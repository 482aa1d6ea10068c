"""A training configuration from a file, from flags, or from both: flags win."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config.strict_json import MAX_DEPTH, is_deep, loads
from saewidgets.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from saewidgets.config import TrainingConfig
    from saewidgets.config.group import Over

MAX_BYTES = 1_000_000  # a configuration is a page of text; anything larger is the wrong file
_KINDS = {".json": "JSON", ".toml": "TOML", ".yaml": "YAML", ".yml": "YAML"}
_FLAT = "Settings are tables in tables: sae, then its settings."
_DOTTED = re.compile(rf"(?<![\w-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{MAX_DEPTH}}}")


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
        data = _parse(path.suffix.lower(), path.read_text(encoding="utf-8-sig"), path)
    except UnicodeDecodeError as error:
        raise ConfigError("This file is not UTF-8 text.", where=str(path)) from error
    if not isinstance(data, dict):
        raise ConfigError("A configuration is a table of settings, this is something else.", where=str(path))
    if is_deep(data):
        raise ConfigError(f"This file is nested deeper than {MAX_DEPTH} levels.", where=str(path), hint=_FLAT)
    return data


def _parse(suffix: str, text: str, path: Path) -> Any:
    if suffix not in _KINDS:
        raise ConfigError(
            f"{suffix or 'No suffix'} is not a known kind of configuration.", where=str(path),
            hint="Use a .json, .toml or .yaml file.",
        )
    try:
        if suffix == ".json":
            return loads(text)
        if suffix == ".toml":
            if _DOTTED.search(text):  # tomllib takes time with the square of their number
                raise ValueError("a name has too many dots")
            return tomllib.loads(text)
        from saewidgets.config import strict_yaml  # yaml: only for the few who use it

        return strict_yaml.loads(text)
    except RecursionError as error:
        raise ConfigError("This file is nested too deeply.", where=str(path), hint=_FLAT) from error
    except ValueError as error:
        raise ConfigError(f"Not valid {_KINDS[suffix]}: {error}.", where=str(path)) from error


def assignment(text: str) -> tuple[str, Any]:
    """``optimizer.lr=1e-3`` as a dotted name and a value (JSON where it parses as JSON, else text)."""
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise ConfigError(f"{text!r} is not NAME=VALUE.", where="--set", hint="For example --set optimizer.lr=1e-3.")
    try:
        return name.strip(), json.loads(value)
    except (ValueError, RecursionError):
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
