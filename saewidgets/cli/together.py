"""``saewidgets train --over``: several runs in one job, watched as one."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from saewidgets.cli.ending import failure
from saewidgets.cli.follow import follow
from saewidgets.cli.output import count, duration, note, write_json
from saewidgets.config.dotted import dotted
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.records import TrainingRecord
    from saewidgets.workspace import TrainingGroup

_GOOD = (JobStatus.COMPLETED, JobStatus.STOPPED)


def taken_over(data: dict[str, Any], flags: Iterable[str]) -> dict[str, Any]:
    """Dotted name → values: the table ``over`` of a configuration file, which is taken out of `data`, and ``--over``.
    Tables inside that table are dotted names.

    A flag replaces what the file says of the same name, also where it says it of several that change together.

    Raises:
        ConfigError: it is no table, a flag is not ``NAME=VALUE,VALUE``, or two have the same name.
    """
    table = data.pop("over", {})
    if not isinstance(table, Mapping):
        raise ConfigError(
            "This is not a table of settings with their values.", where="over", hint='For example {"sae.k": [16, 32]}.'
        )
    given = [_values(flag) for flag in flags]
    for name, _ in given:
        if [other for other, _ in given].count(name) > 1:
            raise ConfigError(
                f"{name} is given twice.", where="--over", hint=f"Name all its values at once: --over {name}=16,32."
            )
    names = {name for name, _ in given}
    kept = (_without(key, values, names) for key, values in dotted(table))
    return {**{key: values for key, values in kept if key}, **dict(given)}


def _without(key: str, values: Any, names: Collection[str]) -> tuple[str, Any]:
    """Names that change together and their values, less some of them; no name where only that of the run is left."""
    every = [part.strip() for part in key.split(",")]
    left = [index for index, name in enumerate(every) if name not in names]
    if len(left) == len(every):
        return key, values
    if all(every[index] == "name" for index in left):
        return "", None
    if not isinstance(values, list) or any(not isinstance(each, list) or len(each) != len(every) for each in values):
        return key, values  # refused where it is read
    if len(left) == 1:
        return every[left[0]], _each_once([value[left[0]] for value in values])
    return ", ".join(every[i] for i in left), _each_once([[value[i] for i in left] for value in values])


def _each_once(values: list[Any]) -> list[Any]:
    return [value for index, value in enumerate(values) if value not in values[:index]]


def _values(text: str) -> tuple[str, list[Any]]:
    """``sae.k=16,32`` or ``sae.k=[16, 32]``; values are JSON where they parse as JSON, else text."""
    name, separator, values = text.partition("=")
    if not separator or not name.strip() or not values.strip():
        raise ConfigError(f"{text!r} is not NAME=VALUE,VALUE.", where="--over", hint="For example --over sae.k=16,32.")
    listed = _parsed(values)
    return name.strip(), listed if isinstance(listed, list) else [_parsed(part.strip()) for part in values.split(",")]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


class Whole:
    """A group as something that can be followed: its position is that of the run that is farthest behind."""

    def __init__(self, group: TrainingGroup) -> None:
        self._group = group
        self.id = group[0].id  # any of them stands for all: `saewidgets resume` takes the id of a run

    @property
    def record(self) -> TrainingRecord:
        records = self._group.records
        status = self._group.status
        going = [record for record in records if not record.ended_alone] or list(records)
        behind = min(going, key=lambda record: record.step)
        return replace(behind, name=self._group.name, status=status, latest={}, error=self._group.error)

    def pause(self) -> None:
        """All of them."""
        self._group.pause()


def follow_group(group: TrainingGroup, *, as_json: bool, quiet: bool) -> None:
    """Show a group until it ends or pauses, then how each run ended.

    Raises:
        typer.Exit: with a status that is not zero when it was paused, or when a run did not end well.
    """
    follow(Whole(group), quiet=quiet)
    records = group.records
    if as_json:
        write_json(list(records))
    for record in records:
        if record.status in _GOOD:
            words = f"{count(record.tokens_done)} tokens in {duration(record.seconds_running)}"
            note(f"{record.status.value.capitalize()}: {record.name}, {words}. {record.id}")
            if record.sae_path:
                note(f"  SAE: {record.sae_path}")
    bad = [record for record in records if record.status not in _GOOD]
    for record in bad[1:]:
        failure(record, first=f"{record.name} ({record.id}) {record.status.value}.")
    if bad:
        raise failure(bad[0], first=f"{bad[0].name} ({bad[0].id}) {bad[0].status.value}.")
