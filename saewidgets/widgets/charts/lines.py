"""Which runs have something to draw in the charts. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable

from saewidgets.records import TrainingRecord


def has_line(record: TrainingRecord) -> bool:
    """Whether there is anything to draw of a run, or will be soon: one that waits for its turn takes no line."""
    return record.status.is_active or bool(record.latest)


def begins(before: TrainingRecord | None, now: TrainingRecord) -> bool:
    """Whether a run has something to draw that had nothing when it was read before, or works again."""
    was_active = before is not None and before.status.is_active
    return has_line(now) and (before is None or not has_line(before) or (now.status.is_active and not was_active))


def in_order(newest_first: Iterable[TrainingRecord]) -> list[str]:
    """The ids of these runs: the newest job first, its runs in the order in which they were made."""
    jobs: dict[str, list[str]] = {}
    for record in newest_first:
        jobs.setdefault(record.group_id or record.id, []).insert(0, record.id)
    return [i for runs in jobs.values() for i in runs]
