"""For the tests of translations: recorded configurations that were changed, and what was said of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from saewidgets.config.translate import Translation


def with_settings(data: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`data` with some settings changed; dotted names reach inside."""
    for name, value in changes.items():
        target, path = data, name.split(".")
        for part in path[:-1]:
            target = target[part]
        target[path[-1]] = value
    return data


def remarks(found: Translation, kind: str | None = None) -> dict[str, str]:
    """Setting → what was said of it; of one kind of remarks, or of all."""
    return {each.setting: each.text for each in found.remarks if kind in (None, each.kind)}
