"""Metrics for charts and tables: which names there are, one column per name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from saewidgets.catalog import MetricTable
from saewidgets.config import arguments
from saewidgets.errors import NotFoundError
from saewidgets.records import TrainingRecord

OF_EVERY_RUN = frozenset({
    "loss", "mse", "l0", "fvu", "dead", "lr", "grad_norm", "tokens_per_second",
    "val_fvu", "val_l0", "val_mse", "val_dead", "ce_loss_score",
})  # fmt: skip
"""Metrics that a run may measure later, or never: `dead` takes a window of tokens, ``val_…`` an evaluation."""

_WHAT, _HINT = "one name of a metric or several", 'For example ["loss", "l0"].'


def known_names(record: TrainingRecord, names: str | Iterable[str] | None) -> list[str] | None:
    """Names of metrics that somebody asks a run for; None for all. Before a run has measured anything, all may come.

    Raises:
        NotFoundError: the run has no such metric.
        ConfigError: these are no names.
    """
    if names is None:
        return None
    wanted = [names] if isinstance(names, str) else arguments.kind(names, Iterable, "names", _WHAT, _HINT)  # type: ignore[type-abstract]
    wanted = [arguments.text(name, "names", _WHAT) for name in wanted]
    unknown = [name for name in wanted if name not in OF_EVERY_RUN and name not in record.latest]
    if record.latest and unknown:
        hint = f"This run has {', '.join(sorted(record.latest))}."
        raise NotFoundError(f"There is no metric {unknown[0]!r}.", where="names", hint=hint)
    return wanted


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
