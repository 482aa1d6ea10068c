"""Runs side by side: settings that differ, and which runs no other beats in sparsity and quality at once."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from saewidgets.config.base import dotted
from saewidgets.records import TrainingRecord

UNSET = None
"""The value of a setting that a run's architecture does not have."""


def settings(records: Sequence[TrainingRecord]) -> dict[str, list[Any]]:
    """Dotted name → its value in every run (`UNSET` where it has none), in the order of the first that has it."""
    configs = [dict(dotted(record.config)) for record in records]
    names = list(dict.fromkeys(name for config in configs for name in config))
    return {name: [config.get(name, UNSET) for config in configs] for name in names}


def table(records: Sequence[TrainingRecord]) -> tuple[list[str], list[list[Any]]]:
    """`(columns, rows)`, one row per run, for a program that reads it: numbers, booleans, text, None for nothing.

    Columns: where the run stands, then its settings under their dotted names, then the newest value of every metric
    as ``latest.NAME`` (``val_…`` are measured on held-out text). A list is written as JSON.
    """
    facts = [
        {
            "training_id": record.id,
            "name": record.name,
            "status": record.status.value,
            "step": record.step,
            "tokens_done": record.tokens_done,
            "seconds_running": record.seconds_running,
            "tokens_per_second": throughput(record),
        }
        for record in records
    ]
    if not facts:
        return [], []
    columns = {name: [row[name] for row in facts] for name in facts[0]}
    columns |= {name: values for name, values in settings(records).items() if name != "name"}
    for metric in sorted({name for record in records for name in record.latest}):
        columns[f"latest.{metric}"] = [record.latest.get(metric) for record in records]
    rows = zip(*columns.values(), strict=True)
    return list(columns), [[_cell(value) for value in row] for row in rows]


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else json.dumps(value)


def throughput(record: TrainingRecord) -> float | None:
    """Mean tokens per second over all the time it ran."""
    return record.tokens_done / record.seconds_running if record.seconds_running > 0 else None


def differs(values: Sequence[Any]) -> bool:
    """Whether not all values are the same. Tuples are lists, as they come back from JSON."""
    first, *others = [list(value) if isinstance(value, tuple) else value for value in values]
    return any(other != first for other in others)


def measured(record: TrainingRecord, name: str) -> float | None:
    """The newest finite value of a metric: on held-out text where it was measured there, else on the training batch."""
    for key in (f"val_{name}", name):
        value = record.latest.get(key)
        if value is not None and math.isfinite(value):
            return float(value)
    return None


def pareto_front(points: Sequence[tuple[float, float]], *, higher_is_better: bool) -> list[bool]:
    """Which of these (L0, quality) points no other point beats: none is as sparse (or sparser) and better, or sparser
    and as good. Of equal points all count.
    """
    sign = 1.0 if higher_is_better else -1.0
    return [
        not any(
            other[0] <= l0 and sign * other[1] >= sign * y and (other[0] < l0 or sign * other[1] > sign * y)
            for other in points
        )
        for l0, y in points
    ]
