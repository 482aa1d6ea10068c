"""Pydantic's errors in our own words: the field's dotted name, what is wrong, what would be right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from saewidgets.errors import ConfigError

if TYPE_CHECKING:
    from saewidgets.config.training import TrainingConfig

# Discriminated unions put the chosen branch's tag into the location; a person never typed it.
_TAGS = frozenset({"standard", "topk", "batchtopk", "jumprelu", "demo", "text", "model-instance"})


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location if not (isinstance(part, str) and part in _TAGS))


def _sentence(item: Mapping[str, Any]) -> str:
    kind, context = item["type"], item.get("ctx") or {}
    if kind == "missing":
        return "A value is required."
    if kind == "extra_forbidden":
        return "There is no such setting."
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", item["msg"]))
    shown = item.get("input")
    value = f" (got {shown!r})" if isinstance(shown, str | int | float | bool) else ""
    return f"{item['msg']}{value}."


def config_errors(error: ValidationError) -> dict[str, str]:
    """Dotted field name → one sentence. Errors that concern the whole model stand under ``""``."""
    found: dict[str, str] = {}
    for item in error.errors(include_url=False):
        field, sentence = _field(tuple(item["loc"])), _sentence(item)
        cause = (item.get("ctx") or {}).get("error")
        if isinstance(cause, ConfigError) and cause.where:
            field = ".".join(filter(None, [field, cause.where]))
            sentence = " ".join(filter(None, [cause.what, cause.hint]))
        found.setdefault(field, sentence)
    return found


def to_config_error(error: ValidationError) -> ConfigError:
    """The first problem as a `ConfigError`; the number of further ones is mentioned."""
    found = config_errors(error)
    field, sentence = next(iter(found.items()))
    more = f"{len(found) - 1} more: {', '.join(list(found)[1:])}." if len(found) > 1 else None
    return ConfigError(sentence, where=field or None, hint=more)


def validate(data: Any) -> tuple[TrainingConfig | None, dict[str, str]]:
    """Check form data: ``(config, {})`` when good, ``(None, {field: sentence, …})`` when not. Never raises."""
    from saewidgets.config.training import TrainingConfig  # this module is below it

    try:
        return TrainingConfig.model_validate(data), {}
    except ValidationError as error:
        return None, config_errors(error)
