"""Defines `TemplateQueries`, configurations saved under a name, and `UsageQueries`, what forms suggest."""

import builtins
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from saewidgets.catalog.database import Database
from saewidgets.catalog.rows import change, find, named, new_template_id, now, shared
from saewidgets.catalog.tables import DatasetRow, ModelRow, TemplateRow, UsedRow
from saewidgets.config import TextCorpus
from saewidgets.config.templates import TrainingTemplate
from saewidgets.errors import StateError
from saewidgets.records import Records, TemplateRecord


class UsageQueries:
    """`catalog.models` and `catalog.datasets`: what was used in this workspace."""

    def __init__(self, database: Database, table: type[UsedRow]) -> None:
        self._database, self._table = database, table

    def upsert(self, name: str) -> None:
        """Count one use."""

        def write(session: Session) -> None:
            moment = now(session)
            row = session.get(self._table, name)
            if row is None:
                row = self._table(name=name, facts={}, uses=0, created_at=moment, used_at=moment)
                session.add(row)
            row.uses += 1
            row.used_at = moment

        self._database.write(write)

    def names(self, *, limit: int | None = 50) -> list[str]:
        """Most recently used first; not what only a template names."""
        query = select(self._table.name).where(self._table.uses > 0)
        query = query.order_by(self._table.used_at.desc(), self._table.name).limit(limit)
        with self._database.read() as session:
            return list(session.scalars(query))

    def delete(self, name: str) -> None:
        def write(session: Session) -> None:
            row = session.get(self._table, name)
            if row is not None:
                session.delete(row)

        self._database.write(write)


T = TypeVar("T")
_OR_REPLACE = ", or replace it with replace=True"


class TemplateQueries:
    """`catalog.templates`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, template: TrainingTemplate, *, replace: bool = False) -> TemplateRecord:
        """Keep a template; with `replace` it takes the place of the one with this name, which keeps its id and stays a
        favourite."""

        def write(session: Session) -> TemplateRecord:
            row = session.scalar(select(TemplateRow).where(TemplateRow.name == template.name))
            if row is not None and not replace:
                raise _taken(template.name, _OR_REPLACE)
            return _record(_fill(session, row or _new(template.name, template.favorite), template))

        return self._named(write, template.name, _OR_REPLACE)

    def add(
        self, templates: Sequence[TrainingTemplate], free_name: Callable[[str, Collection[str]], str],
        came: Mapping[str, Any],
    ) -> Records[TemplateRecord]:
        """Keep all of them, or none; `free_name` makes another name of one that is taken. `came` is their
        origin."""

        def write(session: Session) -> builtins.list[TemplateRecord]:
            taken = set(session.scalars(select(TemplateRow.name)))
            rows = []
            for template in templates:
                name = free_name(template.name, taken)
                taken.add(name)
                rows.append(_fill(session, _new(name, template.favorite), template, came))
            return [_record(row) for row in rows]

        return Records(self._named(write, "one of these names"), TemplateRecord)

    def find(self, wanted: str) -> TemplateRecord | None:
        with self._database.read() as session:
            row = session.get(TemplateRow, wanted) or session.scalar(
                select(TemplateRow).where(TemplateRow.name == wanted)
            )
            return None if row is None else _record(row)

    def list(self) -> Records[TemplateRecord]:
        with self._database.read() as session:
            found = [_record(row) for row in session.scalars(select(TemplateRow))]
        return Records(sorted(found, key=lambda one: (one.name.casefold(), one.id)), TemplateRecord)

    def update(self, template_id: str, **changes: Any) -> TemplateRecord:
        def write(session: Session) -> TemplateRecord:
            row = find(session, TemplateRow, template_id)
            change(row, changes)
            row.updated_at = now(session)
            session.flush()
            return _record(row)

        return self._named(write, str(changes.get("name", "")))

    def delete(self, template_id: str) -> None:
        self._database.write(lambda session: session.delete(find(session, TemplateRow, template_id)))

    def _named(self, write: Callable[[Session], T], name: str, otherwise: str = "") -> T:
        """Run a change that may meet a name which is taken, also by another process at the same moment."""
        try:
            return self._database.write(write)
        except IntegrityError as error:
            raise _taken(name, otherwise) from error


def _new(name: str, favorite: bool) -> TemplateRow:
    return TemplateRow(id=new_template_id(), name=name, favorite=favorite)


def _fill(
    session: Session, row: TemplateRow, template: TrainingTemplate, came: Mapping[str, Any] | None = None
) -> TemplateRow:
    config, moment = template.config, now(session)
    corpus = config.corpus
    row.description, row.architecture, row.corpus = template.description, config.sae.architecture, corpus.label
    row.config, row.details = config.to_data(), dict(came or {})
    row.created_at, row.updated_at = row.created_at or moment, moment
    only_file = corpus.files[0] if isinstance(corpus, TextCorpus) and len(corpus.files) == 1 else None
    row.model_id = named(session, ModelRow, config.model)
    row.dataset_id = named(session, DatasetRow, only_file or corpus.label)
    session.add(row)
    session.flush()
    return row


def _taken(name: str, otherwise: str) -> StateError:
    return StateError(f"There is a template {name!r}.", where="name", hint=f"Choose another name{otherwise}.")


def _record(row: TemplateRow) -> TemplateRecord:
    config = row.config
    sae = config.get("sae")
    d_sae = sae.get("d_sae") if isinstance(sae, Mapping) else None
    return TemplateRecord(**{
        **shared(TemplateRecord, row), "model": str(config.get("model") or ""),
        "hook_name": str(config.get("hook_name") or ""), "d_sae": d_sae if isinstance(d_sae, int) else None,
        "metadata": row.details,
    })  # fmt: skip
