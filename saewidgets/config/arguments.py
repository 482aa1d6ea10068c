"""Checks arguments of public methods. Each function returns the value it was given, or raises `ConfigError`.

`where` is the argument's name, `what` follows "Expected": "the id of an SAE".
"""

import errno
import math
import operator
import os
import reprlib
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from saewidgets.config.names import HALF_A_CHARACTER, MAX_NAME, one_line, storable
from saewidgets.errors import ConfigError, NotFoundError

_LONGEST = 60  # characters of a wrong value that are repeated
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 2 * _LONGEST
_PATH = "Give a path, as a string or a pathlib.Path."
T = TypeVar("T")


def text(value: Any, where: str, what: str, *, hint: str = "Write it in quotes.", secret: bool = False) -> str:
    """`value`, which has to be a text. A `secret` is not repeated in the error."""
    if not isinstance(value, str):
        refuse(value, where, what, hint, secret=secret)
    return storable(value)


def name(value: Any, what: str) -> str:
    """The argument `name` as one line without blanks around it, neither empty nor too long."""
    found = one_line(text(value, "name", what))
    if not found or len(found) > MAX_NAME:
        raise ConfigError(f"A name has 1 to {MAX_NAME} characters.", where="name", hint="Enter another name.")
    return found


def whole_text(value: str, where: str) -> str:
    """`value`, which is kept or read as it is: without what no file and no model can hold."""
    if "\0" in value or HALF_A_CHARACTER.search(value):
        raise ConfigError("This holds a null character or half a surrogate pair.", where=where, hint="Remove it.")
    return value


def readable(value: str, where: str) -> str:
    """`value`, which a tokenizer is to read: without halves of surrogate pairs."""
    if HALF_A_CHARACTER.search(value):
        raise ConfigError("This holds half a surrogate pair.", where=where, hint="Remove it.")
    return value


def optional_text(value: Any, where: str, what: str, *, secret: bool = False) -> str | None:
    """As `text`, or None."""
    if value is None:
        return None
    return text(value, where, what, hint="Write it in quotes, or None to leave it out.", secret=secret)


def truth(value: Any, where: str, what: str = "a bool") -> bool:
    """`value`, which has to be True or False."""
    if not isinstance(value, bool):
        refuse(value, where, what, "Write True or False.")
    return bool(value)


def count(value: Any, where: str, what: str, *, least: int = 0, most: int | None = None, hint: str = "") -> int:
    """`value` as a whole number from `least` on, at most `most`; also one of numpy's."""
    is_whole = not isinstance(value, bool) and hasattr(type(value), "__index__")
    number = operator.index(value) if is_whole else value
    if not is_whole or number < least or (most is not None and number > most):
        bounds = f"{least:,} or more" if most is None else f"{least:,} to {most:,}"
        refuse(number, where, what, hint or f"Use a whole number, {bounds}.")
    return int(number)


def number(value: Any, where: str, what: str, *, least: float = 0.0) -> float:
    """`value` as a finite number, at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        refuse(value, where, what, f"Use a number, {least:g} or more.")
    return float(value)


def path_text(value: Any, where: str, what: str) -> str:
    """`value`, which has to be a text that is not empty, or a path."""
    given = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(given, str) or not given:
        refuse(value, where, what, _PATH)
    return given


def path(value: Any, where: str, what: str) -> Path:
    """`value` as a path, with ``~`` for the home folder. Nothing need be there.

    Raises:
        ConfigError: it is neither text nor path, or empty.
        NotFoundError: nothing can be there: too long, with a zero byte, of a home folder that nobody has.
    """
    given = path_text(value, where, what)
    try:
        found = Path(given).expanduser()
        os.lstat(found)
    except (ValueError, RuntimeError) as error:  # a zero byte, half a surrogate pair; ~nobody
        raise NotFoundError(
            f"{shown(given)} is not a path ({str(error).rstrip('.')}).", where=where, hint=_PATH
        ) from error
    except OSError as error:  # whether there is anything is for the caller to say
        if error.errno == errno.ENAMETOOLONG:
            raise NotFoundError(
                f"This path has {len(given):,} characters, more than this machine takes.", where=where, hint=_PATH
            ) from error
    return found


def kind(value: Any, of: type[T], where: str, what: str, hint: str) -> T:
    """`value`, which has to be an `of`."""
    if not isinstance(value, of):
        refuse(value, where, what, hint)
    return value


def refuse(value: Any, where: str, what: str, hint: str, *, secret: bool = False) -> NoReturn:
    """Raise `ConfigError`: the argument `where` takes `what`, and `value` is something else."""
    given = f"a value of type {type(value).__name__}" if secret else shown(value)
    raise ConfigError(f"Expected {what}, got {given}.", where=where, hint=hint)


def shown(value: Any) -> str:
    """A wrong value as messages repeat it: short, and also where it is nested deeper than Python goes."""
    said = _REPR.repr(value)
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}…"
