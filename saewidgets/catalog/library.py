"""Queries of the library: which SAEs fit, in which order, and how many there are of each kind."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, func, null, or_, select, type_coerce

from saewidgets.catalog.rows import SAE_COLUMNS
from saewidgets.catalog.tables import SOURCES, SAERow, TrainingRow
from saewidgets.config.arguments import shown
from saewidgets.config.model_names import names_of, one_name
from saewidgets.config.names import search_words, storable
from saewidgets.errors import ConfigError

FACETS = ("source", "model", "layer", "architecture", "format")
"""Columns by which the library is narrowed down."""

SORTS: Mapping[str, tuple[Any, ...]] = {
    "newest": (SAERow.created_at.desc(), SAERow.id),
    "oldest": (SAERow.created_at.asc(), SAERow.id),
    "name": (func.lower(SAERow.name), SAERow.created_at.desc(), SAERow.id),
    "model": (func.lower(SAERow.model).nulls_last(), SAERow.layer.nulls_last(), func.lower(SAERow.name), SAERow.id),
    "layer": (SAERow.layer.nulls_last(), func.lower(SAERow.model).nulls_last(), func.lower(SAERow.name), SAERow.id),
    "d_sae": (SAERow.d_sae.desc(), func.lower(SAERow.name), SAERow.id),
    "size": (SAERow.size_bytes.desc(), func.lower(SAERow.name), SAERow.id),
}
"""Orders of a list. By size and width the largest come first; what is not known comes last."""

_TAGS = type_coerce(SAERow.tags, Text)  # what is stored: a list as JSON
_SEARCHED: tuple[ColumnElement[Any], ...] = (
    *(SAERow.__table__.c[name] for name in ("name", "model", "hook_name", "architecture", "format", "id")),
    *(SAERow.__table__.c[name] for name in ("repo_id", "repo_path", "notes")), _TAGS,
)  # fmt: skip
_JSON = ("details", "tags", "statistics", "files")
_COLUMNS = {
    # The types' own decoding, one value at a time, takes longer than the query.
    name: type_coerce(getattr(SAERow, name), Text) if name in _JSON else getattr(SAERow, name) for name in SAE_COLUMNS
}
_WHOLE: Select[Any] = select(*_COLUMNS.values(), TrainingRow.name).outerjoin_from(
    SAERow, TrainingRow, SAERow.training_id == TrainingRow.id
)
# Statistics are kilobytes per row, and no list shows them.
_LISTED = _WHOLE.with_only_columns(*(_COLUMNS | {"statistics": null()}).values(), TrainingRow.name)
_FIELDS = ("source", "model", "architecture", "format", "tag", "search")  # that are text

_LARGEST = 2**31 - 1  # what every database holds as a number


@dataclass(frozen=True, slots=True)
class Filters:
    """What an SAE has to fit; None does not ask.

    `model` may be any name of the model, and `search` looks for every one of its words.
    """

    source: str | None = None
    model: str | None = None
    layer: int | None = None
    architecture: str | None = None
    format: str | None = None
    tag: str | None = None
    search: str | None = None

    def _check(self) -> None:
        """Raise `ConfigError` naming the filter that has no possible value."""
        for name in _FIELDS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                hint = "Write it in quotes, or None for any."
                raise ConfigError(f"This is text, not {shown(value)}.", where=name, hint=hint)
        if self.source is not None and self.source not in SOURCES:
            raise ConfigError(
                f"SAEs have no source {self.source!r}.", where="source", hint=f"Use one of: {', '.join(SOURCES)}."
            )
        if self.layer is not None and (not isinstance(self.layer, int) or isinstance(self.layer, bool)):
            raise ConfigError(
                f"A layer is a whole number, not {shown(self.layer)}.", where="layer",
                hint="Write layer=6, or None for any.",
            )
        if self.layer is not None and abs(self.layer) > _LARGEST:
            raise ConfigError(f"No model has layer {self.layer}.", where="layer", hint="Write layer=6, for example.")

    def conditions(self, without: Iterable[str] = ()) -> list[ColumnElement[bool]]:
        """As parts of a query, without the filters named in `without`.

        Raises:
            ConfigError: a filter has a value that none can have; `where` names it.
        """
        self._check()
        found: list[ColumnElement[bool]] = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or field.name in without:
                continue
            value = storable(value) if isinstance(value, str) else value
            if field.name == "search":
                for word in search_words(str(value)):
                    found.append(or_(*(c.icontains(word, autoescape=True) for c in _SEARCHED)))
            elif field.name == "tag":  # with its quotes a tag is found whole
                found.append(_TAGS.icontains(json.dumps(value, ensure_ascii=False), autoescape=True))
            elif field.name == "model":  # by any of its names, also in rows of earlier versions
                found.append(SAERow.model.in_(names_of(str(value))))
            else:
                found.append(getattr(SAERow, field.name) == value)
        return found


def listing(filters: Filters, sort: str, limit: int | None = None, offset: int = 0) -> Select[Any]:
    """What `rows.sae_records` takes of the SAEs that fit, in order; without statistics.

    Raises:
        ConfigError: there is no such order, page or value of a filter.
    """
    if not isinstance(sort, str) or sort not in SORTS:
        hint = f"Use one of: {', '.join(SORTS)}."
        raise ConfigError(f"SAEs cannot be sorted by {shown(sort)}.", where="sort", hint=hint)
    for name, value in (("limit", limit), ("offset", offset)):
        none = name == "limit" and value is None
        if not none and (not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST):
            hint = "Use 0 or more" + (", or None for all." if name == "limit" else ".")
            raise ConfigError(f"This is a number of SAEs, not {shown(value)}.", where=name, hint=hint)
    query = _LISTED.where(*filters.conditions()).order_by(*SORTS[sort])
    return query.limit(limit).offset(offset or None)


def one(*conditions: ColumnElement[bool]) -> Select[Any]:
    """The same, with statistics, of the SAEs for which `conditions` hold."""
    return _WHOLE.where(*conditions)


def combinations(filters: Filters) -> Select[Any]:
    """How many SAEs there are of each combination of the facets' values, under the filters that are no facets."""
    columns = [getattr(SAERow, name) for name in FACETS]
    return select(*columns, func.count()).where(*filters.conditions(without=FACETS)).group_by(*columns)


def count_facets(filters: Filters, rows: Iterable[Any]) -> dict[str, dict[Any, int]]:
    """Facet → value → how many SAEs have it, from the rows of `combinations`.

    A facet's own filter does not count for it, so that its other values can be seen; all others do. Values that are
    not known (None) are left out. In order of frequency; layers in their own. A model has one name here.
    """
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
