"""Defines the result of translating another package's configuration (`Translation`, with its `Remark`s), and reads such
configurations: `read` for its file, `SettingsReader` for its keys, every one of which is accounted for."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from saewidgets.config.arguments import path as argument_path
from saewidgets.config.arguments import refuse
from saewidgets.config.strict import read_table
from saewidgets.config.training import TrainingConfig
from saewidgets.errors import ConfigError

_HEADINGS = {"lost": "No counterpart, left out:", "changed": "Taken over, with another meaning:"}


@dataclass(frozen=True, slots=True)
class Remark:
    """One setting that was left out (``"lost"``) or means something else here (``"changed"``).

    Attributes:
        setting: its dotted name in the other package.
        value: what it was.
        text: a sentence about what happens instead.
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
        over: further values where the other configuration describes several runs, as `create_many` takes them:
            ``{"hook_name": [...]}``; empty where it is one run. `config` has the first of each, but no run's name.
        d_in: the width of the activations that coefficients were multiplied by; None where they were not.
    """

    config: TrainingConfig
    remarks: tuple[Remark, ...]
    source: str
    over: Mapping[str, list[Any]] = field(default_factory=dict)
    d_in: int | None = None

    def to_data(self) -> dict[str, Any]:
        """Plain JSON data: ``source config over remarks``."""
        remarks = [asdict(each) for each in self.remarks]
        return {"source": self.source, "config": self.config.to_data(), "over": dict(self.over), "remarks": remarks}

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


def read(source: str | Path | Mapping[str, Any], what: str, kind: str = "JSON") -> dict[str, Any]:
    """The settings in a file (of this kind, unless its name says otherwise), or a copy of a dictionary; `what` names
    them in errors."""
    if not isinstance(source, Mapping):
        if not isinstance(source, str | os.PathLike):
            refuse(source, "source", what, "Give the path of its file, or its settings as a dictionary.")
        return read_table(argument_path(source, "source", what), what, MAX_BYTES, kind)
    if not all(isinstance(key, str) for key in source):
        raise ConfigError(f"Expected {what}, got a table with keys that are not strings.", hint=f"Give {what}.")
    return dict(source)


def is_number(value: Any) -> bool:
    """Whether it is a number that a float holds; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


_REQUIRED = object()
# What a setting may be: in words, and whether a value is that.
_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "any": ("", lambda value: True),
    "flag": ("true or false", lambda value: isinstance(value, bool)),
    "text": ("text", lambda value: isinstance(value, str)),
    "name": ("text", lambda value: isinstance(value, str) and bool(value.strip())),
    "number": ("a number", is_number),
    "share": ("a number from 0 to 1", lambda value: is_number(value) and 0 <= value <= 1),
    "count": ("a whole number of 0 or more", lambda value: is_number(value) and value == int(value) >= 0),
    "size": ("a whole number of 1 or more", lambda value: is_number(value) and value == int(value) >= 1),
    "separator": ("bos, eos, sep or a token id", lambda value: type(value) in (int, str)),
    "ids": ("true, false or a list of token ids", lambda value: isinstance(value, bool | list)),
    "batches": ("true, false or a number of batches", lambda value: isinstance(value, int) and value >= 0),
    "layers": ("a list of layers such as [0, 6]", lambda value: isinstance(value, list) and bool(value)
               and all(type(each) is int and each >= 0 for each in value)),
    "table": ("a table of settings", lambda value: isinstance(value, dict) and all(isinstance(k, str) for k in value)),
}
Kind = str | tuple[str, ...] | Mapping[str, Any]
"""One of the kinds above, or choices: names, or a value here for each value there."""
Rows = Mapping[str, tuple[Any, ...]]
"""Our setting → its kind, its name in the other package, the default there."""
Sentences = Mapping[str, tuple[str, tuple[Any, ...]]]
"""A setting of the other package → the remark on it, and the values that need no remark; the first is the
default."""


