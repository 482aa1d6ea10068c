"""Defines `read_json` and `read_yaml`, of bounded size and depth and without repeated keys, and `checked`, which makes
a pydantic model of what they read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from saewidgets.config import strict
from saewidgets.config.base import Config
from saewidgets.config.strict import MAX_DEPTH
from saewidgets.errors import ConfigError, FormatError
from saewidgets.formats.source import Source, read_small

MAX_BYTES = 1 << 20
MAX_YAML = 1 << 15
_AGAIN = "Export or download the SAE again."
_LONGEST = 80  # characters of a wrong value that are repeated
_BRANCHES = frozenset({"int", "str"})  # what pydantic adds to the key of a value that may be either

Model = TypeVar("Model", bound=BaseModel)


def read_json(source: Source, name: str) -> dict[str, Any]:
    """The JSON object in the file `name`, at most 1 MiB.

    Raises:
        FormatError: the file is missing, too large, not a JSON object, nested too deeply, or names a key twice (two
            readers could take different ones).
    """
    return parse_json(read_small(source, name, MAX_BYTES), f"{source.label}/{name}")


def parse_json(raw: bytes, where: str) -> dict[str, Any]:
    """`raw` as a JSON object; `where` is what errors call it."""
    try:
        data = strict.loads(raw)
    except ValueError as error:
        raise FormatError(f"This is not JSON ({error}).", where=where, hint=_AGAIN) from error
    if not isinstance(data, dict):
        raise FormatError("This is not a JSON object.", where=where, hint=_AGAIN)
    if strict.is_deep(data):
        raise FormatError(f"The JSON is nested deeper than {MAX_DEPTH} levels.", where=where, hint=_AGAIN)
    return data


def read_yaml(source: Source, name: str) -> dict[str, Any]:
    """The table in the YAML file `name`, at most 32 KiB.

    Raises:
        FormatError: the file is missing, too large, not a table, nested too deeply, names a key twice, or uses
            references (`&`, `*`) or tags (`!`).
    """
    where, raw = f"{source.label}/{name}", read_small(source, name, MAX_YAML)
    try:
        data = strict.loads_yaml(raw.decode(), plain=True)
    except ValueError as error:
        raise FormatError(f"This is not plain YAML ({str(error)[:100]}).", where=where, hint=_AGAIN) from error
    if not isinstance(data, dict):
        raise FormatError("This is not a table.", where=where, hint=_AGAIN)
    return data


def encoded(data: Mapping[str, Any], *, indent: int | None = None) -> bytes:
    """A configuration as strict JSON that `read_json` takes. Raises `FormatError` where it would not."""
    raw = json.dumps(data, indent=indent, allow_nan=False).encode()
    if len(raw) > MAX_BYTES:
        raise FormatError(
            f"The configuration with its metadata has {len(raw):,} bytes; at most {MAX_BYTES:,} can be read back.",
            where="metadata", hint="Shorten sae.metadata.",
        )
    parse_json(raw, "metadata")
    return raw


def plain(value: Any) -> Any:
    """`value` as strict JSON: tuples become lists, numbers that JSON lacks become null, other objects their text."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Config):
        return plain(value.to_data())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value)


def checked(model: type[Model], data: Any, where: str) -> Model:
    """`data` as `model`: the one place where the values of a configuration are read.

    Strictly: ``true`` and ``"4"`` are no numbers, whoever wrote them. Raises `FormatError` naming the first key that is
    wrong, what was found and what was expected.
    """
    try:
        return model.model_validate(data, strict=True)
    except ValidationError as error:
        items = error.errors(include_url=False)
        first, key = items[0], _key(items[0])
        cause = first.get("ctx", {}).get("error")
        hint: str | None = "This setting is not supported or was altered."
        if isinstance(cause, ConfigError):  # values that do not fit together
            key = ".".join(filter(None, [key, cause.where]))
            what, hint = cause.what, cause.hint
        elif first["type"] == "missing":
            what = "The value is missing."
        else:
            expected = [item["msg"].removeprefix("Input should be ") for item in items if _key(item) == key]
            found = json.dumps(first["input"], ensure_ascii=False, default=str, skipkeys=True)
            found = found if len(found) <= _LONGEST else f"{found[:_LONGEST]}…"
            what = f"The value is {found}, expected {' or '.join(expected)}."
        raise FormatError(what, where=f"{where}: {key}" if key else where, hint=hint) from error


def _key(item: Any) -> str:
    return ".".join(str(part) for part in item["loc"] if part not in _BRANCHES)
