"""The library of SAEs: trained here, downloaded, or added from a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from saewidgets.catalog.database import Database
from saewidgets.catalog.files import Files
from saewidgets.catalog.ids import new_sae_id
from saewidgets.catalog.queue import now
from saewidgets.catalog.rows import sae_record
from saewidgets.catalog.tables import SOURCES, SAERow
from saewidgets.errors import NotFoundError
from saewidgets.records import Records, SAERecord


class SAEStore:
    """`catalog.saes`."""

    def __init__(self, database: Database, files: Files, host: str) -> None:
        self._database = database
        self._files = files
        self._host = host

    def add(
        self,
        *,
        name: str,
        source: str,
        architecture: str,
        d_in: int,
        d_sae: int,
        format: str,
        path: str | Path,
        size_bytes: int,
        model: str | None = None,
        hook_name: str | None = None,
        layer: int | None = None,
        training_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> SAERecord:
        """Take an SAE into the library. `source` is trained, huggingface, gemma_scope or local.

        A training has one SAE here. If `training_id` has one already (another process was quicker), nothing is
        written and that one is returned: its `id` is not the one that was asked for.
        """
        if source not in SOURCES:
            raise ValueError(f"The source of an SAE is one of {', '.join(SOURCES)}, not {source!r}.")

        def write(session: Session) -> SAERecord:
            row = SAERow(
                id=id or new_sae_id(), name=name, source=source, architecture=architecture, d_in=d_in, d_sae=d_sae,
                format=format, path=self._files.stored(path), size_bytes=size_bytes, model=model, hook_name=hook_name,
                layer=layer, training_id=training_id, details=dict(metadata or {}), host=self._host,
                created_at=now(session),
            )
            session.add(row)
            session.flush()
            return sae_record(row, self._files)

        try:
            return self._database.write(write)
        except IntegrityError:
            existing = self.by_training(training_id) if training_id is not None else None
            if existing is None:  # another constraint
                raise
            return existing

    def replace(
        self, sae_id: str, *, path: str | Path, size_bytes: int, metadata: Mapping[str, Any]
    ) -> tuple[SAERecord, str]:
        """Let an SAE stand for other files: its training has learned more. `metadata` replaces what was there.

        Returns:
            The record, and the path it had before; the caller removes the files there.
        """

        def write(session: Session) -> tuple[SAERecord, str]:
            row = _find(session, sae_id)
            before = self._files.absolute(row.path)
            row.path, row.size_bytes, row.host = self._files.stored(path), size_bytes, self._host
            row.details = dict(metadata)
            return sae_record(row, self._files), before

        return self._database.write(write)

    def get(self, sae_id: str) -> SAERecord:
        """Raises `NotFoundError`."""
        with self._database.read() as session:
            return sae_record(_find(session, sae_id), self._files)

    def by_training(self, training_id: str) -> SAERecord | None:
        """The SAE imported from a run; None if there is none yet."""
        query = select(SAERow).where(SAERow.training_id == training_id)
        with self._database.read() as session:
            row = session.scalars(query).one_or_none()
            return None if row is None else sae_record(row, self._files)

    def list(
        self,
        *,
        source: str | None = None,
        model: str | None = None,
        layer: int | None = None,
        architecture: str | None = None,
        search: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Records[SAERecord]:
        """SAEs that fit all that is given, newest first. `search` looks in name, model, hook name and id."""
        query = select(SAERow).order_by(SAERow.created_at.desc(), SAERow.id)
        exact = {"source": source, "model": model, "layer": layer, "architecture": architecture}
        for name, value in exact.items():
            if value is not None:
                query = query.where(getattr(SAERow, name) == value)
        if search:
            columns = (SAERow.name, SAERow.model, SAERow.hook_name, SAERow.architecture, SAERow.id)
            matches: list[ColumnElement[bool]] = [c.icontains(search.strip(), autoescape=True) for c in columns]
            query = query.where(or_(*matches))
        with self._database.read() as session:
            rows = session.scalars(query.limit(limit).offset(offset or None))
            return Records(sae_record(row, self._files) for row in rows)

    def rename(self, sae_id: str, name: str) -> SAERecord:
        """Change what it is called."""

        def write(session: Session) -> SAERecord:
            row = _find(session, sae_id)
            row.name = name
            return sae_record(row, self._files)

        return self._database.write(write)

    def delete(self, sae_id: str) -> SAERecord:
        """Take it out of the library. The record's `path` says which files the caller removes, if they are its own."""

        def write(session: Session) -> SAERecord:
            row = _find(session, sae_id)
            record = sae_record(row, self._files)
            session.delete(row)
            return record

        return self._database.write(write)


def _find(session: Session, sae_id: str) -> SAERow:
    row = session.get(SAERow, sae_id)
    if row is None:
        raise NotFoundError(f"There is no SAE {sae_id!r}.", hint="It may have been deleted; list the SAEs to see them.")
    return row
