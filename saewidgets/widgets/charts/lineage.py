"""What a run goes on from: the runs before it, and their part of its curves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from saewidgets.records import TrainingRecord
from saewidgets.widgets.charts.series import KEYS, Columns, Floats


@dataclass(frozen=True, slots=True)
class Earlier:
    """A run that another one goes on from, and the checkpoint where that takes over."""

    record: TrainingRecord
    step: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Past:
    """The curves of a run before its own first step.

    Attributes:
        columns: as those of `History`; ``time`` runs on without the pauses between the runs, and ends where the
            clock of the run itself begins.
        joints: step, tokens and seconds (before the run's own clock, so ≤ 0) of every place where a run took over.
        seconds: how long the earlier runs took in all, up to their checkpoints.
    """

    columns: Mapping[str, Floats]
    joints: tuple[tuple[float, float, float], ...] = ()
    seconds: float = 0.0


NO_PAST = Past({})


def started(record: TrainingRecord) -> float:
    """When the run's clock began (Unix seconds)."""
    return record.started_at if record.started_at is not None else record.created_at


def earlier_runs(record: TrainingRecord, known: Mapping[str, TrainingRecord]) -> tuple[Earlier, ...]:
    """The runs that `record` goes on from, oldest first; those before one that was deleted are not known any more."""
    chain: list[Earlier] = []
    seen = {record.id}
    while (source := record.facts.get("continued_from")) is not None:
        parent = known.get(str(source["training_id"]))
        if parent is None or parent.id in seen:
            break
        chain.append(Earlier(parent, int(source["step"]), int(source["tokens"])))
        seen.add(parent.id)
        record = parent
    return tuple(reversed(chain))


def past_of(
    record: TrainingRecord,
    earlier: Sequence[Earlier],
    names: tuple[str, ...],
    read: Callable[[str, tuple[str, ...], int], Columns],
) -> Past:
    """The curves of the earlier runs, each cut at the step where the next one took over.

    Args:
        record: the run that they lead to.
        earlier: as `earlier_runs` gives them.
        names: the metrics.
        read: `(training_id, names, min_step)` → columns, as `History` wants them.
    """
    pieces: list[dict[str, Floats]] = []
    joints: list[tuple[float, float, float]] = []
    end = started(record)
    begins = [-1, *(one.step for one in earlier)]
    for begin, one in reversed(list(zip(begins, earlier, strict=False))):
        found = read(one.record.id, names, 0)
        columns = {name: np.asarray(found[name], dtype=np.float64) for name in (*KEYS, *names)}
        # Its own first point is that of the checkpoint it began with, which the run before it has as well.
        kept = (columns["step"] > begin) & (columns["step"] <= one.step)
        columns = {name: column[kept] for name, column in columns.items()}
        joints.append((float(one.step), float(one.tokens), end - started(record)))
        since = started(one.record)
        last = max(since, float(columns["time"][-1])) if len(columns["time"]) else since
        columns["time"] = np.maximum(columns["time"], since) + (end - last)
        end -= last - since
        pieces.append(columns)
    if not pieces:
        return NO_PAST
    joined = {name: np.concatenate([piece[name] for piece in reversed(pieces)]) for name in (*KEYS, *names)}
    return Past(joined, tuple(reversed(joints)), started(record) - end)


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
