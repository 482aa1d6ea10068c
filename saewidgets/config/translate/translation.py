"""Defines what a translation of another package's configuration gives (`Translation`, of `Remark`), and how such a
configuration is read: `read` for its file, `Settings` for its keys, every one of which is accounted for."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from saewidgets.config.arguments import path as argument_path
from saewidgets.config.arguments import refuse
from saewidgets.config.strict_json import loads
from saewidgets.config.training import TrainingConfig
from saewidgets.errors import ConfigError, NotFoundError, StorageError

_HEADINGS = {"lost": "No counterpart, left out:", "changed": "Taken over, with another meaning:"}


@dataclass(frozen=True, slots=True)
class Remark:
    """One setting that was left out (``"lost"``) or means something else here (``"changed"``).

    Attributes:
        setting: its dotted name in the other package.
        value: what it was.
        text: a sentence that says what happens instead.
    """

    kind: Literal["lost", "changed"]
    setting: str
    value: Any
    text: str

    def __str__(self) -> str:
        shown = repr(self.value)
        return f"{self.setting} = {shown if len(shown) <= 60 else f'{shown[:59]}…'}: {self.text}"


@dataclass(frozen=True, slots=True)
class Translation:
    """A configuration of another package, translated.

    Attributes:
        config: what to train.
        remarks: every setting that was lost or means something else; settings that came over as they are, and those
            that only say where another package writes its files, are not listed.
        source: the name of the other package.
        over: further values where the other configuration stands for several runs, as `create_many` takes them:
            ``{"hook_name": [...]}``; empty where it is one run. `config` has the first of each, but no run's name.
    """

    config: TrainingConfig
    remarks: tuple[Remark, ...]
    source: str
    over: Mapping[str, list[Any]] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        """Plain JSON data: ``source config over remarks``."""
        remarks = [
            {"kind": each.kind, "setting": each.setting, "value": each.value, "text": each.text}
            for each in self.remarks
        ]
        over = {name: list(values) for name, values in self.over.items()}
        return {"source": self.source, "config": self.config.to_data(), "over": over, "remarks": remarks}

    def report(self) -> str:
        """What was lost and what changed, one line each."""
        lines = []
        for kind, heading in _HEADINGS.items():
            if found := [each for each in self.remarks if each.kind == kind]:
                lines += [heading, *(f"  {each}" for each in found)]
        if not lines:
            return f"Everything in the {self.source} configuration has a counterpart."
        return "\n".join(lines)

    def __str__(self) -> str:
        more = math.prod(len(values) for values in self.over.values()) - 1
        what = self.config.default_name + (f" and {more} more" if more else "")
        return f"{what}, translated from {self.source}\n{self.report()}"


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

    A value that is missing or null gives the default; without one, or where the value is of another kind, taking it
    raises `ConfigError`.

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

    def spelled(self, name: str) -> str:
        """A name as the file has it."""
        return f"{self._prefix}{self._called.get(name, name)}"

    def error(self, name: str, text: str, hint: str | None = None) -> ConfigError:
        return ConfigError(text, where=self.spelled(name), hint=hint)

    def wrong(self, name: str, words: str, hint: str | None = None) -> ConfigError:
        """That a value is not what it has to be, in `words`."""
        value = self._data.get(name)
        said = "missing" if value is None else f"{value!r}, not {words}"
        return self.error(name, f"{self.spelled(name)} is {said}.", hint)

    def _value(self, name: str, default: Any) -> Any:
        self._taken.add(name)
        if self._data.get(name) is not None:
            return self._data[name]
        if default is not None and default is not _MISSING and name not in self._data:
            self.assumed[name] = default
        return default

    def take(self, name: str, default: Any = None) -> Any:
        """The value as it is; of the default's kind where that is true, false or text."""
        value = self._value(name, default)
        if type(default) in _KINDS and type(value) is not type(default):
            raise self.wrong(name, _KINDS[type(default)])
        return value

    def number(self, name: str, default: Any = _MISSING) -> Any:
        """A finite number."""
        value = self._value(name, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1e300 < value < 1e300:
            raise self.wrong(name, "a number")
        return value

    def share(self, name: str, default: Any = _MISSING) -> Any:
        """A number from 0 to 1."""
        value = self.number(name, default)
        if value is not None and not 0 <= value <= 1:
            raise self.wrong(name, "a number from 0 to 1")
        return value

    def count(self, name: str, default: Any = _MISSING, *, least: int = 0) -> Any:
        """A whole number, `least` or more."""
        value = self.number(name, default)
        if value is not None and (value != int(value) or value < least):
            raise self.wrong(name, f"a whole number of {least} or more")
        return None if value is None else int(value)

    def text(self, name: str, default: Any = _MISSING) -> Any:
        """Some text."""
        value = self._value(name, default)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise self.wrong(name, "text")
        return value

    def choice(self, name: str, choices: Mapping[str, Any], default: str) -> Any:
        """What one of `choices` stands for."""
        value = self._value(name, default)
        if not isinstance(value, str) or value not in choices:
            raise self.error(
                name, f"{self.spelled(name)} is {value!r}, which has no counterpart.",
                f"What can be translated: {', '.join(choices)}.",
            )
        return choices[value]

    def rows(self, table: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
        """Our names → the values, for a table of our name → (how it is taken, its name there, the default)."""
        return {ours: getattr(self, how)(*arguments) for ours, (how, *arguments) in table.items()}

    def table(self, name: str) -> dict[str, Any]:
        """A table of settings."""
        value = self.take(name, {})
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise self.wrong(name, "a table of settings")
        return dict(value)

    def inner(self, name: str) -> Settings:
        """A table of settings to be taken one by one, remarked on where these are."""
        return Settings(self.table(name), f"{self.spelled(name)}.", self.remarks)

    def ignore(self, *names: str) -> None:
        """These say nothing about what is learned."""
        self._taken.update(names)

    def lost(self, table: Mapping[str, tuple[str, tuple[Any, ...]]]) -> None:
        """Remark on what has no counterpart: name → (a sentence, values that mean the same as none)."""
        for name, (text, harmless) in table.items():
            value = self.take(name, *harmless[:1])
            if value is not None and value not in harmless:
                self.remark("lost", name, value, text)

    def remark(self, kind: Literal["lost", "changed"], name: str, value: Any, text: str) -> None:
        self.remarks.append(Remark(kind, self.spelled(name), value, text))

    def rest(self, text: str = "not known here.") -> None:
        """Remark on everything that nobody asked for."""
        for name in self._data.keys() - self._taken:
            if self._data[name] is not None:
                self.remark("lost", name, self._data[name], text)
        self.remarks.sort(key=lambda each: each.setting)
