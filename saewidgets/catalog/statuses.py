"""Statuses as people write them: one or several, as values of the enum or as words."""

from __future__ import annotations

from collections.abc import Collection

from saewidgets.config.arguments import shown
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus


def statuses(wanted: JobStatus | str | Collection[JobStatus | str]) -> frozenset[JobStatus]:
    """The statuses that `wanted` names.

    Raises:
        ConfigError: one of them is not a status; the hint lists those that are.
    """
    found = set()
    for each in wanted if isinstance(wanted, Collection) and not isinstance(wanted, str) else [wanted]:
        try:
            found.add(JobStatus(each))
        except (ValueError, RecursionError) as error:
            known = ", ".join(status.value for status in JobStatus)
            raise ConfigError(f"{shown(each)} is not a status.", where="status", hint=f"Use {known}.") from error
    return frozenset(found)
