"""Models and datasets that were used in this workspace: what forms suggest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from saewidgets.catalog.database import Database
from saewidgets.catalog.queue import now
from saewidgets.catalog.tables import DatasetRow, ModelRow


class UsedStore:
    """`catalog.models` and `catalog.datasets`."""

    def __init__(self, database: Database, table: type[ModelRow] | type[DatasetRow]) -> None:
        self._database = database
        self._table = table

    def upsert(self, name: str, facts: Mapping[str, Any] | None = None) -> None:
        """Count one use; `facts` (d_model, n_layers, the corpus configuration, …) are merged."""

        def write(session: Session) -> None:
            moment = now(session)
            row = self._find(session, name)
            if row is None:
                row = self._table(name=name, facts={}, uses=0, created_at=moment, used_at=moment)
                session.add(row)
            row.uses += 1
            row.used_at = moment
            row.facts = {**row.facts, **(facts or {})}

        self._database.write(write)

    def learn(self, name: str, facts: Mapping[str, Any]) -> None:
        """Merge `facts` into what is known about one that was used; not counted as a use."""

        def write(session: Session) -> None:
            row = self._find(session, name)
            if row is not None:
                row.facts = {**row.facts, **facts}

        self._database.write(write)

    def names(self, *, limit: int | None = 50) -> list[str]:
        """Most recently used first; not what only a template names."""
        query = select(self._table.name).where(self._table.uses > 0)
        query = query.order_by(self._table.used_at.desc(), self._table.name).limit(limit)
        with self._database.read() as session:
            return list(session.scalars(query))

    def facts(self, name: str) -> dict[str, Any] | None:
        """What is known about it; None if it was never used here."""
        with self._database.read() as session:
            row = self._find(session, name)
            return None if row is None else dict(row.facts)

    def delete(self, name: str) -> None:
        """Forget it; no error if it is not there."""

        def write(session: Session) -> None:
            row = self._find(session, name)
            if row is not None:
                session.delete(row)

        self._database.write(write)

    def _find(self, session: Session, name: str) -> ModelRow | DatasetRow | None:
        if self._table is ModelRow:  # apart, for the type checker
            return session.get(ModelRow, name)
        return session.get(DatasetRow, name)
