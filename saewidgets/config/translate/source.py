"""Reading what another package wrote: a file or a dictionary, every key of which is accounted for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from saewidgets.config.arguments import path as argument_path
from saewidgets.config.arguments import refuse
from saewidgets.config.strict_json import loads
from saewidgets.config.translate.result import Remark
from saewidgets.errors import ConfigError, NotFoundError, StorageError

MAX_BYTES = 4_000_000  # such a file is a page of text
_MISSING = object()
_WORDS: dict[type, str] = {
    list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false", type(None): "null",
    dict: "a table with keys that are no text",
}  # fmt: skip
_KINDS: dict[type, str] = {bool: "true or false", str: "text"}  # of which a default tells what a value has to be


def read(source: str | Path | Mapping[str, Any], what: str) -> dict[str, Any]:
    """The settings in a JSON file, or a copy of a dictionary; `what` names them in errors.

    Raises:
        NotFoundError: there is no such file.
        StorageError: it cannot be read.
        ConfigError: `source` is neither, or the file is too large, is not JSON, or holds no table of settings.
    """
    if isinstance(source, Mapping):
        return _table(dict(source), what, None)
    if not isinstance(source, str | os.PathLike):
        refuse(source, "source", what, "Give the path of its file, or its settings as a dictionary.")
    path = argument_path(source, "source", what)
    if not path.is_file():
        raise NotFoundError(f"There is no file with {what} here.", where=str(path))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise StorageError(f"The file cannot be read ({error.strerror}).", where=str(path)) from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"This file is too large for {what}.", where=str(path))
    try:
        data = loads(raw)
    except ValueError as error:
        raise ConfigError(f"This file is not JSON ({error}).", where=str(path), hint=f"Give {what}.") from error
    return _table(data, what, str(path))


def _table(data: Any, what: str, where: str | None) -> dict[str, Any]:
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        found = _WORDS.get(type(data), "something else")
        raise ConfigError(f"This is {found}, not {what}.", where=where, hint=f"Give {what}.")
    return data


class Settings:
    """The settings of one table, taken one by one; what is left at the end is not known here.

    Attributes:
        remarks: what was said of them.
        assumed: the defaults that were taken of settings that are missing, by name.
    """

    def __init__(
        self, data: Mapping[str, Any], prefix: str = "", remarks: list[Remark] | None = None,
        called: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """`prefix` is put before a name where a person reads it; `called` are names that are others there."""
        self._data, self._prefix, self._called = dict(data), prefix, dict(called or {})
        self._taken: set[str] = set()
        self.assumed: dict[str, Any] = {}
        self.remarks: list[Remark] = [] if remarks is None else remarks

    def has(self, name: str) -> bool:
        """Whether it is there and not null."""
        return self._data.get(name) is not None

    def null(self, name: str) -> bool:
        """Whether it is there and null, where that means something."""
        return name in self._data and self._data[name] is None

    def take(self, name: str, default: Any = None) -> Any:
        """The value; `default` where it is missing or null.

        Raises:
            ConfigError: `default` is true, false or text, and the value is something else.
        """
        self._taken.add(name)
        value = self._data.get(name)
        if value is None:
            return self._default(name, default)
        words = _KINDS.get(type(default))
        if words is not None and type(value) is not type(default):
            raise self.wrong(name, words)
        return value

    def wrong(self, name: str, words: str, hint: str | None = None) -> ConfigError:
        """That a value is not what it has to be, in `words`."""
        value = self._data.get(name)
        what = f"{self.spelled(name)} is {'missing' if value is None else f'{value!r}, not {words}'}."
        return self.error(name, what, hint)

    def error(self, name: str, text: str, hint: str | None = None) -> ConfigError:
        """Something that is wrong with a setting."""
        return ConfigError(text, where=self.spelled(name), hint=hint)

    def number(self, name: str, default: Any = _MISSING) -> Any:
        """A finite number.

        Raises:
            ConfigError: it is something else, or missing without a default.
        """
        value = self.take(name)
        if value is None and default is not _MISSING:
            return self._default(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1e300 < value < 1e300:
            raise self.wrong(name, "a number")
        return value

    def share(self, name: str, default: Any = _MISSING) -> Any:
        """A number from 0 to 1. Raises as `number` does."""
        value = self.number(name, default)
        if value is not None and not 0 <= value <= 1:
            raise self.wrong(name, "a number from 0 to 1")
        return value

    def count(self, name: str, default: Any = _MISSING, *, least: int = 0) -> Any:
        """A whole number, `least` or more. Raises as `number` does."""
        value = self.number(name, default)
        if value is None:
            return None
        if value != int(value) or value < least:
            raise self.wrong(name, f"a whole number of {least} or more")
        return int(value)

    def text(self, name: str, default: Any = _MISSING) -> Any:
        """Some text. Raises as `number` does."""
        value = self.take(name)
        if value is None and default is not _MISSING:
            return self._default(name, default)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(name, "text")
        return value

    def choice(self, name: str, choices: Mapping[str, Any], default: str) -> Any:
        """What one of `choices` stands for.

        Raises:
            ConfigError: it is none of them.
        """
        value = self.take(name, default)
        if not isinstance(value, str) or value not in choices:
            raise self.error(
                name, f"{self.spelled(name)} is {value!r}, which has no counterpart.",
                f"What can be translated: {', '.join(choices)}.",
            )
        return choices[value]

    def table(self, name: str) -> dict[str, Any]:
        """A table of settings; an empty one where it is missing or null.

        Raises:
            ConfigError: it is something else.
        """
        value = self.take(name, {})
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise self.wrong(name, "a table of settings")
        return dict(value)

    def inner(self, name: str) -> Settings:
        """A table of settings to be taken one by one, remarked on where these are. Raises as `table` does."""
        return Settings(self.table(name), f"{self.spelled(name)}.", self.remarks)

    def ignore(self, *names: str) -> None:
        """These say nothing about what is learned."""
        self._taken.update(names)

    def lost(self, name: str, text: str, *harmless: Any) -> None:
        """Remark that a setting has no counterpart, unless it is missing, null or one of the `harmless` values."""
        value = self.take(name, *harmless[:1])
        if value is not None and value not in harmless:
            self.remark("lost", name, value, text)

    def remark(self, kind: Literal["lost", "changed"], name: str, value: Any, text: str) -> None:
        """Add a remark."""
        self.remarks.append(Remark(kind, self.spelled(name), value, text))

    def rest(self, text: str = "not known here.") -> None:
        """Remark on everything that nobody asked for."""
        for name in self._data.keys() - self._taken:
            if self._data[name] is not None:
                self.remark("lost", name, self._data[name], text)
        self.remarks.sort(key=lambda each: each.setting)

    def _default(self, name: str, default: Any) -> Any:
        if default is not None and name not in self._data:
            self.assumed[name] = default
        return default

    def spelled(self, name: str) -> str:
        """A name as the file has it."""
        return f"{self._prefix}{self._called.get(name, name)}"
