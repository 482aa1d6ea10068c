"""Tables of what runs have measured: `wide` of one run, `table` of settings and newest values of several, and their
`pareto_front`; and `export_run`, a run written into a folder of its own, for people and programs without this
package:

NAME/
    config.json    the configuration, as `TrainingConfig.from_data` reads it
    metrics.csv    one row per step: step, tokens, time (UTC), then every metric; empty where one was not recorded
    log.txt        the whole log
    sae/           the SAE in SAELens' format, once there is one
"""

from __future__ import annotations

import csv
import json
import math
import shutil
import warnings
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saewidgets.catalog import MetricTable
from saewidgets.config import arguments
from saewidgets.config.base import dotted
from saewidgets.durable import storage_errors
from saewidgets.errors import FormatError, NotFoundError, SAEWidgetsError, StateError, StorageError
from saewidgets.records import TrainingRecord
from saewidgets.workspace.folders import draft_folder

if TYPE_CHECKING:
    from saewidgets.workspace.training.run import Run
    from saewidgets.workspace.workspace import Workspace


OF_EVERY_RUN = frozenset({
    "loss", "mse", "l0", "fvu", "dead", "lr", "grad_norm", "tokens_per_second",
    "val_fvu", "val_l0", "val_mse", "val_dead", "val_tokens", "ce_loss_score", "ce_tokens",
})  # fmt: skip
"""Metrics that a run may measure later, or never: `dead` takes a window of tokens, ``val_…`` an evaluation."""

_WHAT, _HINT = "the name of a metric, or several", 'For example ["loss", "l0"].'


def known_names(record: TrainingRecord, names: str | Iterable[str] | None) -> list[str] | None:
    """Checks the names of a run's metrics; None for all. Before a run has measured anything, all may come."""
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
    steps, first, row = np.unique(np.asarray(table.step, np.int64), return_index=True, return_inverse=True)
    columns: dict[str, Any] = {"step": steps.astype(np.float64)}
    for key in ("tokens", "time"):
        columns[key] = np.asarray(getattr(table, key), np.float64)[first]
    kinds, values = np.asarray(table.name, dtype=object), np.asarray(table.value, np.float64)
    for name in names:
        here = kinds == name
        columns[name] = np.full(len(steps), np.nan)
        columns[name][row[here]] = values[here]
    stop = None if limit is None else offset + limit
    return {key: column[offset:stop] for key, column in columns.items()}


def settings(records: Sequence[TrainingRecord]) -> dict[str, list[Any]]:
    """Dotted name → its value in every run (None where it has none), in the order of the first that has it."""
    configs = [dict(dotted(record.config)) for record in records]
    names = list(dict.fromkeys(name for config in configs for name in config))
    return {name: [config.get(name) for config in configs] for name in names}


def table(records: Sequence[TrainingRecord]) -> tuple[list[str], list[list[Any]]]:
    """`(columns, rows)`, one row per run, for a program: its status, its settings by their dotted names, the
    newest metrics as ``latest.NAME``. Numbers, booleans, text, None; a list is written as JSON."""
    if not records:
        return [], []
    columns: dict[str, list[Any]] = {"training_id": [record.id for record in records]}
    for name in ("name", "status", "step", "tokens_done", "seconds_running"):
        columns[name] = [getattr(record, name) for record in records]
    columns["tokens_per_second"] = [throughput(record) for record in records]
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


def newest(record: TrainingRecord, *names: str) -> float | None:
    """The newest finite value of the first of these metrics that has one."""
    values = (record.latest.get(name) for name in names)
    return next((float(value) for value in values if value is not None and math.isfinite(value)), None)


def measured(record: TrainingRecord, name: str) -> float | None:
    """The newest value of a metric: on held-out text where it was measured there, else on the training batch."""
    return newest(record, f"val_{name}", name)


def pareto_front(points: Sequence[tuple[float, float]], *, higher_is_better: bool) -> list[bool]:
    """Which of these (L0, quality) points no other beats in one without being worse in the other. Of equal ones all
    count."""
    sign = 1.0 if higher_is_better else -1.0
    return [
        not any(
            other[0] <= l0 and sign * other[1] >= sign * y and (other[0] < l0 or sign * other[1] > sign * y)
            for other in points
        )
        for l0, y in points
    ]


WHOLE_LOG = 1_000_000  # lines


def export_run(workspace: Workspace, run: Run, folder: Path) -> Path:
    """Write a run into `folder`, which must not exist or be empty: whole or not at all. Warns where there is no SAE."""
    folder = folder.absolute()
    with storage_errors("The folder cannot be written", folder, "Choose another folder, or free some space."):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            what = "There is a file or a folder with files already."
            raise StorageError(what, where=str(folder), hint="Choose another folder.")
        with draft_folder(folder.parent) as draft:
            lacking = _write(workspace, run, draft)
            if folder.exists():
                folder.rmdir()
            draft.rename(folder)
    if lacking is not None:
        warnings.warn(f"{lacking.what} {folder} holds the rest. {lacking.hint}", stacklevel=6)  # of run.export
    return folder


def config_data(run: Run) -> dict[str, Any]:
    """The configuration of a run, to be written into a file."""
    try:
        return run.config.to_data()
    except (NotFoundError, FormatError):  # its text is on another machine: the row says which text it was
        return dict(run.record.config)


def _write(workspace: Workspace, run: Run, folder: Path) -> SAEWidgetsError | None:
    """Returns why there is no SAE among the files; None if there is."""
    (folder / "config.json").write_text(json.dumps(config_data(run), indent=1, ensure_ascii=False) + "\n", "utf-8")
    columns = workspace.trainings.metric_columns(run.id)
    with (folder / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in zip(*(column.tolist() for column in columns.values()), strict=True):
            step, tokens, time, *values = row
            cells = ["" if math.isnan(value) else repr(value) for value in values]
            writer.writerow([int(step), int(tokens), datetime.fromtimestamp(time, UTC).isoformat(), *cells])
    (folder / "log.txt").write_text("".join(f"{line}\n" for line in run.log(WHOLE_LOG)), "utf-8")
    try:
        sae = run.sae_path
    except (StateError, NotFoundError) as error:
        return error
    shutil.copytree(sae, folder / "sae")
    return None
