"""Configuration files in YAML: plain values in tables and lists, of bounded size, without the language's tricks."""

from __future__ import annotations

from typing import Any

import yaml

from saewidgets.errors import FormatError
from saewidgets.formats.source import Source

MAX_BYTES = 1 << 15
MAX_EVENTS = 4_000
MAX_DEPTH = 16
_DAMAGED = "Download it again."


def read_yaml(source: Source, name: str) -> dict[str, Any]:
    """The table in the file `name`, at most 32 KiB.

    Raises:
        FormatError: the file is missing, too large, not a table, nested too deeply, names a key twice, or uses
            references (`&`, `*`) or tags (`!`), with which little text stands for much.
    """
    where = f"{source.label}/{name}"
    size = source.files().get(name)
    if size is None:
        raise FormatError("The file is missing.", where=where, hint=_DAMAGED)
    if size > MAX_BYTES:
        raise FormatError(f"The file has {size:,} bytes; at most {MAX_BYTES:,} are read.", where=where)
    try:
        text = source.read(name, 0, MAX_BYTES + 1).decode()
        _look(text, where)  # first the structure alone, which takes little whatever it is
        data = yaml.load(text, Loader=_Loader)
    except FormatError:
        raise
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise FormatError(f"This is not YAML ({str(problem)[:100]}).", where=where, hint=_DAMAGED) from error
    if not isinstance(data, dict):
        raise FormatError("This is not a table.", where=where, hint=_DAMAGED)
    return data


def _look(text: str, where: str) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if count > MAX_EVENTS or depth > MAX_DEPTH:
            raise FormatError(
                f"It has more than {MAX_EVENTS:,} values or {MAX_DEPTH} levels.", where=where, hint=_DAMAGED
            )
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent) or anchor is not None or tag is not None:
            raise FormatError("It uses references or tags, which are not read.", where=where, hint=_DAMAGED)


class _Loader(yaml.SafeLoader):
    """Plain values; a key that is there twice is an error, since two readers could take different ones."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(found) != len(node.value):
            raise ValueError("a key is repeated")
        return found
