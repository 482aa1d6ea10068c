"""Nested settings as dotted names: ``{"sae": {"k": 32}}`` is ``sae.k`` = 32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from saewidgets.errors import ConfigError


def dotted(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of everything that is not a mapping itself, in the order of `data`."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def put(data: MutableMapping[str, Any], name: str, value: Any) -> None:
    """Set the dotted `name` in nested dictionaries, making those that are missing. Those that are there are copied.

    A name that is none of a setting is put as well: the configuration that is built from `data` refuses it, and says
    what may have been meant.

    Raises:
        ConfigError: a part of the name holds a value.
    """
    *parents, last = name.split(".")
    for parent in parents:
        inner = data.get(parent, {})
        if hasattr(inner, "to_data"):  # a configuration object
            inner = inner.to_data()
        if not isinstance(inner, Mapping):
            raise ConfigError(
                f"{parent} holds a value, so nothing can be set inside it.", where=name,
                hint='Dotted names are those of TrainingConfig: "sae.k", "optimizer.lr".',
            )
        data[parent] = dict(inner)
        data = data[parent]
    data[last] = value
