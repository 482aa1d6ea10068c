"""How a run that repeats another one is called: two that are called the same cannot be told apart in a list."""

from __future__ import annotations

from collections.abc import Callable, Collection

from saewidgets.catalog import Catalog
from saewidgets.errors import NotFoundError
from saewidgets.records import TrainingRecord
from saewidgets.workspace.corpora import from_row


def retry_name(catalog: Catalog, record: TrainingRecord, free_name: Callable[[str], str]) -> str:
    """The name of a retry of `record`: "mine-2" of "mine", and "mine-3" of "mine-2" where it got that number here."""
    if _stem(record.name) is None:
        return free_name(record.name)
    first = record.config.get("name") or from_row(record.config, record.folder).default_name
    earlier = _repeated(catalog, record)
    return free_name(_unnumbered(record.name, {first, *_names(earlier.name if earlier else None)}))


def group_retry_name(catalog: Catalog, record: TrainingRecord, name: str, default: str) -> str:
    """The same for a group: `name` of the group of `record`, `default` if nobody had chosen one."""
    earlier = _repeated(catalog, record)
    return _unnumbered(name, {default, *_names(earlier.group_name if earlier else None)})


def _repeated(catalog: Catalog, record: TrainingRecord) -> TrainingRecord | None:
    if record.retry_of is None:
        return None
    try:
        return catalog.trainings.get(record.retry_of)
    except NotFoundError:  # deleted just now
        return None


def _names(name: str | None) -> Collection[str]:
    """`name`, which may itself be one with a number, and what stands before that."""
    return {each for each in (name, _stem(name or "")) if each}


def _unnumbered(name: str, known: Collection[str]) -> str:
    """What stands before the number of `name` if that is known; a name that somebody chose stays whole."""
    stem = _stem(name)
    return stem if stem in known and stem is not None else name


def _stem(name: str) -> str | None:
    """What stands before the number: "mine" of "mine-3"; None where there is none."""
    first, dash, number = name.rpartition("-")
    return first if dash and number.isdigit() else None
