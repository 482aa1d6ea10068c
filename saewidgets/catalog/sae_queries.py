"""Defines `SAEQueries`: the library of SAEs, trained here, downloaded, or added from a folder."""

import builtins
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, func, null, select, type_coerce
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from saewidgets.catalog.database import Database
from saewidgets.catalog.extraction_queries import remove_jobs, seen_latents
from saewidgets.catalog.filestate import Files, recorded, state_of
from saewidgets.catalog.rows import (
    LARGEST,
    change,
    find,
    has_words,
    in_use,
    missing,
    named,
    new_sae_id,
    now,
    unfinished,
)
from saewidgets.catalog.tables import (
    SOURCES,
    ExtractionRow,
    JobRow,
    LayerNumber,
    ModelName,
    ModelRow,
    SAERow,
    TrainingRow,
)
from saewidgets.config import arguments
from saewidgets.config.names import names_of, one_name, storable
from saewidgets.errors import ConfigError
from saewidgets.records import Records, SAERecord

FACETS = ("source", "model", "layer", "architecture", "format")
"""Columns by which the library is narrowed down."""

_MODEL = func.nullif(func.lower(SAERow.model), ModelName.unknown).nulls_last()
_LAYER = func.nullif(SAERow.layer, LayerNumber.unknown).nulls_last()
SORTS: Mapping[str, tuple[Any, ...]] = {
    "newest": (SAERow.created_at.desc(), SAERow.id),
    "oldest": (SAERow.created_at.asc(), SAERow.id),
    "name": (func.lower(SAERow.name), SAERow.created_at.desc(), SAERow.id),
    "model": (_MODEL, _LAYER, func.lower(SAERow.name), SAERow.id),
    "layer": (_LAYER, _MODEL, func.lower(SAERow.name), SAERow.id),
    "d_sae": (SAERow.d_sae.desc(), func.lower(SAERow.name), SAERow.id),
    "size": (SAERow.size_bytes.desc(), func.lower(SAERow.name), SAERow.id),
}
"""Orders of a list. By size and width the largest come first; what is not known comes last."""

_TAGS = type_coerce(SAERow.tags, Text)  # what is stored: a list as JSON
_SEARCHED: tuple[ColumnElement[Any], ...] = (
    *(SAERow.__table__.c[name] for name in ("name", "model", "hook_name", "architecture", "format", "id")),
    *(SAERow.__table__.c[name] for name in ("repo_id", "repo_path", "notes")), _TAGS,
)  # fmt: skip
_OWN = frozenset(each.name for each in fields(SAERecord)) & frozenset(SAERow.__mapper__.columns.keys())
_WHOLE: Select[Any] = select(
    *(getattr(SAERow, name) for name in sorted(_OWN)), SAERow.details,
    type_coerce(SAERow.files, Text).label("files"),  # as the row holds it
    TrainingRow.name.label("training_name"),
).outerjoin_from(SAERow, TrainingRow, SAERow.training_id == TrainingRow.id)


@dataclass(frozen=True, slots=True)
class Filters:
    """What an SAE has to fit; None does not ask. `model` may be any name of the model, and `search` looks for every one
    of its words."""

    source: str | None = None
    model: str | None = None
    layer: int | None = None
    architecture: str | None = None
    format: str | None = None
    tag: str | None = None
    search: str | None = None

    def _check(self) -> None:
        for field in fields(self):
            if field.name != "layer":
                arguments.optional_text(getattr(self, field.name), field.name, "a string")
        if self.source is not None and self.source not in SOURCES:
            raise ConfigError(
                f"SAEs have no source {self.source!r}.", where="source", hint=f"Use one of: {', '.join(SOURCES)}."
            )
        if self.layer is not None and (type(self.layer) is not int or abs(self.layer) > LARGEST):
            arguments.refuse(self.layer, "layer", "a whole number as layer", "Write layer=6, or None for any.")

    def conditions(self, without: Iterable[str] = ()) -> list[ColumnElement[bool]]:
        """As parts of a query, without the filters named in `without`."""
        self._check()
        found: list[ColumnElement[bool]] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or field.name in without:
                continue
            value = storable(value) if isinstance(value, str) else value
            if field.name == "search":
                found += has_words(str(value), *_SEARCHED)
            elif field.name == "tag":  # with its quotes a tag is found whole
                found.append(_TAGS.icontains(json.dumps(value, ensure_ascii=False), autoescape=True))
            elif field.name == "model":  # by any of its names, also in rows of earlier versions
                found.append(SAERow.model.in_(names_of(str(value))))
            else:
                found.append(getattr(SAERow, field.name) == value)
        return found


