"""Configuration files: JSON objects of bounded size and depth, without repeated keys."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from saewidgets.errors import FormatError
from saewidgets.formats.source import Source

MAX_BYTES = 1 << 20
MAX_DEPTH = 64

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
        data = json.loads(raw, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:  # also covers broken UTF-8
        raise FormatError(f"This is not JSON ({error}).", where=where, hint="Export the SAE again.") from error
    if not isinstance(data, dict):
        raise FormatError("This is not a JSON object.", where=where, hint="Export the SAE again.")
    level: list[Any] = [data]
    for _ in range(MAX_DEPTH):
        level = [item for value in level if isinstance(value, dict | list)
                 for item in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return data
    raise FormatError(f"The JSON is nested deeper than {MAX_DEPTH} levels.", where=where, hint="Export the SAE again.")


def checked(model: type[Model], data: Any, where: str) -> Model:
    """`data` as `model`. Raises `FormatError` naming the first key that is wrong, and what was found."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        shown = "" if first["type"] == "missing" else f" (found {str(first['input'])[:80]!r})"
        raise FormatError(
            f"{first['msg']}{shown}.", where=f"{where}: {key}", hint="This setting is not supported or was altered."
        ) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found
