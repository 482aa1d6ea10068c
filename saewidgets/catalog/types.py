"""Column types and expressions that behave the same on every database."""

from __future__ import annotations

import json
import math
from typing import Any

from sqlalchemy import Dialect, Float, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator

_UNIX_EPOCH_AS_JULIAN_DAY = 2440587.5
# What `json.loads` does around it (white space, encodings) takes as long as the small data of most rows, and a library
# has thousands.
_decode = json.JSONDecoder().raw_decode


class Json(TypeDecorator[Any]):
    """Plain JSON data as text.

    Text and not the database's own JSON type, because metrics may be NaN or infinite: Python's `json` reads and
    writes them, PostgreSQL's type refuses them. Nothing is queried by what is inside.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        if value == "[]":
            return []  # most lists are empty
        return None if value is None else _decode(value)[0]


class AnyFloat(TypeDecorator[float]):
    """A double that may be NaN. SQLite has no NaN (it stores NULL), so NULL stands for it everywhere."""

    impl = Float(53)
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None or math.isnan(value) else float(value)

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:
        return math.nan if value is None else float(value)


class database_now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock in Unix seconds (UTC), with at least millisecond resolution.

    All ages (heartbeats, leases) are computed with this one clock, so that processes need not agree on theirs.
    """

    type = Float(53)
    inherit_cache = True
    name = "database_now"


@compiles(database_now, "sqlite")
def _sqlite_now(element: database_now, compiler: SQLCompiler, **kw: Any) -> str:
    return f"((julianday('now') - {_UNIX_EPOCH_AS_JULIAN_DAY}) * 86400.0)"


@compiles(database_now, "postgresql")
def _postgresql_now(element: database_now, compiler: SQLCompiler, **kw: Any) -> str:
    # clock_timestamp moves within a transaction, CURRENT_TIMESTAMP would not.
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


@compiles(database_now)
def _mysql_now(element: database_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "CAST(UNIX_TIMESTAMP(NOW(6)) AS DOUBLE)"
