"""Defines `checks_arguments`, which makes public methods refuse an argument of the wrong type by its name, and take
whatever names a row (see `lookup`) for its id.

The annotation of a parameter gives its type; names that mean more than that are in one table.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar

from saewidgets.config import SteeringConfig
from saewidgets.config import arguments as take
from saewidgets.errors import ConfigError, SAEWidgetsError
from saewidgets.render import facts_card
from saewidgets.workspace.lookup import find_id

MAX_NOTES = 20_000
T = TypeVar("T")
Check = Callable[[Any, str], Any]
Nouns = tuple[str, ...]


def _secret(value: Any, where: str) -> str:
    return take.text(value, where, "an access token", secret=True)


def _place(value: Any, where: str) -> int:
    return take.count(value, where, "the number of a token", least=-(2**63), hint="Use a whole number, 0 or more.")


def numbers(value: Any, where: str) -> list[int]:
    """Numbers of features as a list. Raises `ConfigError`: there is something else among them."""
    hint = "Give a list of whole numbers, 0 or more, such as [5, 17]."
    if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
        take.refuse(value, where, "a list of feature numbers", hint)
    return [take.count(each, where, "the number of a feature", hint=hint) for each in value]


def notes(text: str) -> str:
    """The notes on an SAE or a feature. Raises `ConfigError`: they are too long, or no file can hold them."""
    if len(text) > MAX_NOTES:
        raise ConfigError(f"Notes have at most {MAX_NOTES:,} characters.", where="notes", hint="Shorten them.")
    return take.whole_text(text, "notes")


_BY_KIND: dict[str, Check] = {
    # Its users refuse what they cannot keep.
    "str": lambda value, where: take.kind(value, str, where, "a string", "Write it in quotes."),
    "bool": take.truth,
    **dict.fromkeys(
        ("str | Path", "str | PathLike[str]"), lambda value, where: take.path(value, where, "a file or folder")
    ),
    "SteeringConfig": lambda value, where: take.kind(
        value, SteeringConfig, where, "a SteeringConfig", "Give SteeringConfig(prompt=…, features=…)."
    ),
}  # fmt: skip
_READ = ("sae", "training", "extraction")  # what has features
_NOUNS: dict[str, Nouns] = {
    **dict.fromkeys(("sae_id", "wanted", "sae"), _READ),
    **{f"{noun}_id": (noun,) for noun in ("training", "extraction", "feature", "job", "store", "group")},
}
"""Parameter that is a `Ref` → the kinds of rows that it names. The `NAMED` of a class has others."""
_BY_NAME: dict[str, Check] = {
    **dict.fromkeys(
        ("limit", "offset", "swept"), lambda value, where: take.count(value, where, "a count", most=2**31 - 1)
    ),  # what every database holds as a number
    **dict.fromkeys(("position", "token"), _place),  # which there are, the method says
    "index": lambda value, where: take.count(value, where, "the number of a feature"),
    "indices": numbers, "n": lambda value, where: take.count(value, where, "a count", least=1),
}  # fmt: skip


def checks_arguments(of: type[T]) -> type[T]:
    """The class with all its public methods refusing arguments of a wrong kind by their name (`ConfigError`).

    None is taken where a method says so. Methods that destroy something take no beginnings of ids.
    """
    nouns = _NOUNS | getattr(of, "NAMED", {})
    for name, method in inspect.getmembers(of, inspect.isfunction):
        static = isinstance(inspect.getattr_static(of, name), staticmethod)
        if not name.startswith("_") and not static and (checks := _of(method, nouns)):
            setattr(of, name, _checking(method, checks))
    if of.__repr__ is object.__repr__:
        of.__repr__, of._repr_html_ = _overview, _overview_html  # type: ignore[method-assign,attr-defined]
    return of


def _facts(namespace: Any) -> tuple[str, dict[str, str]]:
    """The title and the contents of the overview of a namespace."""
    methods = [name for name, _ in inspect.getmembers(type(namespace), inspect.isfunction) if not name.startswith("_")]
    facts = {"Methods": ", ".join(methods)}
    with suppress(SAEWidgetsError, AttributeError):  # features are listed by SAE, and the hub has no list
        facts = {"Holds": f"{len(namespace.list()):,}"} | facts
    return inspect.getdoc(namespace).partition("\n")[0], facts  # type: ignore[union-attr]  # each has one


def _overview(namespace: Any) -> str:
    title, facts = _facts(namespace)
    return "\n".join([title, *(f"  {name}: {text}" for name, text in facts.items())])


def _overview_html(namespace: Any) -> str:
    return str(facts_card(*_facts(namespace)))


def _of(method: Callable[..., Any], nouns: Mapping[str, Nouns]) -> dict[str, tuple[Check | Nouns, bool]]:
    """Parameter → its check, or the kinds of rows that it names, and whether it may be None."""
    found: dict[str, tuple[Check | Nouns, bool]] = {}
    for name, parameter in inspect.signature(method).parameters.items():
        said = re.sub(r"\w+\.", "", inspect.formatannotation(parameter.annotation)).strip("'")  # names without modules
        kind = said.removesuffix(" | None")
        check: Check | Nouns | None = _BY_NAME.get(name) or _BY_KIND.get(kind)
        if kind == "Ref":
            check = nouns[name]
        elif (name, kind) == ("token", "str"):
            check = _secret
        if check is not None and parameter.kind is not parameter.VAR_KEYWORD:
            found[name] = check, "None" in said
    return found


def _checking(method: Callable[..., Any], checks: dict[str, tuple[Check | Nouns, bool]]) -> Callable[..., Any]:
    signature, beginnings = inspect.signature(method), method.__name__ != "delete"

    @wraps(method)
    def checked(*given: Any, **named: Any) -> Any:
        bound = signature.bind(*given, **named)
        for name, (check, optional) in checks.items():
            value = bound.arguments.get(name)
            if name not in bound.arguments or (optional and value is None):
                continue
            if isinstance(check, tuple):
                bound.arguments[name] = find_id(given[0]._workspace, check, value, name, beginnings=beginnings)
            else:
                bound.arguments[name] = check(value, name)
        return method(*bound.args, **bound.kwargs)

    return checked
