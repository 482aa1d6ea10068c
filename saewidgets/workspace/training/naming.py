"""How a run that repeats another one is called: two that are called the same cannot be told apart in a list."""

from __future__ import annotations

from collections.abc import Callable

from saewidgets.catalog import Catalog
from saewidgets.errors import NotFoundError
from saewidgets.records import TrainingRecord


def retry_name(catalog: Catalog, record: TrainingRecord, free_name: Callable[[str], str]) -> str:
    """The name of a retry of `record`: "mine-2" of "mine", and "mine-3" of "mine-2" where that is a retry itself."""
    stem = _stem(record.name)
    if record.retry_of is not None and stem is not None:
        try:
            earlier = catalog.trainings.get(record.retry_of).name
        except NotFoundError:  # deleted just now
            return free_name(record.name)
        if stem in (earlier, _stem(earlier)):
            return free_name(stem)
    return free_name(record.name)


def unnumbered(name: str, default: str) -> str:
    """`default` where `name` is that with a number behind it; a name that somebody chose stays whole."""
    return default if _stem(name) == default else name


def _stem(name: str) -> str | None:
    """What stands before the number: "mine" of "mine-3"; None where there is none."""
    first, dash, number = name.rpartition("-")
    return first if dash and number.isdigit() else None
