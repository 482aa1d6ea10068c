"""Defines `read_yaml`: configuration files in YAML, plain values in tables and lists."""

from __future__ import annotations

from typing import Any

from saewidgets.config import strict_yaml
from saewidgets.errors import FormatError
from saewidgets.formats.source import Source

MAX_BYTES = 1 << 15
_DAMAGED = "Download it again."


def read_yaml(source: Source, name: str) -> dict[str, Any]:
    """The table in the file `name`, at most 32 KiB.

    Raises:
        FormatError: the file is missing, too large, not a table, nested too deeply, names a key twice, or uses
            references (`&`, `*`) or tags (`!`).
    """
    where = f"{source.label}/{name}"
    size = source.files().get(name)
    if size is None:
        raise FormatError("The file is missing.", where=where, hint=_DAMAGED)
    if size > MAX_BYTES:
        raise FormatError(f"The file has {size:,} bytes; at most {MAX_BYTES:,} are read.", where=where)
    try:
        data = strict_yaml.loads(source.read(name, 0, MAX_BYTES + 1).decode(), plain=True)
    except ValueError as error:
        raise FormatError(f"This is not plain YAML ({str(error)[:100]}).", where=where, hint=_DAMAGED) from error
    if not isinstance(data, dict):
        raise FormatError("This is not a table.", where=where, hint=_DAMAGED)
    return data