class SettingsReader:
    """The settings of one table, taken one by one; what is left at the end is not known here.

    Attributes:
        remarks: on those that are lost or changed.
        assumed: the defaults that were taken for settings that are missing, by name.
    """

    def __init__(
        self, data: Mapping[str, Any], prefix: str = "", *, said: Mapping[str, str],
        remarks: list[Remark] | None = None, called: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """`prefix` is put before a name where a person reads it; `said` has the sentences of remarks, `called` names
        that differ there."""
        self._data, self._prefix, self._said, self._called = dict(data), prefix, said, dict(called or {})
        self._taken: dict[str, Any] = {}
        self.assumed: dict[str, Any] = {}
        self.remarks: list[Remark] = [] if remarks is None else remarks

    def has(self, name: str) -> bool:
        """Whether it is there and not null."""
        return self._data.get(name) is not None

    def null(self, name: str) -> bool:
        """Whether it is there and null, where that means something."""
        return name in self._data and self._data[name] is None

    def error(self, name: str, text: str, hint: str | None = None) -> ConfigError:
        return ConfigError(text, where=self._spelled(name), hint=hint)

    def wrong(self, name: str, words: str, hint: str | None = None) -> ConfigError:
        """The error for a value that is not what it has to be, in `words`."""
        value = self._data.get(name)
        said = "missing" if value is None else f"{value!r}, not {words}"
        return self.error(name, f"{self._spelled(name)} is {said}.", hint)

    def take(self, kind: Kind, name: str, default: Any = _REQUIRED) -> Any:
        """The value, or its counterpart here; the default where it is missing or null.

        Raises:
            ConfigError: it is of another kind, or missing and has no default.
        """
        value = self._data.get(name)
        if value is None:
            if name not in self._data and default is not None and default is not _REQUIRED:
                self.assumed[name] = default
            value = default
        self._taken[name] = value
        if not isinstance(kind, str):
            if not isinstance(value, str) or value not in kind:
                said = f"{self._spelled(name)} is {value!r}, which has no counterpart."
                raise self.error(name, said, f"What can be translated: {', '.join(kind)}.")
            return kind[value] if isinstance(kind, Mapping) else value
        words, fits = _KINDS[kind]
        if value is not None and (value is _REQUIRED or not fits(value)):
            raise self.wrong(name, words)
        return int(value) if kind in ("count", "size") and value is not None else value

    def rows(self, table: Rows) -> dict[str, Any]:
        """Our names → the values, for a table of our name → (its kind, its name there, the default)."""
        return {ours: self.take(*row) for ours, row in table.items()}

    def inner(self, name: str) -> SettingsReader:
        """A table of settings to be taken one by one, remarked on where these are."""
        prefix = f"{self._spelled(name)}."
        return SettingsReader(self.take("table", name, {}), prefix, said=self._said, remarks=self.remarks)

    def ignore(self, *names: str) -> None:
        """Skip settings without influence on what is learned."""
        self._taken.update(dict.fromkeys(names))

    def remark_on(self, kind: Literal["lost", "changed"], table: Sentences) -> None:
        """Remark on those settings of a table that need it."""
        for name, (text, harmless) in table.items():
            value = self.take({bool: "flag", str: "text"}.get(type(harmless[0]), "any"), name, harmless[0])
            if value is not None and value not in harmless:
                self._remark(kind, name, text)

    def lost(self, name: str, which: str = "", **values: Any) -> None:
        """Remark that it was left out, in the sentence of this name or of `which`, with `values` put in."""
        self._remark("lost", name, self._said[which or name].format(**values))

    def changed(self, name: str, which: str = "", **values: Any) -> None:
        """Remark that it means something else here (see `lost`)."""
        self._remark("changed", name, self._said[which or name].format(**values))

    def _remark(self, kind: Literal["lost", "changed"], name: str, text: str) -> None:
        """Remark on the value that was taken, which may be the default."""
        value = self._taken.get(name, self._data.get(name))
        self.remarks.append(Remark(kind, self._spelled(name), value, text))

    def rest(self, text: str = "not known here.") -> None:
        """Remark on all keys that were not read."""
        for name in self._data.keys() - self._taken.keys():
            if self.has(name):
                self._remark("lost", name, text)
        self.remarks.sort(key=lambda each: each.setting)

    def _spelled(self, name: str) -> str:
        """A name as the file has it."""
        return f"{self._prefix}{self._called.get(name, name)}"