def _count_facets(filters: Filters, rows: Iterable[Any]) -> dict[str, dict[Any, int]]:
    """Facet → value → how many SAEs have it. A facet's own filter does not count for it, so that its other values can
    be seen; all others do. In order of frequency; layers in their own. A model has one name here."""
    wanted = [getattr(filters, name) for name in FACETS]
    model = FACETS.index("model")
    wanted[model] = one_name(wanted[model]) if wanted[model] else wanted[model]
    counts: dict[str, dict[Any, int]] = {name: {} for name in FACETS}
    for *values, number in rows:
        values[model] = one_name(values[model]) if values[model] else values[model]
        misses = [i for i, value in enumerate(wanted) if value is not None and values[i] != value]
        if len(misses) > 1:
            continue
        for i in misses or range(len(FACETS)):
            if values[i] is not None:
                found = counts[FACETS[i]]
                found[values[i]] = found.get(values[i], 0) + number
    return {
        name: dict(sorted(found.items(), key=(lambda e: e[0]) if name == "layer" else (lambda e: (-e[1], str(e[0])))))
        for name, found in counts.items()
    }


_NEVER = (0.0, 0)  # when an extraction ended, and how many latents fired in it

log = logging.getLogger(__name__)


class SAEQueries:
    """`catalog.saes`."""

    def __init__(self, database: Database, files: Files, host: str) -> None:
        self._database = database
        self._files = files
        self._host = host

    def add(
        self,
        *,
        path: str | Path,
        metadata: Mapping[str, Any] | None = None,
        id: str | None = None,
        tags: Sequence[str] = (),
        **columns: Any,
    ) -> SAERecord:
        """Take an SAE into the library. Names, sizes and times of the files at `path` are recorded, with a sample of
        their content. A training has one SAE here, and so has a place on the hub: if there is one already (another
        process was quicker), that one is returned."""
        files, size = self._looked_at(path)
        training_id, repo_id, revision = (columns.get(name) for name in ("training_id", "repo_id", "revision"))

        def write(session: Session) -> SAERecord:
            moment = now(session)
            row = SAERow(**{
                "notes": "", "size_bytes": size, **columns, "id": id or new_sae_id(), "files": files,
                "path": self._files.stored(path), "details": dict(metadata or {}), "host": self._host,
                "created_at": moment, "updated_at": moment, "tags": [*tags],
            })  # fmt: skip
            session.add(row)
            _refer(session, row)
            return self._record(session, row.id)

        try:
            return self._database.write(write)
        except IntegrityError:
            existing = self.by_training(training_id) if training_id is not None else None
            if existing is None and repo_id is not None and revision is not None:
                existing = self.by_download(repo_id, revision, columns.get("repo_path") or "")
            if existing is None:  # another constraint
                raise
            return existing

    def replace(
        self,
        sae_id: str,
        *,
        path: str | Path,
        metadata: Mapping[str, Any] | None = None,
        files: Iterable[str] | None = None,
        unused: bool = False,
        **about: Any,
    ) -> tuple[SAERecord, str]:
        """Let an SAE stand for other files, those at `path` that `files` names (None: all): its training has learned
        more, they were moved, or downloaded again. `about` has the columns that differ. With `unused` it is refused
        while a job uses the SAE. Returns the record, and the path it had before; the caller removes the files there."""
        found, size = self._looked_at(path, files)

        def write(session: Session) -> tuple[SAERecord, str]:
            row = find(session, SAERow, sae_id)
            if unused:
                _refuse_used(session, row)
            before = self._files.absolute(row.path)
            row.path, row.size_bytes, row.host = self._files.stored(path), size, self._host
            row.files, row.statistics = found, None
            if metadata is not None:
                row.details = dict(metadata)
            change(row, about)
            row.updated_at = now(session)
            _refer(session, row)
            return self._record(session, sae_id), before

        return self._database.write(write)

    def get(self, sae_id: str) -> SAERecord:
        with self._database.read() as session:
            return self._record(session, sae_id)

    def by_training(self, training_id: str) -> SAERecord | None:
        return self._one(SAERow.training_id == training_id)

    def by_download(self, repo_id: str, revision: str, repo_path: str) -> SAERecord | None:
        return self._one(SAERow.repo_id == repo_id, SAERow.revision == revision, SAERow.repo_path == repo_path)

    def list(
        self, *, sort: str = "newest", limit: int | None = None, offset: int = 0, **filters: Any
    ) -> Records[SAERecord]:
        """SAEs that fit all that is given (the fields of `Filters`). Their `statistics` are empty: `get` has them."""
        if not isinstance(sort, str) or sort not in SORTS:
            hint = f"Use one of: {', '.join(SORTS)}."
            raise ConfigError(f"SAEs cannot be sorted by {arguments.shown(sort)}.", where="sort", hint=hint)
        # Statistics are kilobytes per row, and no list shows them.
        columns = [null().label("statistics") if c.name == "statistics" else c for c in _WHOLE.selected_columns]
        query = _WHOLE.with_only_columns(*columns).where(*Filters(**filters).conditions()).order_by(*SORTS[sort])
        with self._database.read() as session:
            return Records(self._records(session, query.limit(limit).offset(offset or None)), SAERecord)

    def count(self, **filters: Any) -> tuple[int, int]:
        query = select(func.count(), func.coalesce(func.sum(SAERow.size_bytes), 0))
        with self._database.read() as session:
            number, size = session.execute(query.where(*Filters(**filters).conditions())).one()
        return int(number), int(size)

    def names_folder(self, path: str | Path) -> bool:
        query = select(SAERow.id).where(SAERow.path == self._files.stored(path)).limit(1)
        with self._database.read() as session:
            return session.scalar(query) is not None

    def names(self) -> set[str]:
        with self._database.read() as session:
            return set(session.scalars(select(SAERow.name)))

    def facets(self, **filters: Any) -> dict[str, dict[Any, int]]:
        asked, columns = Filters(**filters), [getattr(SAERow, name) for name in FACETS]
        query = select(*columns, func.count()).where(*asked.conditions(without=FACETS)).group_by(*columns)
        with self._database.read() as session:
            return _count_facets(asked, session.execute(query).all())

    def update(self, sae_id: str, **changes: Any) -> SAERecord:
        def write(session: Session) -> SAERecord:
            row = find(session, SAERow, sae_id)
            change(row, {**changes, "tags": builtins.list(changes["tags"])} if "tags" in changes else changes)
            if changes.keys() - {"statistics"}:  # those are computed, not changed
                row.updated_at = now(session)
            _refer(session, row)
            return self._record(session, sae_id)

        return self._database.write(write)

    def delete(self, sae_id: str) -> SAERecord:
        """Take it out of the library. The record's `path` says which files the caller removes, if they are its own."""

        def write(session: Session) -> SAERecord:
            row = find(session, SAERow, sae_id)
            _refuse_used(session, row)
            record = self._record(session, sae_id)
            remove_jobs(session, ExtractionRow.external_sae_id == sae_id)
            session.delete(row)
            return record

        return self._database.write(write)

    def require_unused(self, sae_id: str) -> None:
        """Raises `StateError` while a job that has not ended uses it."""
        with self._database.read() as session:
            _refuse_used(session, find(session, SAERow, sae_id))

    def _looked_at(self, path: str | Path, names: Iterable[str] | None = None) -> tuple[dict[str, Any] | None, int]:
        """What a row keeps of the files in a folder, and their bytes; None and 0 if there is no such folder."""
        folder = Path(self._files.absolute(self._files.stored(path)))
        found = recorded(folder, names) if folder.is_dir() else None
        return found, sum(int(facts[0]) for facts in (found or {}).values())

    def _one(self, *conditions: Any) -> SAERecord | None:
        with self._database.read() as session:
            return next(iter(self._records(session, _WHOLE.where(*conditions))), None)

    def _record(self, session: Session, sae_id: str) -> SAERecord:
        for record in self._records(session, _WHOLE.where(SAERow.id == sae_id)):
            return record
        raise missing(SAERow, sae_id)

    def _records(self, session: Session, query: Select[Any]) -> builtins.list[SAERecord]:
        """The record of a row, with absolute paths and the current state of its files."""
        seen, found = seen_latents(session), []
        for row in session.connection().execute(query):  # not through the ORM, which would make each row twice
            values = row._asdict()
            path, files, details = self._files.absolute(values["path"]), values.pop("files"), values.pop("details")
            size, elsewhere = values["size_bytes"], self._files.elsewhere
            state, note = state_of(path, files, values["host"], self._host, size, elsewhere)
            newest = max(seen.get(values["id"], _NEVER), seen.get(values["training_id"], _NEVER))
            found.append(SAERecord(**{
                **values, "path": path, "metadata": details, "tags": tuple(values["tags"]),
                "statistics": values["statistics"] or {}, "features_extracted": newest[1], "state": state,
                "state_note": note,
            }))  # fmt: skip
        return found


def _refer(session: Session, row: SAERow) -> None:
    """Let the row refer to its model, and flush."""
    row.model_id = named(session, ModelRow, row.model) if row.model is not None else None
    session.flush()


def _refuse_used(session: Session, row: SAERow) -> None:
    """Raises `StateError` while a job that has not ended uses the SAE."""
    job = session.scalars(unfinished(row.id).limit(1)).first()
    if job is None and row.revision is not None:
        job = next((each for each in session.scalars(unfinished(row.revision)) if _fetches(each, row)), None)
    if job is not None:
        raise in_use(row.name, row.id, job, "fetches its files again" if _fetches(job, row) else "reads it")


def _fetches(job: JobRow, row: SAERow) -> bool:
    place = (row.repo_id, row.revision, row.repo_path)
    return row.repo_id is not None and tuple(job.payload.get(key) for key in ("repo_id", "revision", "path")) == place
