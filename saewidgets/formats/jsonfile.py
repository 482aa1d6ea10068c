"""Configuration files: JSON objects of bounded size and depth, without repeated keys."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from saewidgets.config.base import Config
from saewidgets.config.strict_json import MAX_DEPTH, is_deep, loads
from saewidgets.errors import ConfigError, FormatError
from saewidgets.formats.source import Source

MAX_BYTES = 1 << 20
_LONGEST = 80  # characters of a wrong value that are repeated
_BRANCHES = frozenset({"int", "str"})  # what pydantic adds to the key of a value that may be either
# Pydantic's kinds of errors → what was expected; others are said in its own words.
_EXPECTED = {
    "int_type": "a whole number", "int_from_float": "a whole number", "float_type": "a number",
    "finite_number": "a finite number", "bool_type": "true or false", "string_type": "a text",
    "dict_type": "an object", "model_type": "an object", "model_attributes_type": "an object",
    "list_type": "a list", "greater_than": "more than {gt}", "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}", "less_than_equal": "at most {le}", "literal_error": "{expected}",
    "string_too_long": "at most {max_length} characters",
}  # fmt: skip

Model = TypeVar("Model", bound=BaseModel)


def read_json(source: Source, name: str) -> dict[str, Any]:
    """The JSON object in the file `name`, at most 1 MiB.

    Raises:
        FormatError: the file is missing, too large, not a JSON object, nested too deeply, or names a key twice (two
            readers could take different ones).
    """
    where = f"{source.label}/{name}"
    size = source.files().get(name)
    if size is None:
        raise FormatError("The file is missing.", where=where, hint="Export or download the SAE again.")
    if size > MAX_BYTES:
        raise FormatError(f"The file has {size:,} bytes; at most {MAX_BYTES:,} are read.", where=where)
    return parse_json(source.read(name, 0, MAX_BYTES + 1), where)


def parse_json(raw: bytes, where: str) -> dict[str, Any]:
    """`raw` as a JSON object; `where` is what errors call it."""
    try:
        data = loads(raw)
    except ValueError as error:
        raise FormatError(f"This is not JSON ({error}).", where=where, hint="Export the SAE again.") from error
    if not isinstance(data, dict):
        raise FormatError("This is not a JSON object.", where=where, hint="Export the SAE again.")
    if is_deep(data):
        raise FormatError(
            f"The JSON is nested deeper than {MAX_DEPTH} levels.", where=where, hint="Export the SAE again."
        )
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
        if isinstance(cause, ConfigError):  # values that do not fit together
            key = ".".join(filter(None, [key, cause.where]))
            what, hint = cause.what, cause.hint
        else:
            what = _sentence([item for item in items if _key(item) == key])
            hint = "This setting is not supported or was altered."
        raise FormatError(what, where=f"{where}: {key}" if key else where, hint=hint) from error


def _key(item: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in item["loc"] if part not in _BRANCHES)


def _sentence(items: list[Any]) -> str:
    """What is wrong with one key: `items` are the errors of all that it may be."""
    if items[0]["type"] == "missing":
        return "The value is missing."
    if items[0]["type"] == "extra_forbidden":
        return "There is no such setting."
    return f"The value is {_shown(items[0]['input'])}, expected {' or '.join(_expected(item) for item in items)}."


def _expected(item: Mapping[str, Any]) -> str:
    known = _EXPECTED.get(item["type"])
    return known.format(**item.get("ctx") or {}) if known else str(item["msg"]).removeprefix("Input should be ")


def _shown(value: Any) -> str:
    """`value` as the file has it: ``"4"`` is a text, ``4`` a number."""
    text = json.dumps(value, ensure_ascii=False, default=str, skipkeys=True)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
