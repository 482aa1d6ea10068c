"""Arguments of public methods, checked by their names: one of a wrong kind is refused before Python stumbles over it.

What a name stands for is the same in all of reading and steering, so one table says it once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar

from saewidgets.config import SteeringConfig
from saewidgets.config import arguments as take

T = TypeVar("T")
Check = Callable[[Any, str], Any]


def _id(value: Any, where: str) -> str:
    return take.text(value, where, "an id or a name")


def _text(value: Any, where: str) -> str:
    take.text(value, where, "what it says")
    return str(value)  # as it is: who keeps or reads it refuses what it cannot


def _flag(value: Any, where: str) -> bool:
    return take.truth(value, where, "a choice")


def _path(value: Any, where: str) -> Any:
    return take.path(value, where, "where to write it")


def numbers(value: Any, where: str) -> list[int]:
    """Numbers of features as a list. Raises `ConfigError`: there is something else among them."""
    hint = "Give a list of numbers, such as [5, 17]."
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        take.refuse(value, where, "numbers of features, a list", hint)
    return [take.count(each, where, "the number of a feature", hint=hint) for each in value]


def _steering(value: Any, where: str) -> SteeringConfig:
    return take.kind(value, SteeringConfig, where, "a SteeringConfig", "Give SteeringConfig(prompt=…, features=…).")


def _n(value: Any, where: str) -> int:
    return take.count(value, where, "how many to find", least=1)


def _place(value: Any, where: str) -> int:
    return take.count(value, where, "the number of a token", least=-(2**63), hint="Use 0 or more.")


_IDS = ("sae_id", "training_id", "extraction_id", "feature_id", "job_id", "wanted", "sae")
_TEXTS = ("search", "text", "prompt", "title", "source_type", "show", "sort")
_FLAGS = ("descending", "starred", "again", "replace", "steered", "prepend_bos", "logits")
_COUNTS = ("limit", "offset", "swept")
_PLACES = ("position", "token")  # which there are, the method says
_CHECKS: dict[str, Check] = {
    **dict.fromkeys(_IDS, _id), **dict.fromkeys(_TEXTS, _text), **dict.fromkeys(_FLAGS, _flag),
    **{name: lambda value, where: take.count(value, where, "a count") for name in _COUNTS},
    **dict.fromkeys(_PLACES, _place),
    "index": lambda value, where: take.count(value, where, "the number of a feature"),
    "indices": numbers, "n": _n, "path": _path,
}  # fmt: skip


def checks_arguments(of: type[T]) -> type[T]:
    """The class with all its public methods refusing arguments of a wrong kind by their name (`ConfigError`).

    None is taken where a method says so.
    """
    for name, method in inspect.getmembers(of, inspect.isfunction):
        if not name.startswith("_") and (checks := _of(method)):
            setattr(of, name, _checking(method, checks))
    return of


def _of(method: Callable[..., Any]) -> dict[str, tuple[Check, bool]]:
    """Parameter → its check, and whether it may be None."""
    found: dict[str, tuple[Check, bool]] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        said = str(parameter.annotation)
        check = _steering if said == "SteeringConfig" else _CHECKS.get(name)
        if check is not None:
            found[name] = check, "None" in said
    return found


def _checking(method: Callable[..., Any], checks: dict[str, tuple[Check, bool]]) -> Callable[..., Any]:
    signature = inspect.signature(method)

    @wraps(method)
    def checked(*given: Any, **named: Any) -> Any:
        bound = signature.bind(*given, **named)
        for name, (check, optional) in checks.items():
            if name in bound.arguments and not (optional and bound.arguments[name] is None):
                bound.arguments[name] = check(bound.arguments[name], name)
        return method(*bound.args, **bound.kwargs)

    return checked
