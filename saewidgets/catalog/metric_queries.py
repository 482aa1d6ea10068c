"""Defines `MetricQueries` and `MetricTable`: measured values over time, one row per (training, name, step)."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from saewidgets.catalog.database import Database
from saewidgets.catalog.tables import MetricRow, TrainingRow
from saewidgets.events import Metrics

if TYPE_CHECKING:
    import pandas as pd

_CHUNK = 2_000  # rows per statement: far below SQLite's limit on bound values


@dataclass(frozen=True, slots=True)
class MetricTable:
    """Columns of equal length, ordered by step, then by name; `time` in Unix seconds, `value` may be NaN or
    infinite."""

    step: array[int]
    tokens: array[int]
    time: array[float]
    name: list[str]
    value: array[float]

    def __len__(self) -> int:
        return len(self.name)

    def to_df(self) -> pd.DataFrame:
        import pandas as pd  # costs half a second

        return pd.DataFrame(
            {"step": list(self.step), "tokens": list(self.tokens), "time": list(self.time), "name": self.name,
             "value": list(self.value)}
        )  # fmt: skip


class MetricQueries:
    """`catalog.metrics`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, training_id: str, events: Sequence[Metrics]) -> None:
        """Write in one transaction; an existing value at the same step is replaced."""

        def write(session: Session) -> None:
            training = session.get(TrainingRow, training_id)
            if training is not None:
                for event in events:
                    training.latest = {**training.latest, **event.values}
            save_metrics(session, training_id, events)

        self._database.write(write)

    def query(
        self,
        training_id: str,
        names: Collection[str] | None = None,
        *,
        since: float | None = None,
        until: float | None = None,
        min_step: int | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> MetricTable:
        """Values in step order: see `Trainings.metrics`."""
        conditions = (
            (names, MetricRow.name.in_(names or ())), (since, MetricRow.time >= (since or 0)),
            (until, MetricRow.time < (until or 0)), (min_step, MetricRow.step >= (min_step or 0)),
        )  # fmt: skip
        query = select(MetricRow.step, MetricRow.tokens, MetricRow.time, MetricRow.name, MetricRow.value).where(
            MetricRow.training_id == training_id, *(each for given, each in conditions if given is not None)
        )
        query = query.order_by(MetricRow.step, MetricRow.name).limit(limit).offset(offset or None)
        with self._database.read() as session:
            rows = session.execute(query).all()
        steps, tokens, times, kinds, values = zip(*rows, strict=True) if rows else ((), (), (), (), ())
        return MetricTable(array("q", steps), array("q", tokens), array("d", times), list(kinds), array("d", values))

    def names(self, training_id: str) -> list[str]:
        query = select(MetricRow.name).where(MetricRow.training_id == training_id).distinct().order_by(MetricRow.name)
        with self._database.read() as session:
            return list(session.scalars(query))

    def truncate(self, training_id: str, after_step: int) -> None:
        """Delete values of later steps: a run that resumes from a checkpoint measures them again. Its newest values go
        back too."""

        def write(session: Session) -> None:
            gone = session.execute(
                delete(MetricRow).where(MetricRow.training_id == training_id, MetricRow.step > after_step)
            )
            training = session.get(TrainingRow, training_id)
            if training is not None and getattr(gone, "rowcount", False):
                training.latest = _newest(session, training_id)

        self._database.write(write)


def save_metrics(session: Session, training_id: str, events: Sequence[Metrics]) -> None:
    """Insert or replace. Of two values for one (name, step) the later counts."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for event in events:
        for name, value in event.values.items():
            rows[name, event.step] = {
                "training_id": training_id, "name": name, "step": event.step, "tokens": event.tokens,
                "time": event.time, "value": float(value),
            }  # fmt: skip
    values, dialect = list(rows.values()), session.get_bind().dialect.name
    if dialect not in ("sqlite", "postgresql"):
        for row in values:
            session.merge(MetricRow(**row))
        return
    insert = sqlite.insert(MetricRow) if dialect == "sqlite" else postgresql.insert(MetricRow)
    replaced = {name: insert.excluded[name] for name in ("tokens", "time", "value")}
    key = [MetricRow.training_id, MetricRow.name, MetricRow.step]
    for start in range(0, len(values), _CHUNK):
        part = values[start : start + _CHUNK]
        session.execute(insert.on_conflict_do_update(index_elements=key, set_=replaced), part)


def _newest(session: Session, training_id: str) -> dict[str, float]:
    last = (
        select(MetricRow.name, func.max(MetricRow.step).label("step"))
        .where(MetricRow.training_id == training_id)
        .group_by(MetricRow.name)
        .subquery()
    )
    query = (
        select(MetricRow.name, MetricRow.value)
        .where(MetricRow.training_id == training_id)
        .join(last, (last.c.name == MetricRow.name) & (last.c.step == MetricRow.step))
    )
    return dict(session.execute(query).all())
