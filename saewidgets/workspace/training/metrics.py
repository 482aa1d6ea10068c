"""Metrics for charts and tables: one column per name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from saewidgets.catalog import MetricTable


def wide(table: MetricTable, names: Sequence[str], limit: int | None = None, offset: int = 0) -> dict[str, Any]:
    """Columns ``step tokens time`` and one per name, float64, one row per step; NaN where a metric was not recorded."""
    step = np.frombuffer(table.step, dtype=np.int64) if len(table) else np.empty(0, np.int64)
    steps, first, row = np.unique(step, return_index=True, return_inverse=True)
    columns: dict[str, Any] = {"step": steps.astype(np.float64)}
    for key in ("tokens", "time"):
        values = np.asarray(getattr(table, key), dtype=np.float64)
        columns[key] = values[first] if len(values) else np.empty(0)
    kinds, values = np.asarray(table.name, dtype=object), np.asarray(table.value, dtype=np.float64)
    for name in names:
        column = np.full(len(steps), np.nan)
        here = kinds == name
        if here.any():
            column[row[here]] = values[here]
        columns[name] = column
    stop = None if limit is None else offset + limit
    return {key: column[offset:stop] for key, column in columns.items()}
